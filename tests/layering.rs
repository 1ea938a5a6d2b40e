//! Invariants of the source: libraries and imports by module, and no import circles.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms at the edge; none may know another.
const EDGES: [&str; 6] = ["backend", "cli", "config", "grpc", "telemetry", "admin"];

/// Libraries that are allowed in the given places only.
const CONFINED: [(&str, &[&str]); 16] = [
    ("tonic", &["grpc", "cli", "pb"]),
    ("tonic_health", &["grpc", "cli"]),
    ("prost_types", &["grpc", "cli"]),
    ("prost_reflect", &["cli"]),
    ("fred", &["backend::redis"]),
    ("moka", &["backend::memory"]),
    ("governor", &["cache::policy::rate_limit"]),
    ("hyper", &["grpc::server", "admin::serve"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_prometheus", &["telemetry"]),
    ("opentelemetry_appender_tracing", &["telemetry"]),
    ("prometheus", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("axum", &["admin"]),
];

/// Modules that every room may use, and that use none.
const GROUND: [&str; 2] = ["suggest", "units"];

/// Crates that the core may use.
const CORE: [&str; 11] = [
    "std",
    "tokio",
    "tokio_util",
    "futures_util",
    "bytes",
    "thiserror",
    "tracing",
    "arc_swap",
    "xxhash_rust",
    "governor",
    "rand",
];

struct Module {
    path: String,
    /// The code without its tests and comments.
    code: String,
}

fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let test_only = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.ends_with("tests.rs") || name == "testing.rs"
    };
    let module = |file: PathBuf| {
        let relative = file.strip_prefix(&root).unwrap().with_extension("");
        let names: Vec<_> = relative.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        let path = names.join("::").trim_end_matches("::mod").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
        Module { path, code: lines.collect::<Vec<_>>().join("\n") }
    };
    let modules: Vec<_> = files.into_iter().filter(|file| !test_only(file)).map(module).collect();
    assert!(modules.len() > 40, "the sources were not found");
    modules
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}

/// Every path of the code that begins a `use` or names a crate in place, braces taken apart:
/// `a::b`, `a::c`.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in code.split("use ").skip(1) {
        if let Some((tree, _)) = statement.split_once(';') {
            let tree: String = tree.split_whitespace().filter(|word| *word != "as" && *word != "_").collect();
            expand("", &tree, &mut found);
        }
    }
    let mut word = String::new();
    for character in code.chars().chain([' ']) {
        if character.is_alphanumeric() || character == '_' || character == ':' {
            word.push(character);
        } else {
            if word.contains("::") {
                found.insert(word.trim_matches(':').to_owned());
            }
            word.clear();
        }
    }
    found
}

