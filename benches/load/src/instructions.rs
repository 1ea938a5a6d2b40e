//! Instructions of the service for one request, counted by callgrind, beside a committed budget.
//!
//! The whole process is counted, with all of its threads. Two runs differ only in the number of
//! requests, so that start, filling and stop cancel out.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;

use crate::client::{Limits, Load};
use crate::dialect::Dialect;
use crate::http2::Http2;
use crate::keys::Sequence;
use crate::messages::{Messages, READ, WRITTEN};
use crate::plan::{Keys, Operation, Row, SMALL, Shape, Target};
use crate::servers::{self, Cores, Server};
use crate::{ROOT, end_with_this};

const BUDGET: &str = "benches/load/instructions.txt";
const HEAD: &str = "\
# Instructions of the service for one request: the release build without Redis, values of 100 bytes, one request at a
# time. `make test-instructions` fails if a count exceeds its figure by more than the allowed share.
# `UPDATE=1 make test-instructions` writes the figures anew.
";
/// Most instructions over the budget, as a share of it. On a slow machine background work takes a part of it.
const ALLOWED: f64 = 0.1;
const KEYS: u32 = 1_000;
/// One request at a time: how many share a system call does not depend on time.
const SHAPE: Shape = Shape { connections: 1, in_flight: 1 };
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Function that is not counted: the share of the Gets whose keys are sampled follows the clock, and almost every Get
/// is sampled at the pace of callgrind.
const NOT_COUNTED: &str = "twintier::cache::stats::hot_keys::HotKeys::sample";

/// Operations that have a budget, each with the number of requests that are counted.
const COUNTED: [(&str, Operation, u64); 3] =
    [("Get", Operation::Get, 2_000), ("Set", Operation::Set, 2_000), ("BatchGet-100", Operation::BatchGet, 200)];

/// Figures by the name of the operation.
type Counts = Vec<(String, u64)>;

/// Counts every operation. Compares the counts with the budget, or writes them as the budget.
pub fn main(is_update: bool) {
    let _ends = servers::EndsAll;
    end_with_this(TIMEOUT);
    let cores = Cores::choose();
    let counts: Counts = COUNTED.iter().map(|counted| (counted.0.to_owned(), count(counted, &cores))).collect();
    let file = Path::new(ROOT).join(BUDGET);
    if is_update {
        fs::write(&file, written(&counts)).unwrap();
        return println!("{BUDGET}:\n{}", written(&counts));
    }
    let budget = parsed(&fs::read_to_string(&file).unwrap_or_else(|error| panic!("{BUDGET}: {error}")));
    let (report, is_within) = compared(&counts, &budget);
    print!("{report}");
    if !is_within {
        servers::end_all();
        exit(1);
    }
}

/// Instructions of one request.
fn count((name, operation, requests): &(&str, Operation, u64), cores: &Cores) -> u64 {
    let folder = Path::new(ROOT).join("target/bench/instructions");
    fs::create_dir_all(&folder).unwrap();
    let [less, more] = [1, 2].map(|times| {
        let out = folder.join(format!("{name}.{times}.out"));
        run(*operation, requests * times, &out, cores)
    });
    more.saturating_sub(less) / requests
}

/// Instructions of a process that answers this many requests. Writes the profile to `out`.
fn run(operation: Operation, requests: u64, out: &Path, cores: &Cores) -> u64 {
    let log = out.with_extension("log");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(option("--callgrind-out-file", out)).arg(option("--log-file", &log));
    // Collection is on from the start, and off from the entry of the function to its exit.
    valgrind.arg(format!("--toggle-collect={NOT_COUNTED}")).arg("--collect-atstart=yes");
    let settings = [("cache.default_ttl", "1h"), ("admin.enabled", "false")];
    valgrind.arg(servers::program());
    let (server, _log) = Server::listening_service(valgrind, &settings, cores);
    let row = Row { target: Target::Alone, operation, shape: SHAPE, size: SMALL, keys: Keys::InOrder };
    let filling = Row { operation: Operation::BatchSet, ..row };
    send(&server, &filling, u64::from(KEYS) / filling.operation.entries() as u64);
    send(&server, &row, requests);
    server.stop();
    let text = fs::read_to_string(&log).unwrap();
    let collected = text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("no count in {}:\n{text}", log.display()))
}

