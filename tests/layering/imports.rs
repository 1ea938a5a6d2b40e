//! Imports between files: no circles, ranks inside the core and inside the Redis tier, and folders
//! that hold no code.
//!
//! A `mod.rs` that only declares and re-exports is transparent: an import through it counts as an
//! import of the file that defines the thing. Any other file is a node, whether its folder is the
//! parent of the other's or not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Module, absolute, inside, modules, paths, uses};

/// Folders whose `mod.rs` may hold code, and why.
const CODE_IN_FOLDERS: [(&str, &str); 2] =
    [("backend::redis", "`start` puts the parts of the tier together"), ("pb", "generated from the contract")];

/// Ranks of the core, the lowest first. A file imports no higher rank than its own.
///
/// The longest name that a file is inside of counts.
const CORE_RANKS: [&[&str]; 11] = [
    &["caller", "clock", "error", "expiring_map", "lifetime", "log_fields", "quoted", "spans", "token", "version"],
    &["invalidation", "policy", "stats"],
    // A namespace holds its policy, its counters and its invalidation log.
    &["namespace"],
    // A key and an entry in L1 are of a namespace.
    &["entry", "key", "key_form"],
    // Hot keys are counted by key; all other statistics know no keys.
    &["stats::hot_keys", "stats::sketch"],
    &["tier"],
    // A fetch ends with an error of L2; admission refuses with the same time to retry.
    &["admission", "single_flight"],
    &["lease"],
    &["coherence"],
    &["tiered"],
    &["fleet"],
];

/// Ranks of the Redis tier, the lowest first.
const REDIS_RANKS: [&[&str]; 5] = [
    &["config", "schema"],
    &["connection"],
    &["command"],
    &["bus", "store"],
    // The background tasks of the tier: both work on the whole of it.
    &["keyspace", "topology"],
];

/// Imports by file: the files that each imports.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The modules by path.
struct Tree(BTreeMap<String, Node>);

struct Node {
    module: Module,
    /// Imported paths, by the name that each has in the module.
    uses: BTreeMap<String, String>,
}

impl Tree {
    fn new(modules: Vec<Module>) -> Tree {
        let node = |module: Module| {
            let uses = uses(&module.code).into_iter().map(|(path, name)| (name, path)).collect();
            (module.path.clone(), Node { module, uses })
        };
        Tree(modules.into_iter().map(node).collect())
    }

    /// Returns `path` as seen from the root of the crate. A name that `module` imports or declares
    /// may begin it.
    fn absolute(&self, node: &Node, path: &str) -> Option<String> {
        let module = &node.module;
        if let Some(found) = absolute(&module.path, path) {
            return Some(found);
        }
        let (first, rest) = path.split_once("::").map_or((path, None), |(first, rest)| (first, Some(rest)));
        let child = format!("{}::{first}", module.path);
        let start = if module.is_folder && self.0.contains_key(&child) {
            child
        } else {
            let from = node.uses.get(first).filter(|from| from.contains("::") && *from != path)?;
            self.absolute(node, from)?
        };
        Some(rest.map_or(start.clone(), |rest| format!("{start}::{rest}")))
    }

    /// Returns the path of the module that defines what the absolute `path` names. Follows
    /// re-exports.
    fn definition(&self, path: &str) -> Option<String> {
        let segments: Vec<&str> = path.split("::").collect();
        let known = |length: usize| Some((length, self.0.get(&segments[..length].join("::"))?));
        let (length, node) = (1..=segments.len()).rev().find_map(known)?;
        let name = segments.get(length).filter(|_| node.module.is_folder);
        let exported = name.and_then(|name| self.absolute(node, node.uses.get(*name)?));
        match exported {
            Some(source) => self.definition(&[&[source.as_str()], &segments[length + 1..]].concat().join("::")),
            None => Some(node.module.path.clone()),
        }
    }