fn expand(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let (mut depth, mut start) = (0, 0);
    let mut branches = Vec::new();
    for (index, character) in tree.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&tree[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    branches.push(&tree[start..]);
    for branch in branches.into_iter().filter(|branch| !branch.is_empty()) {
        match branch.split_once('{') {
            Some((stem, rest)) => expand(&format!("{prefix}{stem}"), rest.strip_suffix('}').unwrap_or(rest), found),
            None => _ = found.insert(format!("{prefix}{branch}")),
        }
    }
}

/// A path as seen from the crate's root: `super::x` in `a::b` is `a::x`.
fn absolute(module: &str, path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let mut here: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    if let Some(own) = path.strip_prefix("self::") {
        return Some(format!("{module}::{own}"));
    }
    while let Some(up) = rest.strip_prefix("super::") {
        here.pop();
        rest = up;
    }
    (rest != path).then(|| here.into_iter().chain([rest]).collect::<Vec<_>>().join("::"))
}

fn inside(module: &str, place: &str) -> bool {
    module == place || module.starts_with(&format!("{place}::"))
}

#[test]
fn a_confined_library_stays_in_its_module() {
    for module in modules() {
        for path in paths(&module.code) {
            let first = path.split("::").next().unwrap();
            for (library, rooms) in CONFINED {
                let allowed = first != library || rooms.iter().any(|room| inside(&module.path, room));
                assert!(allowed, "{} uses {path}; {library} belongs to {rooms:?}", module.path);
            }
        }
    }
}

#[test]
fn the_core_imports_only_itself_and_a_few_small_libraries() {
    for module in modules().iter().filter(|module| inside(&module.path, "cache")) {
        for statement in module.code.split("\nuse ").skip(1) {
            let path: String = statement.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
            let first = path.split("::").next().unwrap();
            let known = CORE.contains(&first);
            let own = ["super", "self", "crate"].contains(&first) || module.code.contains(&format!("mod {first};"));
            assert!(known || own, "{} uses {path}", module.path);
        }
        for path in paths(&module.code) {
            let allowed = |inside_crate: &str| ["cache"].iter().chain(&GROUND).any(|room| inside(inside_crate, room));
            let other_room = path.strip_prefix("crate::").is_some_and(|path| !allowed(path));
            assert!(!other_room, "{} knows {path}", module.path);
        }
    }
}

#[test]
fn no_edge_imports_another() {
    for module in modules() {
        let Some(edge) = EDGES.iter().find(|edge| inside(&module.path, edge)) else { continue };
        for path in paths(&module.code).iter().filter_map(|path| absolute(&module.path, path)) {
            let other = EDGES.iter().filter(|other| *other != edge).find(|other| inside(&path, other));
            assert_eq!(other, None, "{} knows {path}", module.path);
            assert!(!inside(&path, "app"), "{} knows the composition root", module.path);
        }
    }
}

#[test]
fn the_ground_floor_imports_no_other_module() {
    let ground = modules().into_iter().filter(|module| inside(&module.path, "net"));
    let mut paths_of = ground.flat_map(|module| {
        let found = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path));
        found.map(|path| (module.path.clone(), path)).collect::<Vec<_>>()
    });
    let other = paths_of.find(|(_, path)| !inside(path, "net"));
    assert_eq!(other, None);
    for module in modules().iter().filter(|module| GROUND.contains(&module.path.as_str())) {
        let inner: Vec<_> = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path)).collect();
        assert!(inner.is_empty(), "{} knows {inner:?}", module.path);
    }
}

#[test]
fn no_room_is_a_drawer_for_everything() {
    for module in modules() {
        for name in ["utils", "util", "common", "helpers", "helper", "misc"] {
            assert!(!module.path.split("::").any(|part| part == name), "{}", module.path);
        }
    }
}

/// A module and the modules inside of it may know each other: they are one room.
#[test]
fn modules_have_no_import_circles() {
    let modules = modules();
    let names: BTreeSet<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in &modules {
        for path in paths(&module.code).iter().filter_map(|path| absolute(&module.path, path)) {
            let target = names.iter().filter(|name| inside(&path, name)).max_by_key(|name| name.len());
            let Some(target) = target else { continue };
            if !inside(target, &module.path) && !inside(&module.path, target) {
                graph.entry(&module.path).or_default().insert(target);
            }
        }
    }
    assert!(graph.len() > 20, "no arrows were found");
    let mut settled = BTreeSet::new();
    for name in graph.keys() {
        walk(name, &graph, &mut Vec::new(), &mut settled);
    }
}

fn walk<'a>(
    name: &'a str,
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    trail: &mut Vec<&'a str>,
    settled: &mut BTreeSet<&'a str>,
) {
    assert!(!trail.contains(&name), "a circle: {} -> {name}", trail.join(" -> "));
    if settled.contains(name) {
        return;
    }
    trail.push(name);
    for next in graph.get(name).into_iter().flatten() {
        walk(next, graph, trail, settled);
    }
    trail.pop();
    settled.insert(name);
}

// === tests and time ===

/// The one place that asserts how long something takes, and means by it that it did not come about.
const HELPER: (&str, &str) = ("tests/user/process.rs", "pub fn until(");

/// Code without comments, and with strings and spaces taken out.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let joined = lines.collect::<Vec<_>>().join(" ").replace("\\\"", "");
    for (at, part) in joined.split('"').enumerate() {
        if at % 2 == 0 {
            bare.extend(part.chars().filter(|c| !c.is_whitespace()));
        }
    }
    bare
}

