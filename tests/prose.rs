//! The language of the sources: how doc comments begin, which words they use, and how long things are.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Words that no doc comment begins with: the subject or the verb comes first.
const OPENINGS: [&str; 8] = ["What", "Who", "Whoever", "Whatever", "Not", "Nothing", "Of", "By"];

/// Phrases that have to be translated before they can be understood.
const IDIOMS: [&str; 14] = [
    "; none:",
    "whoever",
    "who waits",
    "is told of",
    "are told of",
    "sees to",
    "seen to",
    "for good",
    "for ever",
    "has it that",
    "papers",
    "at work",
    "who wants",
    "who asks",
];

/// Type names that two modules may define: the command `set` of two subjects, and a section of settings beside the part that it configures.
const SHARED_NAMES: [&str; 9] =
    ["SetArgs", "Address", "Admin", "Coherence", "Eviction", "Failover", "L1", "Server", "WarmStart"];

struct File {
    path: String,
    text: String,
}

impl File {
    /// Returns the lines without the tests at the end of the file.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        code.lines().enumerate().map(|(number, line)| (number + 1, line))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.ends_with("testing.rs") || !self.path.starts_with("src/")
    }
}

fn files(folders: &[&str], extensions: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&root.join(folder), extensions, &mut paths));
    paths.sort();
    let read = |path: PathBuf| File {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root).unwrap().display().to_string(),
    };
    let files: Vec<_> = paths.into_iter().map(read).collect();
    assert!(!files.is_empty(), "the sources were not found");
    files
}

fn collect(folder: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extensions, paths);
        } else if extensions.iter().any(|extension| path.extension().is_some_and(|found| found == *extension)) {
            paths.push(path);
        }
    }
}

/// Returns the first line of each doc comment, with its number.
fn openings(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        for mark in ["/// ", "//! "] {
            if line.starts_with(mark) && !before.starts_with(mark.trim_end()) {
                found.push((number + 1, &line[mark.len()..]));
            }
        }
        before = line;
    }
    found
}

fn is_opening(comment: &str) -> bool {
    OPENINGS.iter().any(|word| {
        comment.strip_prefix(word).is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric() && c != '_'))
    })
}

/// Returns the comment of a line of Rust, Lua or Protobuf.
fn comment<'a>(path: &str, line: &'a str) -> Option<&'a str> {
    let mark = if path.ends_with(".lua") { "--" } else { "//" };
    let line = line.trim_start();
    line.starts_with(mark).then_some(line)
}

/// Returns true if `text` has the phrase between ends of words.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + phrase.len()..].chars().next());
        let goes_on = phrase.ends_with(char::is_alphanumeric) && is_word(after);
        !is_word(before) && !goes_on
    })
}

#[test]
fn doc_comments_begin_with_a_subject_or_a_verb() {
    for (folders, most) in [(&["src"][..], 0), (&["tests", "benches"][..], INVERTED_IN_TESTS)] {
        let mut found = Vec::new();
        for file in files(folders, &["rs"]) {
            let wrong = openings(&file.text).into_iter().filter(|(_, comment)| is_opening(comment));
            found.extend(wrong.map(|(number, comment)| format!("{}:{number}: {comment}", file.path)));
        }
        assert!(found.len() <= most, "{} doc comments, more than {most}\n{}", found.len(), found.join("\n"));
    }
}

#[test]
fn an_inverted_opening_is_found() {
    let text = "/// What is left.\nfn a() {}\n/// Whatsoever.\n/// Not this.\n    /// By nobody.\nfn b() {}";
    let found: Vec<_> = openings(text).into_iter().filter(|(_, comment)| is_opening(comment)).collect();
    assert_eq!(found, [(1, "What is left.")]);
    assert!(is_opening("Of a kind.") && !is_opening("Offers it.") && !is_opening("Notes it."));
}