    fn arrows(&self) -> Arrows {
        let is_node = |module: &Module| !module.is_folder || !code_of_folder(module).is_empty();
        let nodes: BTreeMap<_, _> = self.0.iter().filter(|(_, node)| is_node(&node.module)).collect();
        let targets = |node: &Node| {
            let paths = paths(&without_visibilities(&node.module.code));
            let absolute = paths.iter().filter_map(|path| self.absolute(node, path));
            let targets = absolute.filter_map(|path| self.definition(&path));
            targets.filter(|target| *target != node.module.path && nodes.contains_key(target)).collect()
        };
        nodes.iter().map(|(path, node)| ((*path).clone(), targets(node))).collect()
    }
}

/// Removes `pub(in a::b)`, which imports nothing.
fn without_visibilities(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |code, part| code + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// The statements of a `mod.rs` beside `mod` and `pub use`.
fn code_of_folder(module: &Module) -> Vec<String> {
    let without_attribute = |text: &str| match text.trim().strip_prefix("#[") {
        Some(rest) => rest.split_once(']').map_or("", |(_, rest)| rest).trim().to_owned(),
        None => text.trim().to_owned(),
    };
    let is_declaration = |text: &str| {
        let visible = text.strip_prefix("pub(").and_then(|rest| rest.split_once(')')).map(|(_, rest)| rest);
        let item = visible.or(text.strip_prefix("pub")).unwrap_or(text).trim_start();
        (item.starts_with("mod ") && !item.contains('{')) || (item.starts_with("use ") && item != text)
    };
    let statements = module.code.split(';').map(without_attribute).filter(|text| !text.is_empty());
    statements.filter(|text| !is_declaration(text)).collect()
}

/// Returns the nodes that an arrow, or a chain of arrows, leads to from `start`.
fn reached<'a>(arrows: &'a Arrows, start: &'a String) -> BTreeSet<&'a String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(node) = next.pop() {
        next.extend(arrows.get(node).into_iter().flatten().filter(|target| reached.insert(*target)));
    }
    reached
}