/// Names of what is measured: `let took = begun.elapsed()`.
fn measured(code: &str) -> BTreeSet<String> {
    let bindings = code.split("let ").skip(1).filter_map(|rest| rest.split(';').next()?.split_once('='));
    let timed = bindings.filter(|(_, value)| value.contains(".elapsed()") || value.contains(".duration_since("));
    let name = |name: &str| name.trim().trim_start_matches("mut ").to_owned();
    let names = timed.map(|(pattern, _)| name(pattern));
    names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).collect()
}

/// Conditions of assertions that something took no longer than something else.
fn upper_bounds(code: &str) -> Vec<String> {
    let (names, bare) = (measured(code), bare(code));
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let bounded = |condition: &str| {
        let times = names.iter().map(String::as_str).chain([".elapsed()", "Instant::now()-"]);
        times.into_iter().any(|time| {
            condition.match_indices(time).any(|(at, _)| {
                let (before, after) = (&condition[..at], &condition[at + time.len()..]);
                let is_whole = !time.starts_with(is_word) || !before.ends_with(|c| is_word(c) || c == '.');
                let before = before.trim_end_matches(|c| is_word(c) || c == '.');
                let after = after.trim_start_matches(".unwrap()").trim_start_matches(".as_millis()");
                let left = after.starts_with('<') || (time.ends_with('-') && after.contains('<'));
                let right = before.ends_with('>') || before.ends_with(">=") || before.ends_with(".contains(&");
                is_whole && (left || right)
            })
        })
    };
    let asserts = bare.match_indices("assert!(").map(|(at, word)| &bare[at + word.len()..]);
    let conditions = asserts.map(|rest| {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '(' || c == '[' || c == '{') - i32::from(c == ')' || c == ']' || c == '}');
            depth < 0 || (depth == 0 && c == ',')
        });
        &rest[..end.unwrap_or(rest.len())]
    });
    conditions.filter(|condition| bounded(condition)).map(str::to_owned).collect()
}

#[test]
fn no_test_asserts_a_duration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| collect(&root.join(folder), &mut files));
    let mut found = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root).unwrap().display().to_string();
        let mut code = std::fs::read_to_string(file).unwrap();
        if path == HELPER.0 {
            let (before, helper) = code.split_once(HELPER.1).expect("the helper");
            let (helper, after) = helper.split_once("\n}\n").unwrap();
            assert_eq!(upper_bounds(helper).len(), 1);
            code = format!("{before}{after}");
        }
        if path != "tests/layering.rs" {
            found.extend(upper_bounds(&code).into_iter().map(|condition| format!("{path}: {condition}")));
        }
    }
    assert!(
        found.is_empty(),
        "a loaded machine is slow: assert an event, or use `within` with what is promised\n{}",
        found.join("\n")
    );
}

#[test]
fn an_assertion_on_time_is_found_however_it_is_written() {
    for wrong in [
        "assert!(begun.elapsed() < LIMIT);",
        "assert!(\n    begun.elapsed()\n        < Duration::from_secs(1),\n    \"too late: {:?}\",\n    begun.elapsed()\n);",
        "assert!(is_right && LIMIT >= begun.elapsed(), \"late\");",
        "let took = begun.elapsed();\nassert!(took <= LIMIT);",
        "let took = begun.elapsed(); assert!((a..b).contains(&took));",
        "assert!(started.elapsed().unwrap() < Duration::from_secs(60));",
        "assert!(Instant::now() - begun < LIMIT);",
    ] {
        assert_eq!(upper_bounds(wrong).len(), 1, "{wrong}");
    }
    for right in [
        "assert!(begun.elapsed() >= PAUSE, \"too early, {} < {}\", begun.elapsed(), 1);",
        "assert!(elapsed <= called.elapsed());",
        "// assert!(begun.elapsed() < LIMIT);",
        "while begun.elapsed() < LIMIT { assert!(works()); }",
        "let took = begun.elapsed(); assert!(mistook < 3 && took >= PAUSE);",
    ] {
        assert!(upper_bounds(right).is_empty(), "{right}");
    }
}

// === log lines ===

