//! The house's invariants, held against the code: which room may use which library, which room may know which, and that there are no circles.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms at the edge; none may know another.
const EDGES: [&str; 6] = ["backend", "cli", "config", "grpc", "telemetry", "admin"];

/// Libraries that are allowed in the given places only.
const CONFINED: [(&str, &[&str]); 15] = [
    ("tonic", &["grpc", "cli", "pb"]),
    ("tonic_health", &["grpc", "cli"]),
    ("prost_types", &["grpc", "cli"]),
    ("fred", &["backend::redis"]),
    ("moka", &["backend::memory"]),
    ("governor", &["cache::throttle"]),
    ("hyper", &["grpc::serve", "admin::serve"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_prometheus", &["telemetry"]),
    ("opentelemetry_appender_tracing", &["telemetry"]),
    ("prometheus", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("axum", &["admin"]),
];

/// What the core may use beside itself.
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
    let test_only = |file: &PathBuf| file.ends_with("tests.rs") || file.ends_with("testing.rs");
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

/// Every path of the code that begins a `use` or names a crate in place, braces taken apart: `a::b`, `a::c`.
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
fn a_confined_library_stays_in_its_room() {
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
fn the_core_knows_only_itself_and_a_few_small_libraries() {
    for module in modules().iter().filter(|module| inside(&module.path, "cache")) {
        for statement in module.code.split("\nuse ").skip(1) {
            let path: String = statement.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
            let first = path.split("::").next().unwrap();
            let known = CORE.contains(&first);
            let own = ["super", "self", "crate"].contains(&first) || module.code.contains(&format!("mod {first};"));
            assert!(known || own, "{} uses {path}", module.path);
        }
        for path in paths(&module.code) {
            let other_room = path.starts_with("crate::") && !path.starts_with("crate::cache");
            assert!(!other_room, "{} knows {path}", module.path);
        }
    }
}

#[test]
fn no_edge_knows_another() {
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
fn the_ground_floor_knows_no_other_room() {
    let ground = modules().into_iter().filter(|module| inside(&module.path, "net"));
    let mut paths_of = ground.flat_map(|module| {
        let found = paths(&module.code).into_iter().filter_map(|path| absolute(&module.path, &path));
        found.map(|path| (module.path.clone(), path)).collect::<Vec<_>>()
    });
    let other = paths_of.find(|(_, path)| !inside(path, "net"));
    assert_eq!(other, None);
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
fn modules_do_not_know_each_other_in_circles() {
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
