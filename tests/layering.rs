//! Invariants of the source: libraries and imports by module, and no import circles.
#![allow(clippy::unwrap_used)]

#[path = "layering/imports.rs"]
mod imports;
#[path = "layering/names.rs"]
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules at the edge. No edge may import another.
const EDGES: [&str; 6] = ["backend", "cli", "config", "grpc", "telemetry", "admin"];

/// The configuration types of the edges. `config` reads the settings into them, and may name nothing
/// else of another edge.
const CONFIGURATIONS: [&str; 21] = [
    "admin::AdminConfig",
    "admin::AllowedHosts",
    "backend::memory::Eviction",
    "backend::memory::L1Config",
    "backend::redis::Address",
    "backend::redis::ClientIdentity",
    "backend::redis::Credentials",
    "backend::redis::Failover",
    "backend::redis::Password",
    "backend::redis::ProtectionConfig",
    "backend::redis::ProtectionMode",
    "backend::redis::RedisConfig",
    "backend::redis::RedisUrl",
    "backend::redis::SecretKey",
    "backend::redis::Servers",
    "backend::redis::TlsFiles",
    "grpc::ServerConfig",
    "grpc::Http2Config",
    "grpc::UnixSocketConfig",
    "telemetry::logs::Format",
    "telemetry::logs::LogConfig",
];

/// Libraries that are allowed in the given places only.
const CONFINED: [(&str, &[&str]); 19] = [
    ("jsonwebtoken", &["auth"]),
    ("tonic", &["grpc", "cli", "pb"]),
    ("tonic_health", &["grpc", "cli"]),
    ("prost_types", &["grpc", "cli"]),
    ("prost_reflect", &["cli"]),
    ("fred", &["backend::redis"]),
    ("hashbrown", &["backend::memory"]),
    ("governor", &["cache::admission::peer", "cache::policy::rate_limit"]),
    ("hyper", &["grpc::server", "admin::serve"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_prometheus", &["telemetry"]),
    ("opentelemetry_appender_tracing", &["telemetry"]),
    ("prometheus", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("axum", &["admin"]),
    ("tokio_rustls", &["tls", "backend::redis"]),
    ("x509_parser", &["tls"]),
];

/// Modules that every module may use, and that use none.
const GROUND: [&str; 3] = ["suggest", "sync", "units"];

/// Crates that the core may use.
const CORE: [&str; 12] = [
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
    "itoa",
    "rand",
];

struct Module {
    path: String,
    /// True for `mod.rs`.
    is_folder: bool,
    /// The code without its tests and comments.
    code: String,
}

fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let test_only = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.ends_with("tests.rs") || name == "testing.rs" || name == "fuzzing.rs"
    };
    let module = |file: PathBuf| {
        let relative = file.strip_prefix(&root).unwrap().with_extension("");
        let names: Vec<_> = relative.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        let path = names.join("::").trim_end_matches("::mod").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
        let is_folder = file.ends_with("mod.rs");
        Module { path, is_folder, code: lines.collect::<Vec<_>>().join("\n") }
    };
    let modules: Vec<_> = files.into_iter().filter(|file| !test_only(file)).map(module).collect();
    assert!(modules.len() > 40, "the sources were not found");
    modules
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every path that the code imports or names in place: `use a::{b, c}` gives `a::b` and `a::c`.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = uses(code).into_iter().map(|(path, _)| path).collect();
    let mut word = String::new();
    for character in code.chars().chain([' ']) {
        if character.is_alphanumeric() || character == '_' || character == ':' {
            word.push(character);
        } else {
            // A word that ends with `::` precedes braces: `uses` has expanded them.
            if word.contains("::") && !word.ends_with("::") {
                found.insert(word.trim_matches(':').to_owned());
            }
            word.clear();
        }
    }
    found
}

/// The paths that the code imports, each with the name that it has in the code.
fn uses(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for statement in code.split("use ").skip(1) {
        if let Some((tree, _)) = statement.split_once(';') {
            expand("", &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut found);
        }
    }
    found
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<(String, String)>) {
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
    for branch in branches.into_iter().map(str::trim).filter(|branch| !branch.is_empty()) {
        match branch.split_once('{') {
            Some((stem, rest)) => expand(&format!("{prefix}{stem}"), rest.strip_suffix('}').unwrap_or(rest), found),
            None => {
                let (path, alias) = branch.split_once(" as ").unwrap_or((branch, ""));
                let path = format!("{prefix}{path}");
                let path = path.strip_suffix("::self").unwrap_or(&path);
                let name = if alias.is_empty() { path.rsplit("::").next().unwrap_or(path) } else { alias };
                found.push((path.to_owned(), name.to_owned()));
            }
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
            let is_configuration = *edge == "config" && CONFIGURATIONS.contains(&path.as_str());
            let other = EDGES.iter().filter(|other| *other != edge).find(|other| inside(&path, other));
            assert_eq!(other.filter(|_| !is_configuration), None, "{} knows {path}", module.path);
            assert!(!inside(&path, "app"), "{} knows the composition root", module.path);
        }
    }
}

#[test]
fn every_configuration_type_of_the_list_is_read_by_config() {
    let config: Vec<_> = modules().into_iter().filter(|module| inside(&module.path, "config")).collect();
    for path in CONFIGURATIONS {
        let is_read = config.iter().any(|module| paths(&module.code).contains(&format!("crate::{path}")));
        assert!(is_read, "{path}");
    }
}

#[test]
fn the_ground_floor_imports_no_other_module() {
    let ground = modules().into_iter().filter(|module| inside(&module.path, "net"));
    let mut paths_of = ground.flat_map(|module| {
        let found = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path));
        found.map(|path| (module.path.clone(), path)).collect::<Vec<_>>()
    });
    let other = paths_of.find(|(_, path)| !["net"].iter().chain(&GROUND).any(|own| inside(path, own)));
    assert_eq!(other, None);
    for module in modules().iter().filter(|module| inside(&module.path, "tls")) {
        let found = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path));
        let other = found.filter(|path| !["tls", "net"].iter().chain(&GROUND).any(|own| inside(path, own)));
        assert_eq!(other.collect::<Vec<_>>(), Vec::<String>::new(), "{}", module.path);
    }
    for module in modules().iter().filter(|module| GROUND.contains(&module.path.as_str())) {
        let inner: Vec<_> = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path)).collect();
        assert!(inner.is_empty(), "{} knows {inner:?}", module.path);
    }
}

