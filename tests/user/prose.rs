//! Language of README.md, CONTRIBUTING.md and docs/: no idioms, and a first paragraph for each
//! page.

use crate::doc_page::{DocPage, doc_pages};
use crate::idioms::IDIOMS;

/// Running text without fenced blocks and code spans, in lower case, with single spaces.
fn prose(page: &DocPage) -> String {
    let mut fenced = false;
    let lines = page.text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    // A code span stays within its paragraph or row.
    let text = lines.map(|line| if line.starts_with('|') { format!("\n\n{line}") } else { line.to_owned() });
    let text = text.collect::<Vec<_>>().join("\n");
    let paragraphs = text.split("\n\n").map(|part| part.split('`').step_by(2).collect::<Vec<_>>().join(" "));
    let text = paragraphs.collect::<Vec<_>>().join(" ").to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn idioms(page: &DocPage) -> Vec<String> {
    let text = prose(page);
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let text = format!(" {} ", words.collect::<Vec<_>>().join(" "));
    let found = IDIOMS.iter().filter(|idiom| text.contains(&format!(" {idiom} ")));
    found.map(|idiom| format!("{}: {idiom}", page.path.display())).collect()
}

#[test]
fn no_page_uses_an_idiom() {
    // CONTRIBUTING.md quotes some of the idioms. The other two pages are generated from src.
    let apart = ["CONTRIBUTING.md", "configuration.md", "metrics.md"];
    let pages = doc_pages().into_iter().filter(|page| !apart.iter().any(|name| page.path.ends_with(name)));
    let found: Vec<_> = pages.flat_map(|page| idioms(&page)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn idioms_are_found_in_running_text_only() {
    let text = "# A\n\nWhoever is\ntold.\n\n```text\nnobody\n```\n\n| `somebody` | for good |\n";
    let path = std::path::Path::new("a.md");
    let found = idioms(&DocPage::of(path, text.to_owned()));
    assert_eq!(found, ["a.md: for good", "a.md: is told", "a.md: whoever"]);
}

#[test]
fn each_page_begins_with_its_purpose() {
    for page in doc_pages() {
        let mut lines = page.text.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{:?} has no title", page.path);
        let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
        assert!(first.starts_with(|c: char| c.is_alphabetic()), "{:?} begins with {first:?}", page.path);
    }
}
