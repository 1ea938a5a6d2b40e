//! Language and size of the sources: openings and words of comments, names, and lengths.
#![allow(clippy::unwrap_used)]

#[path = "prose/idioms.rs"]
mod idioms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use idioms::IDIOMS;

/// Words that no doc comment begins with: the subject or the verb comes first.
const OPENINGS: [&str; 9] = ["What", "Who", "Whoever", "Whatever", "Whether", "Not", "Nothing", "Of", "By"];

/// Type names that two modules may define: the command `set` of two subjects.
const SHARED_NAMES: [&str; 1] = ["SetArgs"];

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
    let files: Vec<_> = paths.iter().map(|path| file(path.strip_prefix(root).unwrap().to_str().unwrap())).collect();
    assert!(!files.is_empty(), "the sources were not found");
    files
}

/// Reads a file by its path in the repository.
fn file(path: &str) -> File {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    File { path: path.to_owned(), text }
}

fn collect(folder: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extensions, paths);
        } else if extensions.contains(&path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()) {
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

/// Returns the mark that begins a comment in a file of this path.
fn comment_mark(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("lua") => "--",
        Some("rs" | "proto" | "js" | "mjs" | "go") => "//",
        _ => "#",
    }
}

/// Returns the comments and docstrings of a file, with the numbers of their lines.
fn comments<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let (mark, mut inside) = (comment_mark(path), false);
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let (starts, ends) = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("py") => (line.starts_with("\"\"\""), line.matches("\"\"\"").count() % 2 == 1),
            Some("tpl" | "yaml") => (line.starts_with("{{") && line.contains("/*"), line.contains("*/")),
            _ => (false, false),
        };
        if line.starts_with(mark) || starts || inside {
            found.push((number + 1, line));
        }
        let is_over = path.ends_with(".py") && inside == ends || !path.ends_with(".py") && ends;
        inside = (starts || inside) && !is_over;
    }
    found
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
    let mut found = Vec::new();
    for file in files(&["src", "tests", "benches"], &["rs"]).iter() {
        let wrong = openings(&file.text).into_iter().filter(|(_, comment)| is_opening(comment));
        found.extend(wrong.map(|(number, comment)| format!("{}:{number}: {comment}", file.path)));
    }
    assert!(found.is_empty(), "{} doc comments\n{}", found.len(), found.join("\n"));
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
    let code = files(&["src", "proto", "tests", "benches"], &["rs", "lua", "proto", "js", "mjs", "py", "yaml"]);
    let packaging = files(&["helm", "compose", ".ci"], &["yaml", "tpl", "go", ""]);
    let single = ["Makefile", "Dockerfile", "compose.yaml", ".dockerignore", ".ci/deny.toml"].map(file);
    for file in code.into_iter().chain(packaging).chain(single) {
        for (number, comment) in comments(&file.path, &file.text) {
            let lower = comment.to_lowercase();
            let idioms = IDIOMS.iter().filter(|idiom| has_phrase(&lower, idiom));
            found.extend(idioms.map(|idiom| format!("{}:{number}: {idiom}: {comment}", file.path)));
        }
    }
    assert!(found.is_empty(), "{} comments\n{}", found.len(), found.join("\n"));
}

#[test]
fn comments_of_every_language_are_found() {
    let found = |path, text| comments(path, text).into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(found("a.rs", "// a\nlet b = 1;\n    /// c"), [1, 3]);
    assert_eq!(found("a.py", "\"\"\"a\nb\n\"\"\"\nc = 1\n# d\ndef e():\n    \"\"\"f\"\"\"\n    g()"), [1, 2, 3, 5, 7]);
    assert_eq!(found("a.tpl", "{{/* a */}}\n{{ b }}\n{{/*\nc\n*/}}\nd"), [1, 3, 4, 5]);
    assert_eq!(found("Makefile", "# a\nb: c ## d"), [1]);
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
    let long = [long_files, long_functions, long_lists].concat();
    assert!(long.is_empty(), "more than 350 lines, 60 lines or 5 arguments:\n{}", long.join("\n"));
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

/// Returns the contents of the string literals of Rust code, each with the number of its line.
fn strings(code: &str) -> Vec<(usize, String)> {
    let (mut found, mut line) = (Vec::new(), 1);
    let mut rest = code.chars().peekable();
    let mut before = ' ';
    while let Some(character) = rest.next() {
        match character {
            '\n' => line += 1,
            '/' if before == '/' => while rest.next_if(|c| *c != '\n').is_some() {},
            // The character `"` begins no string.
            '"' if before == '\'' || before == '\\' => {}
            '"' => {
                let (at, is_raw) = (line, before == 'r');
                let mut text = String::new();
                while let Some(inner) = rest.next().filter(|inner| *inner != '"') {
                    text.push(inner);
                    if inner == '\\' && !is_raw {
                        text.extend(rest.next());
                    }
                }
                line += text.matches('\n').count();
                found.push((at, text));
            }
            _ => {}
        }
        before = character;
    }
    found
}

#[test]
fn strings_are_found_over_several_lines_and_not_in_comments() {
    let code = "f(\"a\\\"b // c\"); // \"d\"\nlet e = '\"';\ng(\"h\\\n  i\", r\"\\\");\nk(\"l\")";
    let found = strings(code);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["a\\\"b // c", "h\\\n  i", "\\", "l"]);
}

/// Returns the paths of all settings, from the generated reference.
fn settings() -> Vec<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    // In the path of a setting of one namespace its name stands for itself.
    let paths: Vec<String> = rows.map(|(path, _)| path.to_owned()).filter(|path| !path.contains('<')).collect();
    assert!(paths.len() > 80, "the settings were not found");
    paths
}

#[test]
fn the_core_names_neither_redis_nor_a_setting() {
    let (settings, mut found, mut seen) = (settings(), Vec::new(), 0);
    for file in files(&["src/cache"], &["rs"]).iter().filter(|file| !file.is_test()) {
        let code = file.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, text) in strings(code) {
            seen += 1;
            let lower = text.to_lowercase();
            if lower.contains("redis") || settings.iter().any(|setting| has_phrase(&lower, setting)) {
                found.push(format!("{}:{number}: {text}", file.path));
            }
        }
    }
    assert!(seen > 200, "the strings were not found");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
