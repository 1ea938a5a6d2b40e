//! A counter, or a field of a policy, is named in few files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::modules;

/// Folders that report what is counted. Elsewhere a counter is named where it counts.
const REPORTING: [&str; 6] = [
    "src/cache/stats/",
    "src/cache/fleet/report",
    "src/grpc/stats/",
    "src/telemetry/metrics/",
    "src/admin/",
    "src/cli/stats/",
];

/// Most files that name one counter, or one field of a policy: its declaration, the place that uses it, and its forms
/// for the contract, metrics or configuration, the dashboard, and the command line.
const MOST_FILES: usize = 6;

/// Counters and policy fields that more files have a reason to name, with the number of these files.
const NAMED_IN_MORE: [(&str, usize); 11] = [
    // Each is also a curve of the dashboard; two of them are the evidence of a finding, too.
    ("coalesced", 8),
    ("evicted_size", 7),
    ("invalidations", 8),
    ("sets_stored", 7),
    // Each is also the evidence of a finding of the dashboard.
    ("checked", 7),
    ("violations", 7),
    ("waiting", 7),
    // Two counters have this name: that of messages, and that of entries in Redis.
    ("undecodable", 9),
    // Rules that more than one step of a Get or a Set follows.
    ("immutable", 9),
    ("l1_ttl", 8),
    ("stale_window", 7),
];

/// Gauges of a namespace whose names others have, too: L1, a replica of the fleet, requests in flight.
const SHARED_GAUGES: [&str; 2] = ["bytes", "entries"];

/// Code of a file, and whether it is Rust.
struct Source {
    path: String,
    code: String,
}

/// The Rust sources without their tests, comments and strings, and the scripts of the dashboard.
fn sources() -> Vec<Source> {
    let rust = modules().into_iter().map(|module| {
        let path = format!("src/{}.rs", module.path.replace("::", "/"));
        let code = module.code.replace("\\\"", "").split('"').step_by(2).collect();
        Source { path, code }
    });
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
    let scripts = std::fs::read_dir(page).unwrap().map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.extension().is_some_and(|extension| extension == "js"));
    let script = |path: PathBuf| Source {
        code: std::fs::read_to_string(&path).unwrap(),
        path: format!("src/admin/page/{}", path.file_name().unwrap().to_str().unwrap()),
    };
    rust.chain(scripts.map(script)).collect()
}

/// Returns the parts of `code` before and after each use of `name` as a field: `.name`, `name:` or, in a table, `=> name`.
fn field_uses<'a>(code: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let uses = code.match_indices(name).map(|(at, _)| (&code[..at], &code[at + name.len()..]));
    let is_field = |(before, after): &(&str, &str)| {
        let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        let accessed = before.trim_end().ends_with('.') && !before.ends_with("..") && !after.starts_with('(');
        let declared = after.starts_with(':') && !after.starts_with("::");
        whole && (accessed || declared || before.ends_with("=> "))
    };
    uses.filter(is_field).collect()
}

/// Returns true if the code after a name counts with it.
fn counts(after: &str) -> bool {
    let calls = ["inc()", "inc_guard()", "add(", "add_within(", "sub(", "observe("];
    after.trim_start().strip_prefix('.').is_some_and(|call| calls.iter().any(|known| call.starts_with(known)))
}

/// Names declared in a table of that macro: one a line, before a colon.
fn declared(path: &str, table: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (_, rest) = text.split_once(&format!("\n{table}! {{\n")).expect("the table");
    let names = rest.split("\n}\n").next().unwrap().lines().filter_map(|line| line.trim().split_once(": "));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let names: BTreeSet<_> = names.map(|(name, _)| name.to_owned()).filter(|name| is_name(name)).collect();
    names.into_iter().collect()
}

#[track_caller]
fn assert_few_files(names: &[String], is_named: impl Fn(&Source, &str) -> bool) {
    let (sources, mut wrong) = (sources(), Vec::new());
    for name in names {
        let files: Vec<_> = sources.iter().filter(|source| is_named(source, name)).map(|source| &source.path).collect();
        assert!(!files.is_empty(), "{name} is not found where it is declared");
        let allowed = NAMED_IN_MORE.iter().find(|(known, _)| known == name).map_or(MOST_FILES, |(_, most)| *most);
        if files.len() > allowed {
            wrong.push(format!("{name}: {} files, more than {allowed}: {files:?}", files.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_counter_is_named_in_few_files() {
    let names = declared("src/cache/stats/counters.rs", "meters");
    assert!(names.len() > 50, "the counters were not found: {names:?}");
    let names: Vec<_> = names.into_iter().filter(|name| !SHARED_GAUGES.contains(&name.as_str())).collect();
    assert_few_files(&names, |source, name| {
        let reports = REPORTING.iter().any(|folder| source.path.starts_with(folder));
        field_uses(&source.code, name).iter().any(|(_, after)| reports || counts(after))
    });
}

#[test]
fn a_field_of_a_policy_is_named_in_few_files() {
    let names = declared("src/cache/policy/namespace_policy.rs", "policy");
    assert!(names.len() > 15, "the fields were not found: {names:?}");
    assert_few_files(&names, |source, name| {
        let translates = source.path.contains("policy") || source.path == "src/config/sections/cache.rs";
        let of_policy = |before: &str| before.ends_with("policy.") || before.ends_with("policy().");
        field_uses(&source.code, name).iter().any(|(before, _)| translates || of_policy(before))
    });
}

#[test]
fn a_use_of_a_field_is_found() {
    for code in ["a.gaps + 1", "Counts { gaps: 1 }", "[\"\"] => gaps,", "counters\n    .gaps.inc()", "self.gaps,"] {
        assert_eq!(field_uses(code, "gaps").len(), 1, "{code}");
    }
    for code in ["gaps::of()", "let gaps = 1;", "a.gaps()", "a.gaps_seen", "..gaps"] {
        assert_eq!(field_uses(code, "gaps").len(), 0, "{code}");
    }
    assert!(counts(".inc();") && !counts(".incoming()") && !counts(".get()"));
}
