//! CPU, rates and latencies of the service beside floors and peers (`make bench`).
//!
//! Drives the service, bare tonic servers, Redis and memcached as processes of their own, one after
//! the other in each round, with a raw client. Prints tables and draws a picture. Another command
//! counts instructions (`make test-instructions`).
#![allow(clippy::unwrap_used)]

mod chart;
mod client;
mod curves;
mod dialect;
mod echo;
mod fleet;
mod http2;
mod instructions;
mod keys;
mod messages;
mod plan;
mod report;
mod samples;
mod scale;
mod servers;
mod smoke;
mod template;
mod text;
mod tls;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

use client::Limits;
use fleet::Fleet;
use plan::{Row, Target};
use report::Comparison;
use samples::Samples;

/// The allocator of the service: a floor with another one would not be one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const KEYS: u32 = 100_000;
/// Between these lines of docs/performance.md is the report.
const MARKS: [&str; 2] = ["<!-- begin of the report -->\n", "<!-- end of the report -->\n"];
/// Between these lines of the page are the curves.
const CURVE_MARKS: [&str; 2] = ["<!-- begin of the curves -->\n", "<!-- end of the curves -->\n"];

/// Options of `make bench`.
struct Options {
    is_quick: bool,
    filter: String,
    /// True: write the report into docs/.
    writes: bool,
}

/// Length of a run.
struct Extent {
    rounds: u64,
    limits: Limits,
    /// Longest time of the whole run.
    timeout: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_set = |name: &str| !variable(name).is_empty();
    match arguments[..] {
        ["echo", runtime] => return echo::serve(runtime),
        ["smoke"] => return smoke::main(),
        ["instructions"] => return instructions::main(is_set("UPDATE")),
        ["scale"] | [] => {}
        _ => panic!("unknown arguments: {arguments:?}"),
    }
    let options = Options { is_quick: is_set("QUICK"), filter: variable("FILTER"), writes: is_set("WRITE") };
    match arguments[..] {
        ["scale"] => run_curves(&options),
        _ => run(&options),
    }
}

fn run_curves(options: &Options) {
    let (plan, timeout) = match options.is_quick {
        true => (scale::QUICK, Duration::from_secs(10 * 60)),
        false => (scale::FULL, Duration::from_secs(40 * 60)),
    };
    let _ends = servers::EndsAll;
    end_with_this(timeout);
    let (begin, load_before) = (Instant::now(), load_average());
    let curves = scale::curves(&plan);
    let (time, load_after) = (begin.elapsed().as_secs(), load_average());
    let mut text = format!(
        "{}- medians of {} rounds of {:?}; load average before and after: {load_before}, {load_after}; the run took {time} s\n\n",
        machine(),
        plan.rounds,
        plan.time,
    );
    text += &curves::tables(&curves);
    println!("{text}");
    save("scale", &text, &curves::draw(&curves), options.writes.then_some(CURVE_MARKS));
}

fn run(options: &Options) {
    let (rows, extent) = match options.is_quick {
        true => (plan::quick(), Extent::new(3, [100, 400], 200)),
        false => (plan::full(), Extent::new(7, [200, 800], 1_000)),
    };
    let rows = if options.filter.is_empty() { rows } else { plan::filtered(&rows, &options.filter) };
    assert!(!rows.is_empty(), "no row has {:?} in its name", options.filter);
    let _ends = servers::EndsAll;
    end_with_this(extent.timeout);
    let begin = Instant::now();
    let load_before = load_average();
    let samples = measure(&rows, KEYS, &extent);
    let mut text = head(options, &extent, &rows);
    let (load_after, time) = (load_average(), begin.elapsed().as_secs());
    let _ = writeln!(text, "- load average before and after: {load_before}, {load_after}; the run took {time} s\n");
    text += &report::tables(&rows, &samples);
    let picture = chart::draw(&Comparison::all(&rows, &samples));
    println!("{text}");
    save("performance", &text, &picture, options.writes.then_some(MARKS));
}