#[test]
fn comments_use_no_idiom() {
    let mut found = Vec::new();
    for file in files(&["src", "proto"], &["rs", "lua", "proto"]) {
        for (number, line) in file.text.lines().enumerate() {
            let Some(comment) = comment(&file.path, line) else { continue };
            let lower = comment.to_lowercase();
            let idioms = IDIOMS.iter().filter(|idiom| has_phrase(&lower, idiom));
            found.extend(idioms.map(|idiom| format!("{}:{}: {idiom}: {}", file.path, number + 1, line.trim())));
        }
    }
    assert!(found.is_empty(), "{} comments\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_file_says_in_its_first_line_what_it_holds() {
    let mut found = Vec::new();
    for file in files(&["src"], &["rs"]).iter().filter(|file| !file.is_test()) {
        let first = file.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first.chars().count() > 150 {
            found.push(format!("{}: {first}", file.path));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_type_name_is_defined_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files(&["src"], &["rs"]).iter().filter(|file| !file.is_test()) {
        for (_, line) in file.lines() {
            let words = line.strip_prefix("pub").map_or(line, |rest| {
                rest.strip_prefix('(')
                    .and_then(|rest| rest.split_once(") "))
                    .map_or(rest.trim_start(), |(_, rest)| rest)
            });
            let Some((kind, rest)) = words.split_once(' ') else { continue };
            if ["struct", "enum", "trait", "union"].contains(&kind) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                places.entry(name).or_default().push(file.path.clone());
            }
        }
    }
    assert!(places.len() > 300, "the types were not found");
    places.retain(|name, places| places.len() > 1 && !SHARED_NAMES.contains(&name.as_str()));
    assert!(places.is_empty(), "{places:#?}");
}

/// The most that the sources have today: a change may lower these numbers, never raise them.
const INVERTED_IN_TESTS: usize = 51;
const LONG_FILES: usize = 14;
const LONG_FUNCTIONS: usize = 6;
const LONG_LISTS: usize = 4;

#[test]
fn files_functions_and_lists_of_arguments_are_short() {
    let (mut long_files, mut long_functions, mut long_lists) = (Vec::new(), Vec::new(), Vec::new());
    for file in files(&["src"], &["rs"]).iter().filter(|file| !file.is_test()) {
        let lines: Vec<_> = file.lines().map(|(_, line)| line).collect();
        if lines.len() > 350 {
            long_files.push(format!("{}: {} lines", file.path, lines.len()));
        }
        for function in functions(&lines) {
            let place = format!("{}:{}", file.path, function.line);
            if function.lines > 60 {
                long_functions.push(format!("{place}: {} lines", function.lines));
            }
            if function.arguments > 5 {
                long_lists.push(format!("{place}: {} arguments", function.arguments));
            }
        }
    }
    assert!(long_files.len() <= LONG_FILES, "{} files\n{}", long_files.len(), long_files.join("\n"));
    assert!(
        long_functions.len() <= LONG_FUNCTIONS,
        "{} functions\n{}",
        long_functions.len(),
        long_functions.join("\n")
    );
    assert!(long_lists.len() <= LONG_LISTS, "{} lists\n{}", long_lists.len(), long_lists.join("\n"));
}

struct Function {
    line: usize,
    lines: usize,
    /// Without `self`.
    arguments: usize,
}

/// Returns the functions with a body. rustfmt ends each with a brace at its own indentation.
fn functions(lines: &[&str]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let words: Vec<_> = code.split(' ').collect();
        let Some(name) = words.iter().position(|word| *word == "fn") else { continue };
        let modifiers = ["pub", "async", "const", "unsafe", "extern"];
        if !words[..name].iter().all(|word| modifiers.iter().any(|known| word.starts_with(known))) {
            continue;
        }
        let end = format!("{indent}}}");
        let Some(last) = lines[at..].iter().position(|line| *line == end) else { continue };
        let signature: String = lines[at..].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        found.push(Function { line: at + 1, lines: last + 1, arguments: arguments(&signature) });
    }
    found
}

fn arguments(signature: &str) -> usize {
    let named = signature.split_once("fn ").map_or("", |(_, rest)| rest);
    let list = named.find('(').map_or("", |start| &named[start + 1..]);
    let (mut depth, mut names) = (0, vec![String::new()]);
    for character in list.chars() {
        match character {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ => {}
        }
        names.last_mut().unwrap().push(character);
    }
    names.iter().filter(|name| name.contains(':') && !name.contains("self:")).count()
}

#[test]
fn a_function_is_measured_by_its_braces() {
    let code = "pub(crate) async fn a(&self, b: Map<u8, u8>, c: (u8, u8)) -> u8 {\n    1\n}\n    fn d(\n        e: u8,\n    ) {\n    }";
    let found = functions(&code.lines().collect::<Vec<_>>());
    let measured: Vec<_> = found.iter().map(|found| (found.line, found.lines, found.arguments)).collect();
    assert_eq!(measured, [(1, 3, 2), (4, 4, 1)]);
}

#[test]
fn the_core_names_neither_redis_nor_a_setting() {
    let mut found = Vec::new();
    for file in files(&["src/cache"], &["rs"]).iter().filter(|file| !file.is_test()) {
        for (number, line) in file.lines() {
            let code = line.split("//").next().unwrap();
            let strings = code.split('"').skip(1).step_by(2);
            let wrong = strings.filter(|text| text.to_lowercase().contains("redis"));
            found.extend(wrong.map(|text| format!("{}:{number}: {text}", file.path)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