fn option(name: &str, path: &Path) -> PathBuf {
    format!("{name}={}", path.display()).into()
}

/// Sends requests one after the other, and checks their answers.
fn send(server: &Server, row: &Row, requests: u64) {
    let namespace = if row.operation == Operation::Set { WRITTEN } else { READ };
    let messages = Messages::new(row, namespace, 0);
    let dialect = || -> Box<dyn Dialect> { Box::new(Http2::new(messages.clone(), server.address.to_string())) };
    let keys = Sequence::new(row.keys, KEYS, 1);
    let limits = Limits { warm_up: Duration::ZERO, time: TIMEOUT, enough: 0, requests };
    let measured = Load::new(server.address, row.shape, row.operation, keys, dialect).run(limits, |_| {});
    assert_eq!((measured.requests, measured.wrong), (requests, 0), "{row}");
}

// === budget ===

fn written(counts: &Counts) -> String {
    counts.iter().fold(HEAD.to_owned(), |text, (name, count)| format!("{text}{name} {count}\n"))
}

fn parsed(text: &str) -> Counts {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figure =
        |line: &str| line.split_once(' ').and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    lines.map(|line| figure(line).unwrap_or_else(|| panic!("{BUDGET}: not a name and a number: {line}"))).collect()
}

/// Returns a line for each count, and true if all are within the budget.
fn compared(counts: &Counts, budget: &Counts) -> (String, bool) {
    let (mut report, mut is_within) = (String::new(), true);
    for (name, count) in counts {
        let Some((_, allowed)) = budget.iter().find(|(budgeted, _)| budgeted == name) else {
            panic!("{BUDGET} has no figure for {name}: UPDATE=1 make test-instructions writes it");
        };
        let excess = *count as f64 / *allowed as f64 - 1.0;
        let _ = writeln!(report, "{name}: {count} instructions, budget {allowed} ({:+.1} %)", excess * 100.0);
        if excess > ALLOWED {
            is_within = false;
            let _ = writeln!(
                report,
                "error: {name} exceeds the budget by {:.1} %, and {:.0} % are allowed.\n  To see where they go: callgrind_annotate \
                 target/bench/instructions/{name}.2.out\n  If the cost is meant: UPDATE=1 make test-instructions, and commit {BUDGET}",
                excess * 100.0,
                ALLOWED * 100.0
            );
        } else if excess < -ALLOWED {
            let _ = writeln!(
                report,
                "note: {name} is cheaper than its budget: UPDATE=1 make test-instructions keeps the gain"
            );
        }
    }
    (report, is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(figures: &[(&str, u64)]) -> Counts {
        figures.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_count_may_exceed_its_budget_by_the_allowed_share() {
        let budget = counts(&[("Get", 1000), ("Set", 2000)]);
        let (report, is_within) = compared(&counts(&[("Get", 1099), ("Set", 2000)]), &budget);
        assert!(is_within && report.contains("Get: 1099 instructions, budget 1000 (+9.9 %)"), "{report}");
        let (report, is_within) = compared(&counts(&[("Get", 1102), ("Set", 1000)]), &budget);
        assert!(!is_within && report.contains("error: Get exceeds the budget by 10.2 %"), "{report}");
        assert!(report.contains("UPDATE=1 make test-instructions") && report.contains("Set is cheaper"), "{report}");
    }

    #[test]
    fn the_committed_budget_has_every_operation() {
        let text = fs::read_to_string(Path::new(ROOT).join(BUDGET)).expect("a budget");
        let names = |counts: &Counts| counts.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let budget = parsed(&text);
        assert_eq!(names(&budget), COUNTED.map(|(name, ..)| name.to_owned()));
        assert_eq!(written(&budget), text, "the form in which UPDATE=1 writes it");
    }
}
