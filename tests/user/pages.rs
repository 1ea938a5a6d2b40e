//! Runs the blocks of the topic pages in docs/, without and with Redis.
//!
//! The ```sh blocks of a page run in order, in one shell, against a service whose configuration is
//! the page's ```yaml block. Their output contains the lines of the following ```text block, in
//! that order; `…` matches anything.

use std::path::Path;

use crate::doc_page::DocPage;
use crate::process::{Redis, Serving, required_program};
use crate::readme::{ROOT, paste};

/// Pages whose blocks other tests run: blocks of callers.md and tokens.md need this directory or
/// start their own servers, and import-export.md reads a plain Redis.
const RUN_ELSEWHERE: [&str; 6] =
    ["callers.md", "configuration.md", "consistency.md", "import-export.md", "redis.md", "tokens.md"];

/// A page, split into its blocks.
#[derive(Default)]
struct Page {
    name: String,
    configuration: String,
    /// Each script and its expected output.
    steps: Vec<(String, Vec<String>)>,
}

impl Page {
    fn read(path: &Path) -> Page {
        let mut page = Page { name: path.file_name().unwrap().to_string_lossy().into_owned(), ..Page::default() };
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(language) = line.strip_prefix("```") else { continue };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match (language, page.steps.last_mut()) {
                ("sh", _) => page.steps.push((block.join("\n"), Vec::new())),
                ("yaml", _) => page.configuration += &(block.join("\n") + "\n"),
                ("text", Some((_, printed))) => printed.extend(block.iter().map(|line| line.trim().to_owned())),
                _ => {}
            }
        }
        page
    }

    fn run(&self, service: &Serving) {
        let grpcurl = required_program("grpcurl", "TEST_GRPCURL");
        let program = Path::new(env!("CARGO_BIN_EXE_twintier")).parent().unwrap();
        let steps = self.steps.iter().map(|(script, _)| format!("{script}\necho '{MARK}'\n"));
        let script = format!("set -e\ncd \"$(mktemp -d)\"\ntrap 'rm -r \"$PWD\"' EXIT\n{}", steps.collect::<String>());
        let script = script.replace("localhost:50051", &service.address);
        let ran = paste(&script, &[grpcurl.parent().unwrap(), program], &service.address);
        let outputs: Vec<&str> = ran.text().split(MARK).collect();
        for ((script, printed), output) in self.steps.iter().zip(&outputs) {
            self.check(script, printed, output);
        }
        assert_eq!(ran.code, Some(0), "{}: {} {}", self.name, ran.text(), ran.err);
    }

    fn check(&self, script: &str, printed: &[String], output: &str) {
        let mut rest = output;
        for part in printed.iter().flat_map(|line| line.split('…')).map(str::trim).filter(|part| !part.is_empty()) {
            let found = rest.split_once(part);
            rest = found.unwrap_or_else(|| panic!("{}: {script}\nprints no {part:?}, but\n{output}", self.name)).1;
        }
    }
}

const MARK: &str = "=== the next block ===";

fn pages() -> Vec<Page> {
    let mut paths: Vec<_> =
        std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let apart = |path: &&std::path::PathBuf| RUN_ELSEWHERE.iter().any(|name| path.ends_with(name));
    let is_page = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages = paths.iter().filter(|path| is_page(path) && !apart(path)).map(|path| Page::read(path));
    pages.filter(|page| !page.steps.is_empty()).collect()
}

fn configured(page: &Page, directory: &Path) -> String {
    let path = directory.join("twintier.yaml");
    std::fs::write(&path, &page.configuration).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn the_pages_work_without_redis() {
    for page in pages() {
        let directory = tempfile::tempdir().unwrap();
        let file = configured(&page, directory.path());
        page.run(&Serving::start(&["--config", &file]));
    }
}

#[test]
fn the_pages_work_with_redis() {
    for page in pages() {
        let (directory, redis) = (tempfile::tempdir().unwrap(), Redis::start());
        let file = configured(&page, directory.path());
        page.run(&Serving::with_redis(&redis, &["--config", &file]));
    }
}

/// Runs import-export.md with a Redis that this service does not use as the source of an import.
fn run_import_export(service: &Serving) {
    let plain = Redis::start();
    for (key, value) in [("user:ada", "Ada Lovelace"), ("user:grace", "Grace"), ("user:ö", "\u{1}é\n\"")] {
        plain.cli(&["SET", key, value, "EX", "600"]);
    }
    plain.cli(&["SADD", "user:set", "not a string"]);
    let mut page = Page::read(&Path::new(ROOT).join("docs/import-export.md"));
    assert!(page.steps.len() >= 4);
    for (script, _) in &mut page.steps {
        *script = script.replace("-h plain-redis", &format!("-s {}", plain.socket()));
    }
    page.run(service);
    let odd = service.client(&["get", "user:ö", "-n", "users"]).assert_exit(0);
    assert_eq!(odd.text(), "\u{1}é\n\"");
}

#[test]
fn the_page_of_imports_works_without_redis() {
    run_import_export(&Serving::start(&[]));
}

#[test]
fn the_page_of_imports_works_with_redis() {
    let redis = Redis::start();
    run_import_export(&Serving::with_redis(&redis, &[]));
}

#[test]
fn each_recipe_of_the_cookbook_is_run_and_its_output_checked() {
    let page = DocPage::read(Path::new("docs/cookbook.md"));
    let recipes: Vec<_> = page.headings.iter().skip(1).collect();
    assert!(recipes.len() >= 6, "{recipes:?}");
    for recipe in recipes {
        let section = page.section(recipe);
        let (scripts, outputs) = (section.matches("```sh\n").count(), section.matches("```text\n").count());
        assert!(scripts > 0 && scripts == outputs, "{recipe}: {scripts} scripts, {outputs} outputs");
    }
}
