//! The benchmark in small, for a test. Checks answers and rows, no times.

use std::time::Duration;

use crate::client::Limits;
use crate::plan::{self, Row};
use crate::report::{self, Comparison};
use crate::samples::{Sample, Samples};
use crate::{Extent, MARKS, chart, curves, end_with_this, may_be_absent, measure, scale, servers, with_report};

/// Keys: more than a small L1 holds.
const KEYS: u32 = 5_000;
const REQUESTS: u64 = 200;
const TIMEOUT: Duration = Duration::from_secs(300);

/// Runs every row of the quick run once.
pub fn main() {
    let _ends = servers::EndsAll;
    end_with_this(TIMEOUT);
    let limits = Limits { warm_up: Duration::ZERO, time: TIMEOUT, enough: REQUESTS, requests: REQUESTS };
    let rows = plan::quick();
    let samples = measure(&rows, KEYS, &Extent { rounds: 1, limits, timeout: TIMEOUT });
    rows.iter().filter(|row| !(may_be_absent(row) && samples.of(row).is_empty())).for_each(|row| check(row, &samples));
    check_report(&rows, &samples);
    check_filter(&rows);
    check_curves();
    println!("{} rows with right answers", rows.len());
}

fn check(row: &Row, samples: &Samples) {
    let [sample] = samples.of(row) else { panic!("no sample: {row}") };
    let Sample { requests, cpu, redis_cpu, rate, p50, p99, p999, wrong, .. } = sample.clone();
    assert_eq!((requests, sample.is_sparse, wrong), (REQUESTS, false, 0), "{row}");
    assert!(cpu > 0.0 && rate > 0.0 && p50 > 0.0 && p99 >= p50 && p999 >= p99, "{row}: {sample:?}");
    assert_eq!(redis_cpu.is_some(), row.uses_redis(), "{row}: {sample:?}");
    assert!(!row.asks_redis() || redis_cpu > Some(0.0), "{row}: {sample:?}");
    if row.is_of_service() {
        let is_small = row.target == plan::Target::SmallL1;
        assert_eq!(sample.from_redis > 0.1, is_small, "{row}: {sample:?}");
    }
}

fn check_report(rows: &[Row], samples: &Samples) {
    let text = report::tables(rows, samples);
    for row in rows {
        let line = format!("| {} | {} | {} | {} |", row.request(), row.shape, row.value(), row.distribution());
        assert!(text.contains(&line), "no line {line:?} in\n{text}");
    }
    let comparisons = Comparison::all(rows, samples);
    let goals = comparisons.iter().filter(|comparison| comparison.goal.is_some()).count();
    assert_eq!(goals, 14, "comparisons with a goal");
    let picture = chart::draw(&comparisons);
    assert_eq!(picture.matches("class=\"goal\"").count(), goals, "{picture}");
    let page = format!("before\n{}old\n{}after\n", MARKS[0], MARKS[1]);
    let written = with_report(&page, "new", MARKS);
    assert_eq!(written, format!("before\n{}\nnew\n{}after\n", MARKS[0], MARKS[1]));
}

fn check_filter(rows: &[Row]) {
    let chosen = plan::filtered(rows, "l2 hit");
    assert!(chosen.iter().any(|row| row.request() == "L2 hit"));
    assert!(chosen.iter().any(|row| row.request() == "tonic echo, current_thread"));
    assert!(!chosen.iter().any(|row| row.request() == "Set"));
}

fn check_curves() {
    let curves = scale::curves(&scale::SMALLEST);
    assert_eq!(curves.len(), 4);
    let lines: Vec<&curves::Line> = curves.iter().flat_map(|curve| &curve.lines).collect();
    assert!(lines.iter().all(|line| line.points.len() == 2));
    // Between two audits Redis has nothing to do for Gets from memory.
    let of_requests = lines.iter().filter(|line| !line.name.contains("a second"));
    assert!(of_requests.flat_map(|line| &line.points).all(|(_, cost)| *cost > 0.0), "{}", curves::tables(&curves));
    let (text, picture) = (curves::tables(&curves), curves::draw(&curves));
    curves.iter().for_each(|curve| assert!(text.contains(curve.title) && picture.contains(curve.title), "{text}"));
    assert_eq!(picture.matches("<polyline").count(), lines.len(), "{picture}");
}
