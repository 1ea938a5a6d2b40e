//! The report: ratios to floors and peers, and all figures, as tables of Markdown.

use std::fmt::Write as _;

use crate::plan::{Operation, Row, Target};
use crate::samples::{Figure, Sample, Samples};

/// Mark of percentiles of too few answers.
const SPARSE: &str = " (few)";

/// A row of the service, or its Redis, beside a floor.
pub struct Comparison {
    pub row: Row,
    /// True if it is the CPU of the service's Redis.
    pub is_of_redis: bool,
    pub floor: Row,
    pub cpu: Figure,
    pub floor_cpu: Figure,
    pub ratio: Figure,
    pub goal: Option<f64>,
}

impl Comparison {
    pub fn name(&self) -> String {
        format!("{}{}", self.row.request(), if self.is_of_redis { ": its Redis" } else { "" })
    }

    /// Comparisons of all rows of the service that were measured.
    pub fn all(rows: &[Row], samples: &Samples) -> Vec<Comparison> {
        rows.iter().filter(|row| row.is_of_service()).flat_map(|row| Comparison::of_row(row, samples)).collect()
    }

    fn of_row(row: &Row, samples: &Samples) -> Vec<Comparison> {
        let cpu = |sample: &Sample| Some(sample.cpu);
        let redis_cpu = |sample: &Sample| sample.redis_cpu;
        let own = Comparison::new(samples, row, row.floor(), cpu).map(|own| Comparison { goal: row.goal(), ..own });
        let redis = Comparison::new(samples, row, row.on_redis(), redis_cpu).filter(|_| row.asks_redis());
        let redis = redis.map(|redis| Comparison { is_of_redis: true, goal: row.goal_of_redis(), ..redis });
        own.into_iter().chain(redis).collect()
    }

    fn new(samples: &Samples, row: &Row, floor: Row, value: impl Fn(&Sample) -> Option<f64>) -> Option<Comparison> {
        let ratio = samples.ratio(row, &value, &floor)?;
        let floor_cpu = samples.figure(&floor, |sample| Some(sample.cpu))?;
        let cpu = samples.figure(row, value)?;
        Some(Comparison { row: *row, is_of_redis: false, floor, cpu, floor_cpu, ratio, goal: None })
    }
}

/// All tables.
pub fn tables(rows: &[Row], samples: &Samples) -> String {
    format!("{}\n{}", ratios(rows, samples), figures(rows, samples))
}

fn ratios(rows: &[Row], samples: &Samples) -> String {
    let mut table = "| request | shape | value | keys | µs of CPU | floor | its µs | ratio (lowest to highest) | goal \
                     | to echo, multi_thread | to Redis | to memcached |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for found in Comparison::all(rows, samples) {
        let row = &found.row;
        let beside = |peer: Row| {
            let ratio = samples.ratio(row, |sample| Some(sample.cpu), &peer).filter(|_| !found.is_of_redis);
            ratio.map_or("–".to_owned(), |ratio| number(ratio.median))
        };
        let goal = found.goal.map_or("–".to_owned(), |goal| format!("≤ {goal}"));
        let is_single = matches!(row.operation, Operation::Get | Operation::Set);
        let echo = if is_single { beside(row.on(Target::EchoMulti, Operation::Get)) } else { "–".to_owned() };
        let memcached = beside(row.on(Target::Memcached, row.operation));
        let Figure { min, median, max } = found.ratio;
        let ratio = format!("**{}** ({} to {})", number(median), number(min), number(max));
        let (name, shape, value, keys) = (found.name(), row.shape, row.value(), row.distribution());
        let (cpu, floor, floor_cpu) = (number(found.cpu.median), found.floor.request(), number(found.floor_cpu.median));
        let redis = beside(row.on_redis());
        let _ = writeln!(
            table,
            "| {name} | {shape} | {value} | {keys} | {cpu} | {floor} | {floor_cpu} | {ratio} | {goal} | {echo} | {redis} | {memcached} |"
        );
    }
    table
}

fn figures(rows: &[Row], samples: &Samples) -> String {
    let mut table = "| request | shape | value | keys | µs of CPU, lowest | median | its Redis, lowest | median | requests/s \
                     | p50 µs | p99 µs | p99.9 µs | read from Redis |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let head = format!("| {} | {} | {} | {} |", row.request(), row.shape, row.value(), row.distribution());
        let Some(cpu) = samples.figure(row, |sample| Some(sample.cpu)) else {
            let _ = writeln!(table, "{head} not installed, left out | – | – | – | – | – | – | – | – |");
            continue;
        };
        let redis = samples.figure(row, |sample| sample.redis_cpu);
        let [redis_min, redis_median] = [redis.map(|redis| redis.min), redis.map(|redis| redis.median)]
            .map(|cpu| cpu.map_or("–".to_owned(), number));
        let median = |value: fn(&Sample) -> f64| {
            samples.figure(row, |sample| Some(value(sample))).map_or(0.0, |figure| figure.median)
        };
        let from_redis = if row.uses_redis() && row.is_read() {
            format!("{:.1} %", median(|sample| sample.from_redis) * 100.0)
        } else {
            "–".to_owned()
        };
        let latencies = [median(|sample| sample.p50), median(|sample| sample.p99), median(|sample| sample.p999)];
        let [p50, p99, p999] = latencies.map(|latency| format!("{latency:.0}"));
        let (min, middle, rate) = (number(cpu.min), number(cpu.median), median(|sample| sample.rate));
        let mark = if samples.of(row).iter().any(|sample| sample.is_sparse) { SPARSE } else { "" };
        let _ = writeln!(
            table,
            "{head} {min} | {middle} | {redis_min} | {redis_median} | {rate:.0} | {p50} | {p99}{mark} | {p999}{mark} | {from_redis} |"
        );
    }
    table
}

/// A number with three digits or so.
pub fn number(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
