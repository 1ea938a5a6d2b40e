//! docs/metrics.md agrees with the program: it is generated from `metrics::reference()`.
//!
//! `UPDATE=1 cargo test` writes it. A test in tests/api compares the reference with a scrape.

use std::fmt::Write as _;

use twintier::telemetry::metrics::{MetricDescription, reference};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

const HEAD: &str = include_str!("metrics_page.md");

#[test]
fn the_page_matches_the_metrics_of_the_program() {
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of date: UPDATE=1 cargo test --test user metrics_page");
}

/// The tables contain every metric of an example.
#[test]
fn the_examples_use_existing_metrics() {
    let known: Vec<_> = reference().into_iter().map(|metric| metric.name).collect();
    let word = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    let named: Vec<_> =
        HEAD.split(word).filter(|word| word.starts_with("twintier_") || word.starts_with("rpc_server_")).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(known.iter().any(|known| known == family), "{name}");
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut topic = "";
    for metric in &reference() {
        if metric.topic != topic {
            topic = metric.topic;
            let _ = write!(page, "\n### {topic}\n\n| metric | kind | labels | what it is |\n|---|---|---|---|\n");
        }
        let _ = writeln!(page, "{}", row(metric));
    }
    page
}

fn row(metric: &MetricDescription) -> String {
    let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {} | {} | {}. |", metric.name, metric.kind, labels.join(", "), metric.description)
}
