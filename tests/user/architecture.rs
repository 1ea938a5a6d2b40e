//! docs/architecture.md agrees with the source: folders, functions, files, glossary.

use std::collections::BTreeSet;
use std::path::Path;

use crate::doc_page::{DocPage, tree};
use crate::readme::ROOT;

fn page() -> DocPage {
    DocPage::read(Path::new("docs/architecture.md"))
}

/// Cells of each row of the table in a section, without backquotes.
fn rows(page: &DocPage, section: &str) -> Vec<Vec<String>> {
    let rows = page.section(section).lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

/// Every folder below src/ that has a file, at any depth.
fn folders() -> BTreeSet<String> {
    let files = tree();
    let sources = files.iter().filter(|file| file.starts_with("src"));
    let above = sources.flat_map(|file| file.ancestors().skip(1));
    let folders = above.map(|folder| folder.display().to_string());
    folders.filter(|folder| folder.starts_with("src/")).collect()
}

#[test]
fn the_table_of_folders_names_exactly_the_folders_of_src() {
    let named: Vec<_> = rows(&page(), "The folders of src").into_iter().map(|row| row[0].clone()).collect();
    let (there, listed) = (folders(), named.iter().cloned().collect::<BTreeSet<_>>());
    assert!(there.len() > 20 && there.contains("src/cache/coherence"), "{there:?}");
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in the table: {missing:?}\nnot in src: {gone:?}");
    assert_eq!(named.len(), listed.len(), "a folder occurs twice");
}

/// True if the file defines a function of this name. `Type::name` means a method.
fn defines(file: &str, function: &str) -> bool {
    let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
    let name = function.rsplit("::").next().unwrap();
    let of_type = function.rsplit_once("::").is_none_or(|(owner, _)| text.contains(owner));
    of_type && [format!("fn {name}("), format!("fn {name}<")].iter().any(|start| text.contains(start))
}

#[test]
fn every_function_of_the_table_exists_in_its_file() {
    let rows = rows(&page(), "Where is it decided?");
    assert!(rows.len() >= 10, "{rows:?}");
    for row in &rows {
        assert!(row[0].ends_with('?') && defines(&row[2], &row[1]), "{row:?}");
    }
    assert!(rows.iter().any(|row| row[1] == "Coherence::freshness"), "what decides whether an entry in L1 is fresh");
    assert!(!defines("src/cache/tiered/cache.rs", "Tiered::got") && !defines("src/nowhere.rs", "get"));
    assert!(!defines("src/grpc/status.rs", "Tiered::status"));
}

#[test]
fn the_glossary_is_in_order_and_explains_each_word_once() {
    let words: Vec<_> = rows(&page(), "Glossary").into_iter().map(|row| row[0].to_lowercase()).collect();
    assert!(words.len() >= 40, "{} words", words.len());
    assert!(words.is_sorted(), "{words:?}");
    for word in ["entry", "fence", "echo", "stripe", "watermark", "epoch", "sequence", "token", "lease", "safeguard"] {
        assert!(words.iter().any(|known| known == word), "{word}");
    }
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
}

#[test]
fn every_path_in_the_diagram_exists() {
    let page = page();
    let (_, picture) = page.blocks.iter().find(|(language, _)| language == "mermaid").unwrap();
    let words = picture.iter().flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || "._/-".contains(c))));
    let paths: Vec<_> = words.filter(|word| word.starts_with("src/")).collect();
    assert!(paths.len() >= 6, "{paths:?}");
    let missing: Vec<_> = paths.into_iter().filter(|path| !Path::new(ROOT).join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
