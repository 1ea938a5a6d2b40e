//! docs/configuration.md agrees with the program: it is generated from `config::reference()`.
//!
//! `UPDATE=1 cargo test` writes it.

use std::fmt::Write as _;

use twintier::config::{self, Setting};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

const HEAD: &str = "\
# Configuration

Every setting, as the program knows it. This page is generated: `UPDATE=1 cargo test --test user configuration_page` writes it.

A setting has a path. It is taken from the first of these that gives it:

1. the command line: `--set l1.size=1GiB` for any path; `--listen` and `--redis-url` for two of them;
2. the environment: the variable named below, `l1.size` is `TWINTIER_L1_SIZE`; a variable that is empty counts as not set;
3. the file that `--config` or `TWINTIER_CONFIG` names, TOML or YAML by its extension, with a table per section;
4. the default.

Durations and sizes have a unit: `250ms`, `2s`, `5m`, `30d`; `64KiB`, `256MiB`, `1GiB`. An unknown key or `TWINTIER_` variable is an
error, as is a value outside its range; all errors are reported at once. `twintier config check` looks for them without serving,
`twintier config show` prints what is in force and where it came from, without secrets. Changes take effect at the next start.
";

#[test]
fn the_page_matches_the_settings_of_the_program() {
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is out of date: UPDATE=1 cargo test --test user configuration_page"
    );
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    let settings = config::reference();
    for setting in &settings {
        let (first, _) = setting.path.split_once('.').unwrap();
        if first != section {
            section = first;
            let _ = write!(page, "\n## {section}\n\n| setting | default | values | what it is |\n|---|---|---|---|\n");
        }
        let _ = writeln!(page, "{}", row(setting));
    }
    page
}

fn row(setting: &Setting) -> String {
    let default = setting.default.as_deref().map_or("none".to_owned(), |default| match default.strip_prefix("as ") {
        Some(path) => format!("that of `{path}`"),
        None => format!("`{default}`"),
    });
    let customary = setting.variables.get(1..).unwrap_or_default();
    let customary: Vec<_> = customary.iter().map(|name| format!("`{name}`")).collect();
    let also = if customary.is_empty() { String::new() } else { format!(" Also set by {}.", customary.join(", ")) };
    let [path, expects, doc] = [&setting.path, &setting.expects, setting.doc].map(|text| text.replace('|', "\\|"));
    format!("| `{path}` | {default} | {expects} | {}.{also} |", capital(&doc))
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().collect::<String>() + rest.as_str()).unwrap_or_default()
}