impl Extent {
    /// The milliseconds are those of the warm-up and of the measurement.
    fn new(rounds: u64, millis: [u64; 2], enough: u64) -> Extent {
        let [warm_up, time] = millis.map(Duration::from_millis);
        let timeout = Duration::from_secs(if rounds > 3 { 40 * 60 } else { 10 * 60 });
        Extent { rounds, limits: Limits { warm_up, time, enough, requests: u64::MAX }, timeout }
    }
}

/// Measures every row once in each round.
fn measure(rows: &[Row], keys: u32, extent: &Extent) -> Samples {
    let fleet = Fleet::start(rows, keys);
    let mut samples = Samples::default();
    for round in 0..extent.rounds {
        for row in rows.iter().filter(|row| fleet.has(row)) {
            let sample = fleet.measure(row, extent.limits, round + 1);
            assert_eq!(sample.wrong, 0, "wrong answers: {row}");
            samples.add(*row, sample);
        }
        eprintln!("round {} of {}", round + 1, extent.rounds);
    }
    samples
}

/// Ends servers and program on SIGINT, SIGTERM and after `timeout`.
fn end_with_this(timeout: Duration) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let why = runtime.block_on(async {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
            tokio::select! {
                _ = tokio::signal::ctrl_c() => "interrupted",
                _ = term.recv() => "terminated",
                () = tokio::time::sleep(timeout) => "not done in time",
            }
        });
        eprintln!("{why}");
        servers::end_all();
        exit(1);
    });
}

// === report ===

/// Machine, commit and extent of the run.
fn head(options: &Options, extent: &Extent, rows: &[Row]) -> String {
    let memcached = match servers::find("memcached") {
        Some(_) => output("memcached", &["--version"]),
        None => "not installed, left out".to_owned(),
    };
    let kind = if options.is_quick { "quick" } else { "full" };
    let limits = extent.limits;
    let filter = if options.filter.is_empty() { String::new() } else { format!(", rows with {:?}", options.filter) };
    format!(
        "- {kind} run{filter}: {} rows, {} rounds of {:?} each after {:?} of warm-up, and longer for {} answers\n\
         {}- memcached: {memcached}\n",
        rows.len(),
        extent.rounds,
        limits.time,
        limits.warm_up,
        limits.enough,
        machine(),
    )
}

/// Program, machine and Redis.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count().max(cores);
    let program = output(&servers::program().display().to_string(), &["--version"]);
    let redis = output("redis-server", &["--version"]);
    let redis = redis.split(' ').find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown").to_owned();
    format!(
        "- {program}; {model}, {cores} cores: the measured server on one, the client and the Redis of the service on another\n\
         - Redis {redis}\n"
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Writes text and picture to target/bench, and to docs/performance.md between these marks if there
/// are any.
fn save(name: &str, text: &str, picture: &str, marks: Option<[&str; 2]>) {
    let (folder, docs) = (Path::new(ROOT).join("target/bench"), Path::new(ROOT).join("docs"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.md")), text).unwrap();
    std::fs::write(folder.join(format!("{name}.svg")), picture).unwrap();
    if let Some(marks) = marks {
        let page = std::fs::read_to_string(docs.join("performance.md")).unwrap();
        std::fs::write(docs.join("performance.md"), with_report(&page, text, marks)).unwrap();
        std::fs::write(docs.join(format!("{name}.svg")), picture).unwrap();
    }
}

/// Returns the page with this text between its marks.
fn with_report(page: &str, text: &str, [begin, end]: [&str; 2]) -> String {
    let (before, rest) = page.split_once(begin).expect("a begin mark");
    let (_, after) = rest.split_once(end).expect("an end mark");
    format!("{before}{begin}\n{text}\n{end}{after}")
}

/// True if a row belongs to a server that may be absent.
fn may_be_absent(row: &Row) -> bool {
    row.target == Target::Memcached || row.target.has_tls()
}
