//! docs/limits.md has the defaults of the program.

use std::path::Path;

use twintier::config;

use crate::doc_page::DocPage;

/// Default of a setting in a normalized form.
fn normalized(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != ',').collect()
}

#[test]
fn the_page_of_limits_has_the_defaults_of_the_program() {
    let page = DocPage::read(Path::new("docs/limits.md"));
    let settings = config::reference();
    let default = |path: &str| settings.iter().find(|setting| setting.path == path)?.default.clone();
    // A limit that follows another one has no default.
    let has_default = |line: &&str| line.starts_with("| ") && line.contains("| `");
    let rows = page.text.lines().filter(has_default);
    let mut checked = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let path = cells[2].split('`').nth(1).unwrap();
        let default = default(path).unwrap_or_else(|| panic!("{path} has no default"));
        // The page writes "256 bytes" for the program's "256B".
        let default = normalized(&default.replace("B", "bytes").replace("Kibytes", "KiB").replace("Mibytes", "MiB"));
        assert!(normalized(cells[1]).contains(&default), "{row}: the default is {default}");
        checked += 1;
    }
    assert!(checked >= 20, "{checked} limits");
}