#[test]
fn access_imports_the_core_and_the_ground_floor_only() {
    for module in modules().iter().filter(|module| inside(&module.path, "auth")) {
        for path in paths(&module.code).iter().filter_map(|path| absolute(&module.path, path)) {
            let allowed = ["auth", "cache", "net::certificate"].iter().chain(&GROUND).any(|room| inside(&path, room));
            assert!(allowed, "{} knows {path}", module.path);
        }
    }
}

#[test]
fn no_module_is_named_common_or_util() {
    for module in modules() {
        for name in ["utils", "util", "common", "helpers", "helper", "misc"] {
            assert!(!module.path.split("::").any(|part| part == name), "{}", module.path);
        }
    }
}

// === tests and time ===

/// The only function that may assert a duration: it fails if an event does not occur in time.
const HELPER: (&str, &str) = ("tests/user/process.rs", "pub fn wait_until(");

/// Code without comments, strings and spaces.
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

/// Names of measured durations: `let took = begun.elapsed()`.
fn measured(code: &str) -> BTreeSet<String> {
    let bindings = code.split("let ").skip(1).filter_map(|rest| rest.split(';').next()?.split_once('='));
    let timed = bindings.filter(|(_, value)| value.contains(".elapsed()") || value.contains(".duration_since("));
    let name = |name: &str| name.trim().trim_start_matches("mut ").to_owned();
    let names = timed.map(|(pattern, _)| name(pattern));
    names.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).collect()
}

/// Conditions of assertions that give a duration an upper bound.
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

/// True if a call of a log macro has a field in Rust's debug form: `?field`, `field = ?value` or
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