/// Returns the groups of nodes that reach each other.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let from: BTreeMap<_, _> = arrows.keys().map(|node| (node, reached(arrows, node))).collect();
    let mut groups = BTreeSet::new();
    for (node, reaches) in &from {
        let returns = |other: &&&String| from.get(*other).is_some_and(|back| back.contains(*node));
        let group: Vec<String> = reaches.iter().filter(returns).map(|other| (*other).clone()).collect();
        if !group.is_empty() {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// Returns the arrows between two of `group`, one a line.
fn shown(group: &[String], arrows: &Arrows) -> String {
    let inner = |from: &String| {
        let targets = arrows.get(from).into_iter().flatten().filter(|target| group.contains(target));
        targets.map(|target| format!("  {from} -> {target}")).collect::<Vec<_>>()
    };
    group.iter().flat_map(inner).collect::<Vec<_>>().join("\n")
}

#[test]
fn files_have_no_import_circles() {
    let arrows = Tree::new(modules()).arrows();
    assert!(arrows.values().map(BTreeSet::len).sum::<usize>() > 500, "the imports were not found");
    let found: Vec<_> = circles(&arrows).iter().map(|group| shown(group, &arrows)).collect();
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n\n"));
}

#[test]
fn a_folder_declares_and_re_exports_and_holds_no_code() {
    let may_hold: Vec<&str> = CODE_IN_FOLDERS.iter().map(|(folder, _)| *folder).collect();
    let modules = modules();
    let folders: Vec<&Module> = modules.iter().filter(|module| module.is_folder).collect();
    assert!(folders.len() > 30, "the folders were not found");
    for folder in &folders {
        let code = code_of_folder(folder);
        let allowed = code.is_empty() || may_hold.contains(&folder.path.as_str());
        assert!(allowed, "{}/mod.rs holds code: {}", folder.path.replace("::", "/"), code[0]);
    }
    for name in may_hold {
        let folder = folders.iter().find(|folder| folder.path == name);
        let holds_code = folder.is_some_and(|folder| !code_of_folder(folder).is_empty());
        assert!(holds_code, "{name}/mod.rs holds no code any more: remove it from the list");
    }
}

#[test]
fn the_core_imports_no_higher_rank() {
    check_ranks("cache", &CORE_RANKS);
}

#[test]
fn the_redis_tier_imports_no_higher_rank() {
    check_ranks("backend::redis", &REDIS_RANKS);
}

/// Checks the imports inside `root`: no file imports a higher rank, and rooms of one rank import
/// each other in one direction.
fn check_ranks(root: &str, ranks: &[&[&str]]) {
    let rooms: BTreeMap<String, usize> = ranks
        .iter()
        .enumerate()
        .flat_map(|(rank, rooms)| rooms.iter().map(move |room| (format!("{root}::{room}"), rank)))
        .collect();
    let room_of = |file: &str| {
        let found = rooms.iter().filter(|(room, _)| inside(file, room)).max_by_key(|(room, _)| room.len());
        found.unwrap_or_else(|| panic!("{file} has no rank"))
    };
    let (mut between, mut used) = (Arrows::new(), BTreeSet::new());
    for (file, targets) in Tree::new(modules()).arrows() {
        if !inside(&file, root) || file == root {
            continue;
        }
        let (room, rank) = room_of(&file);
        used.insert(room);
        for target in targets.iter().filter(|target| inside(target, root) && *target != root) {
            let (other, higher) = room_of(target);
            assert!(higher <= rank, "{file} imports {target}, of a higher rank");
            if other != room {
                between.entry(room.clone()).or_default().insert(other.clone());
            }
        }
    }
    let found: Vec<_> = circles(&between).iter().map(|group| shown(group, &between)).collect();
    assert!(found.is_empty(), "folders import each other:\n{}", found.join("\n"));
    let unused: Vec<_> = rooms.keys().filter(|room| !used.contains(room)).collect();
    assert!(unused.is_empty(), "{unused:?} are in the table only");
}

fn tree(files: &[(&str, bool, &str)]) -> Tree {
    let module = |(path, is_folder, code): &(&str, bool, &str)| Module {
        path: (*path).to_owned(),
        is_folder: *is_folder,
        code: (*code).to_owned(),
    };
    Tree::new(files.iter().map(module).collect())
}

#[test]
fn a_circle_is_found_through_re_exports_parents_and_imported_modules() {
    let re_exported = [
        ("a", true, "mod one;\npub mod two;\npub use one::{One, Other as Renamed};"),
        ("a::one", false, "use super::two::{self, Two};\nfn f(two: two::Two) {}"),
        ("a::two", false, "fn f(one: crate::a::Renamed) {}"),
    ];
    assert_eq!(circles(&tree(&re_exported).arrows()), [["a::one", "a::two"]]);
    let parent = [("a", true, "mod one;\nuse one::One;\nstruct Two;"), ("a::one", false, "use super::Two;")];
    assert_eq!(circles(&tree(&parent).arrows()), [["a", "a::one"]]);
    let imported = [
        ("a", true, "pub mod one;\npub mod two;"),
        ("a::one", false, "use crate::a;\nfn f() {\n    a::two::f();\n}"),
        ("a::two", false, "use super::one as first;\nfn f() {\n    first::f();\n}"),
    ];
    assert_eq!(circles(&tree(&imported).arrows()), [["a::one", "a::two"]]);
    let chain = [
        ("a", true, "mod one;\nmod two;\npub use one::One;"),
        ("a::one", false, ""),
        ("a::two", false, "use super::One;"),
    ];
    assert!(circles(&tree(&chain).arrows()).is_empty());
}

#[test]
fn code_in_a_folder_is_found() {
    let code = |code: &str| code_of_folder(&tree(&[("a", true, code)]).0["a"].module).len();
    assert_eq!(code("mod a;\npub(super) mod b;\n#[cfg(test)]\nmod c;\npub use a::{A, B};\npub(crate) use b::C;\n"), 0);
    assert_eq!(code("mod a;\nuse a::A;\n"), 1);
    assert_eq!(code("pub mod a;\npub fn start() {}\n"), 1);
    assert_eq!(code("mod a {\n    fn b() {}\n}\n"), 1);
}
