//! `DocPage`: code spans, blocks, links and headings of the README, CONTRIBUTING.md and docs/.

use std::path::{Path, PathBuf};

use crate::readme::ROOT;

/// A page of the documentation.
pub struct DocPage {
    /// Path in the repository.
    pub path: PathBuf,
    pub text: String,
    /// Text between backquotes in running text, without line breaks.
    pub spans: Vec<String>,
    /// Language and lines of each fenced block.
    pub blocks: Vec<(String, Vec<String>)>,
    /// Targets of links, as written.
    pub links: Vec<String>,
    pub headings: Vec<String>,
}

/// The README, CONTRIBUTING.md and every page of docs/.
pub fn doc_pages() -> Vec<DocPage> {
    let pages = std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
    let pages = pages.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let mut paths: Vec<_> = pages.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.sort();
    paths.splice(0..0, ["README.md".into(), "CONTRIBUTING.md".into()]);
    paths.iter().map(|path| DocPage::read(path)).collect()
}

/// The pages that name settings and the contract. Those for users of other caches name constructs of these.
pub fn own_pages() -> Vec<DocPage> {
    let is_own = |page: &DocPage| !page.path.to_str().unwrap().starts_with("docs/coming-from-");
    doc_pages().into_iter().filter(is_own).collect()
}

/// Every file of the repository, from its root.
pub fn tree() -> Vec<PathBuf> {
    fn visit(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if !entry.file_type().unwrap().is_dir() {
                files.push(path);
            } else if !["target", ".git", "node_modules"].iter().any(|skipped| entry.file_name() == *skipped) {
                visit(&path, files);
            }
        }
    }
    let mut files = Vec::new();
    visit(Path::new(""), &mut files);
    files
}

impl DocPage {
    pub fn read(path: &Path) -> DocPage {
        let text = std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
        DocPage::of(path, text)
    }

    pub fn of(path: &Path, text: String) -> DocPage {
        let (mut blocks, mut prose, mut headings) = (Vec::new(), String::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let block = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
                blocks.push((language.to_owned(), block));
                continue;
            }
            if line.starts_with('#') {
                headings.push(line.trim_start_matches('#').trim().to_owned());
            }
            prose += line;
            prose.push('\n');
        }
        let span = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
        // Parses one paragraph or row at a time, so that an unpaired backquote affects only that
        // part.
        let paragraphs = prose
            .split("\n\n")
            .flat_map(|part| if part.starts_with('|') { part.lines().collect() } else { vec![part] });
        let spans = paragraphs.flat_map(|part| part.split('`').skip(1).step_by(2)).map(span).collect();
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let links = links.map(|(link, _)| link.to_owned()).collect();
        DocPage { path: path.to_owned(), spans, blocks, links, headings, text }
    }

    /// Text of all spans, and all lines of blocks.
    pub fn code(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().chain(self.blocks.iter().flat_map(|(_, lines)| lines)).map(String::as_str)
    }

    /// True if a heading has this anchor.
    pub fn has_section(&self, anchor: &str) -> bool {
        self.headings.iter().any(|heading| slug(heading) == anchor)
    }

    /// Text from this heading to the next.
    pub fn section(&self, heading: &str) -> &str {
        let begin = format!("\n## {heading}\n");
        let (_, rest) = self.text.split_once(&begin).unwrap_or_else(|| panic!("{:?} has no {heading}", self.path));
        rest.split("\n## ").next().unwrap()
    }
}

/// Anchor that GitHub derives from a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// Words of a text that start with `begin` and continue with letters of `rest`.
pub fn words<'a>(text: &'a str, begin: &'a str, rest: impl Fn(char) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    text.match_indices(begin).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let length = text[at + begin.len()..].find(|c: char| !rest(c)).unwrap_or(text.len() - at - begin.len());
        let apart = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        (apart && length > 0).then(|| &text[at..at + begin.len() + length])
    })
}

#[test]
fn a_page_is_parsed() {
    let text =
        "# A page\n\nSee `l1.size` and\n`two\nlines` [here](b.md#c).\n\n```sh\nls `x`\n```\n\n## It's a-b (c)\ntext\n";
    let page = DocPage::of(Path::new("a.md"), text.to_owned());
    assert_eq!(page.spans, ["l1.size", "two lines"]);
    assert_eq!(page.blocks, [("sh".to_owned(), vec!["ls `x`".to_owned()])]);
    assert_eq!(page.links, ["b.md#c"]);
    assert!(page.has_section("its-a-b-c") && page.has_section("a-page") && !page.has_section("b"));
    assert_eq!(page.section("It's a-b (c)"), "text\n");
    let found: Vec<_> = words("a TT_X, TT_ (TT_YZ) xTT_Q", "TT_", |c| c.is_ascii_uppercase()).collect();
    assert_eq!(found, ["TT_X", "TT_YZ"]);
}
