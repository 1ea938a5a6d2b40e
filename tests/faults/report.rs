//! Report of the drills: one row for each drill, and a total.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Code;

use super::checker::Verdict;
use super::load::Report;

/// Results of one drill.
pub struct Row<'a> {
    pub name: &'a str,
    pub bound: Duration,
    /// Number of injected faults.
    pub faults: usize,
    pub report: &'a Report,
    pub verdict: &'a Verdict,
    /// Longest time from the end of a fault until every replica was healthy and proven.
    pub recovery: Duration,
    pub before: Footprint,
    pub after: Footprint,
}

/// Memory and tasks of this process. They belong to the drill only if it runs alone.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Resident memory.
    bytes: usize,
    /// Tasks of the drill's runtime.
    tasks: usize,
}

static OPERATIONS: AtomicUsize = AtomicUsize::new(0);
static FAULTS: AtomicUsize = AtomicUsize::new(0);
static VIOLATIONS: AtomicUsize = AtomicUsize::new(0);

impl Footprint {
    /// Measures the process now.
    pub fn now() -> Footprint {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Footprint { bytes: kibibytes * 1024, tasks }
    }

    /// Subtracts the size of the history.
    pub fn without(self, report: &Report) -> Footprint {
        Footprint { bytes: self.bytes.saturating_sub(size_of_val(&report.history[..])), ..self }
    }
}

impl Row<'_> {
    /// Prints the row, and the table's head before the first one.
    pub fn print(&self) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| {
            print_line(&format!(
                "{:56} {:>9} {:>6} {:>5} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>8} {:>6}  errors",
                "drill",
                "ops",
                "faults",
                "viol",
                "worst",
                "p99.9",
                "<=1ms",
                "<=10ms",
                "<=100ms",
                "<=1s",
                "<=bound",
                "recovery",
                "get",
                "MiB",
                "tasks"
            ));
        });
        let mut row = format!(
            "{:56} {:>9} {:>6} {:>5} {:>8} {:>8}",
            self.name,
            self.verdict.operations,
            self.faults,
            self.verdict.violations.len(),
            short(self.verdict.delay(1000)),
            short(self.verdict.delay(999)),
        );
        for limit in [1, 10, 100, 1000].map(Duration::from_millis).into_iter().chain([self.bound]) {
            let share = self.verdict.visible_within(limit).map_or("-".to_owned(), |share| format!("{share:.2}"));
            let _ = write!(row, " {share:>7}");
        }
        let grown = (self.after.bytes as f64 - self.before.bytes as f64) / f64::from(1 << 20);
        let tasks = self.after.tasks as i64 - self.before.tasks as i64;
        let (recovery, slowest) = (short(self.recovery), short(self.report.slowest_get));
        let mut errors = tally(self.report.failed_gets.iter().chain(&self.report.failed_writes));
        let retried: Vec<_> = self.report.retried.iter().map(|(why, count)| format!("{why} {count}")).collect();
        if !retried.is_empty() {
            let _ = write!(errors, "{}retried: {}", if errors.is_empty() { "" } else { "; " }, retried.join(", "));
        }
        print_line(&format!("{row} {recovery:>9} {slowest:>9} {grown:>+8.1} {tasks:>+6}  {errors}"));
    }
}

/// Adds a drill with all safeguards to the total.
pub fn count(faults: usize, verdict: &Verdict) {
    OPERATIONS.fetch_add(verdict.operations, Ordering::Relaxed);
    FAULTS.fetch_add(faults, Ordering::Relaxed);
    VIOLATIONS.fetch_add(verdict.violations.len(), Ordering::Relaxed);
}

/// Prints the sums of all drills so far. Returns the number of operations.
pub fn total() -> usize {
    let operations = OPERATIONS.load(Ordering::Relaxed);
    let (faults, violations) = (FAULTS.load(Ordering::Relaxed), VIOLATIONS.load(Ordering::Relaxed));
    print_line(&format!("{:56} {operations:>9} {faults:>6} {violations:>5}", "total"));
    operations
}

/// Codes with their counts, most frequent first.
pub fn tally<'a>(codes: impl Iterator<Item = &'a Code>) -> String {
    let mut tally: Vec<(Code, usize)> = Vec::new();
    for code in codes {
        match tally.iter_mut().find(|(known, _)| known == code) {
            Some((_, count)) => *count += 1,
            None => tally.push((*code, 1)),
        }
    }
    tally.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<_> = tally.iter().map(|(code, count)| format!("{code:?} {count}")).collect();
    words.join(", ")
}

/// Prints a line of its own, after any output of the test runner.
pub fn print_line(line: &str) {
    println!("\r{line}");
    let _ = std::io::stdout().flush();
}

fn short(time: Duration) -> String {
    match time {
        Duration::ZERO => "-".into(),
        time if time < Duration::from_millis(1) => format!("{}us", time.as_micros()),
        time if time < Duration::from_secs(1) => format!("{:.1}ms", time.as_secs_f64() * 1000.0),
        time => format!("{:.2}s", time.as_secs_f64()),
    }
}