/// The calls of log macros, each from its parenthesis to the end of it.
fn log_calls(code: &str) -> Vec<&str> {
    let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let begins = macros.iter().flat_map(|name| {
        let qualified = format!("tracing::{name}");
        code.match_indices(&qualified).map(|(at, text)| at + text.len()).collect::<Vec<_>>()
    });
    let end = |rest: &str| {
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        let found = rest.find(|c| {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        found.unwrap_or(rest.len())
    };
    begins.map(|at| &code[at..at + end(&code[at..])]).collect()
}

/// Whether a call of a log macro has a field in Rust's debug form: `?field`, `field = ?value` or
/// `{value:?}`.
fn has_debug_form(call: &str) -> bool {
    let unquoted: String = call.replace("\\\"", "").split('"').step_by(2).collect();
    let field = unquoted.match_indices('?').any(|(at, _)| {
        let before = unquoted[..at].trim_end().chars().next_back();
        before.is_none_or(|before| "(,=".contains(before))
    });
    field || call.contains(":?}") || call.contains("field::debug(")
}

#[test]
fn a_debug_form_is_found_in_a_log_line() {
    let lines = [
        "tracing::info!(?delay, \"a\");",
        "tracing::info!(took = ?begun.elapsed(), \"a\");",
        "tracing::warn!(\n    n,\n    ?outcome, \"a\");",
        "tracing::warn!(\"was {it:?}\");",
    ];
    for line in lines {
        assert!(log_calls(line).iter().all(|call| has_debug_form(call)) && !log_calls(line).is_empty(), "{line}");
    }
    for line in ["tracing::info!(%error, \"why?\"); a = ?b", "tracing::info!(n = count()?, \"(?\");"] {
        assert!(log_calls(line).iter().all(|call| !has_debug_form(call)), "{line}");
    }
}

#[test]
fn no_log_line_has_a_value_in_the_debug_form_of_rust() {
    let mut calls = 0;
    for module in modules() {
        for call in log_calls(&module.code) {
            calls += 1;
            assert!(!has_debug_form(call), "{}: use words, and `millis` for durations: {call}", module.path);
        }
    }
    assert!(calls > 50, "the log lines were not found: {calls}");
}

/// A duration that is measured has one name, and one unit.
#[test]
fn a_duration_in_a_log_line_is_in_milliseconds() {
    for module in modules() {
        for call in log_calls(&module.code) {
            let fields = call.split(',').filter_map(|part| part.split_once('='));
            for (name, value) in fields {
                let is_time = value.contains("millis(") || value.contains("elapsed(");
                assert!(!is_time || name.trim().ends_with("_ms"), "{}: {name} is no `…_ms`: {call}", module.path);
                assert!(!value.contains("as_secs") && !value.contains("as_milli"), "{}: {call}", module.path);
            }
        }
    }
}

// === places that a counter or a policy field is named in ===

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
fn uses<'a>(code: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
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
        uses(&source.code, name).iter().any(|(_, after)| reports || counts(after))
    });
}

#[test]
fn a_field_of_a_policy_is_named_in_few_files() {
    let names = declared("src/cache/policy/namespace_policy.rs", "policy");
    assert!(names.len() > 15, "the fields were not found: {names:?}");
    assert_few_files(&names, |source, name| {
        let translates = source.path.contains("policy") || source.path == "src/config/sections/cache.rs";
        let of_policy = |before: &str| before.ends_with("policy.") || before.ends_with("policy().");
        uses(&source.code, name).iter().any(|(before, _)| translates || of_policy(before))
    });
}

#[test]
fn a_use_of_a_field_is_found() {
    for code in ["a.gaps + 1", "Counts { gaps: 1 }", "[\"\"] => gaps,", "counters\n    .gaps.inc()", "self.gaps,"] {
        assert_eq!(uses(code, "gaps").len(), 1, "{code}");
    }
    for code in ["gaps::of()", "let gaps = 1;", "a.gaps()", "a.gaps_seen", "..gaps"] {
        assert_eq!(uses(code, "gaps").len(), 0, "{code}");
    }
    assert!(counts(".inc();") && !counts(".incoming()") && !counts(".get()"));
}
