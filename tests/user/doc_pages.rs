//! Names in the README and docs/ exist: settings, variables, commands, paths, metrics, log lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use twintier::cli::{Cli, VARIABLES};
use twintier::config;

use crate::doc_page::{DocPage, doc_pages, own_pages, tree, words};
use crate::readme::ROOT;

/// Asserts that no unknown name was found.
#[track_caller]
fn assert_none(unknown: &[String]) {
    assert!(unknown.is_empty(), "these names do not exist:\n{}", unknown.join("\n"));
}

/// Names `found` in each page that do not exist.
fn unknown<'a>(
    pages: &'a [DocPage],
    found: impl Fn(&'a DocPage) -> Vec<&'a str>,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let of = |page: &'a DocPage| found(page).into_iter().map(move |name| (page, name));
    let missing = pages.iter().flat_map(of).filter(|(_, name)| !exists(name));
    missing.map(|(page, name)| format!("{}: {name}", page.path.display())).collect()
}

// === settings ===

/// Prefixes of dotted names that are not settings: packages and fields of the contract, attributes
/// of OpenTelemetry.
const NOT_SETTINGS: [&str; 16] = [
    "twintier.",
    "grpc.",
    "google.",
    "lease.",
    "rpc.",
    "db.",
    "service.",
    "server.address",
    "server.port",
    "error.",
    "network.",
    "messaging.",
    "k8s.",
    "host.",
    "telemetry.",
    // Settings of Prometheus.
    "authorization.",
];

/// Path of a setting that a span names, if it looks like one: `l1.size`, `redis.failover = cold`,
/// `config.l1.size` of the chart.
fn setting(span: &str) -> Option<String> {
    let path = span.strip_prefix("config.").unwrap_or(span);
    let path = path.split(['=', ' ', ':']).next().unwrap_or_default();
    let (section, rest) = path.split_once('.').filter(|(_, rest)| !rest.is_empty())?;
    let is_path = path.starts_with(|c: char| c.is_ascii_lowercase())
        && path.chars().all(|c| c.is_ascii_alphanumeric() || "._<>*".contains(c));
    let is_file = [".rs", ".md", ".lua", ".proto", ".yaml", ".toml", ".json"].iter().any(|end| path.ends_with(end));
    if !is_path || is_file || NOT_SETTINGS.iter().any(|other| path.starts_with(other)) {
        return None;
    }
    match rest.split_once('.').filter(|_| ["identities", "namespaces"].contains(&section)) {
        Some((_, field)) => Some(format!("{section}.<name>.{field}")),
        None => Some(path.to_owned()),
    }
}

/// True if the path is a value of the chart, or inside one.
fn is_value_of_the_chart(path: &str) -> bool {
    let values = std::fs::read_to_string(Path::new(ROOT).join("helm/twintier/README.md")).unwrap();
    let mut names = values.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    names.any(|name| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

#[test]
fn every_setting_named_in_a_page_exists() {
    let known = config::reference();
    let exists = |span: &str| {
        setting(span).is_none_or(|path| match path.strip_suffix('*') {
            Some(stem) => known.iter().any(|setting| setting.path.starts_with(stem)),
            None => known.iter().any(|setting| setting.path == path) || is_value_of_the_chart(&path),
        })
    };
    assert_none(&unknown(&own_pages(), |page| page.spans.iter().map(String::as_str).collect(), exists));
    assert_eq!(setting("redis.failover = cold").as_deref(), Some("redis.failover"));
    assert_eq!(setting("namespaces.users.max_ttl").as_deref(), Some("namespaces.<name>.max_ttl"));
    assert!(!exists("l1.sizes") && !exists("networkPolicy.scraper") && exists("networkPolicy.scrapers.any"));
    assert!(exists("warm_start.*") && setting("grpc.health.v1").is_none());
}

#[test]
fn every_variable_named_in_a_page_is_read() {
    let settings = config::reference();
    let of_settings = settings.iter().flat_map(|setting| &setting.variables).map(String::as_str);
    let known: BTreeSet<_> = of_settings.chain(VARIABLES).chain(["TWINTIER_CONFIG"]).collect();
    let of_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let found = |page| -> Vec<&str> {
        let page: &DocPage = page;
        words(&page.text, "TWINTIER_", of_variable).collect()
    };
    assert_none(&unknown(&doc_pages(), found, |name| known.contains(name)));
}

// === commands ===

/// Arguments of each call of the program in a line of shell, up to the next shell operator.
fn invocations(line: &str) -> Vec<Vec<&str>> {
    let is_program = |word: &str| word == "twintier" || word.ends_with("release/twintier");
    let ends = |word: &str| ["|", "||", "&&", "&", ">", "2>", "2>&1", "#", ";", "then", "done"].contains(&word);
    let mut found: Vec<Vec<&str>> = Vec::new();
    let mut inside = false;
    let mut quoted = false;
    for word in line.split_whitespace().map(|word| word.rsplit("$(").next().unwrap_or_default()) {
        if inside && !quoted && ends(word) {
            inside = false;
        } else if !quoted && is_program(word) {
            inside = true;
            found.push(Vec::new());
            continue;
        } else if inside {
            // Quoted words are no arguments of the program.
            let argument = !quoted;
            quoted ^= word.matches('\'').count() % 2 == 1;
            let last = word.ends_with(';') || word.ends_with(')');
            if argument {
                found.last_mut().unwrap().push(word.trim_end_matches([';', ')', '"']));
            }
            inside = !last || quoted;
        }
    }
    found
}

/// The first part of a command line that does not exist.
fn first_unknown_part(words: &[&str]) -> Option<String> {
    let root = Cli::command();
    let mut command = &root;
    let mut words = words.iter().peekable();
    while let Some(next) = words.peek().and_then(|word| command.find_subcommand(word)) {
        (command, _) = (next, words.next());
    }
    let has_commands = command.get_subcommands().next().is_some();
    if let Some(word) = words.peek().filter(|word| has_commands && word.starts_with(|c: char| c.is_ascii_lowercase())) {
        return Some(format!("{} has no command {word}", command.get_name()));
    }
    let known = |flag: &str| match flag.strip_prefix("--") {
        Some(long) => {
            let long = long.split('=').next().unwrap_or_default();
            long == "help" || command.get_arguments().any(|argument| argument.get_long() == Some(long))
        }
        None => command.get_arguments().any(|argument| argument.get_short() == flag[1..].chars().next()),
    };
    let is_flag = |word: &str| word.starts_with('-') && word.len() > 1 && word != "--";
    words.find(|word| is_flag(word) && !known(word)).map(|flag| format!("{} has no {flag}", command.get_name()))
}

#[test]
fn every_command_line_in_a_page_is_valid() {
    let mut found = 0;
    let mut all = Vec::new();
    for page in doc_pages() {
        let scripts = page.blocks.iter().filter(|(language, _)| language == "sh" || language == "bash");
        let lines = scripts.flat_map(|(_, lines)| lines);
        for line in lines.chain(page.spans.iter().filter(|span| span.starts_with("twintier "))) {
            for words in invocations(line) {
                found += 1;
                all.extend(first_unknown_part(&words).map(|why| format!("{}: {line}: {why}", page.path.display())));
            }
        }
    }
    assert_none(&all);
    assert!(found > 100, "{found} command lines");
    for (line, why) in [
        ("twintier frobnicate", "twintier has no command frobnicate"),
        ("echo x | twintier set key --stdout > file", "set has no --stdout"),
        ("a=$(twintier policy lst -n x)", "policy has no command lst"),
    ] {
        assert_eq!(invocations(line).iter().find_map(|words| first_unknown_part(words)).as_deref(), Some(why));
    }
    assert_eq!(invocations("twintier set a '--x --y' --ttl 5m || true"), [["set", "a", "'--x", "--ttl", "5m"]]);
}

#[test]
fn every_make_target_named_in_a_page_exists() {
    let makefile = std::fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let target = |span: &str| span.strip_prefix("make ").map(|rest| rest.split(' ').next().unwrap().to_owned());
    let exists = |span: &str| target(span).is_none_or(|target| makefile.contains(&format!("\n{target}:")));
    assert_none(&unknown(&doc_pages(), |page| page.code().collect(), exists));
    assert!(exists("make test") && !exists("make tests"));
}

// === paths ===

#[test]
fn every_repository_path_named_in_a_page_exists() {
    let files = tree();
    let roots = ["src/", "docs/", "tests/", "benches/", "helm/", "proto/", "compose/", ".ci/", "clients/"];
    let ends = [".rs", ".lua", ".md", ".proto"];
    let is_path = |span: &str| {
        let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        plain && (roots.iter().any(|root| span.starts_with(root)) || ends.iter().any(|end| span.ends_with(end)))
    };
    let exists = |span: &str| {
        !is_path(span) || files.iter().any(|file| file.ends_with(span)) || Path::new(ROOT).join(span).exists()
    };
    assert_none(&unknown(&doc_pages(), |page| page.spans.iter().map(String::as_str).collect(), exists));
    assert!(exists("lua/acquire.lua") && exists("src/cache") && !exists("src/cash") && !exists("cquire.lua"));
}

#[test]
fn every_link_has_a_target() {
    let exists = |page: &DocPage, link: &str| {
        let (file, section) = link.split_once('#').unwrap_or((link, ""));
        let folder = page.path.parent().unwrap();
        let target = if file.is_empty() { page.path.clone() } else { folder.join(file) };
        let there = Path::new(ROOT).join(&target).exists();
        there && (section.is_empty() || DocPage::read(&target).has_section(section))
    };
    let mut dead = Vec::new();
    for page in doc_pages() {
        let inside = page.links.iter().filter(|link| !link.contains("://"));
        let lost = inside.filter(|link| !exists(&page, link));
        dead.extend(lost.map(|link| format!("{}: {link}", page.path.display())));
    }
    assert_none(&dead);
    let page = DocPage::read(Path::new("docs/redis.md"));
    assert!(
        exists(&page, "../README.md#what-it-promises")
            && exists(&page, "errors.md#what-to-do")
            && !exists(&page, "README.md")
            && !exists(&page, "#no-such")
    );
}

// === HTTP paths and the contract ===

/// The text of every file below these folders that has one of these endings.
fn sources(folders: &[&str], ends: &[&str]) -> Vec<String> {
    let wanted = |file: &&PathBuf| {
        let end = file.extension().and_then(|end| end.to_str()).unwrap_or_default();
        folders.iter().any(|folder| file.starts_with(folder)) && ends.contains(&end)
    };
    tree().iter().filter(wanted).map(|file| std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap()).collect()
}

#[test]
fn every_http_path_named_in_a_page_is_served() {
    let code = sources(&["src"], &["rs"]);
    let is_path = |span: &str| {
        span.strip_prefix('/').is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase()))
    };
    let exists = |span: &str| !is_path(span) || code.iter().any(|text| text.contains(&format!("\"{span}\"")));
    assert_none(&unknown(&doc_pages(), |page| page.spans.iter().map(String::as_str).collect(), exists));
    assert!(!exists("/nowhere") && exists("/"));
}

/// OTEL_* variables that only the SDK reads, or whose names are composed here.
const READ_BY_SDK: [&str; 5] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
];

#[test]
fn every_contract_name_in_a_page_exists() {
    let known = sources(&["src", "proto"], &["rs", "proto"]);
    let of_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_word =
        |span: &str| span.contains('_') && !span.starts_with('_') && !span.ends_with('_') && span.chars().all(of_word);
    let read = |span: &str| READ_BY_SDK.contains(&span) || known.iter().any(|text| text.contains(span));
    let exists = |span: &str| !is_word(span) || read(span);
    assert_none(&unknown(&own_pages(), |page| page.spans.iter().map(String::as_str).collect(), exists));
    assert!(exists("REPLICA_HALTED") && !exists("REPLICA_HALTS"));
}

// === metrics ===

/// The metrics in the first column of docs/metrics.md.
fn metrics() -> BTreeSet<String> {
    let page = DocPage::read(Path::new("docs/metrics.md"));
    let rows = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_metric_named_in_a_page_is_served() {
    let known = metrics();
    let served = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
        known.contains(name) || parts.into_iter().any(|base| known.contains(base))
    };
    let of_metric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let found = |page: &'static DocPage| -> Vec<&'static str> {
        let begins = ["twintier_", "rpc_server_", "db_client_", "process_"];
        page.code().flat_map(|code| begins.iter().flat_map(|begin| words(code, begin, of_metric))).collect()
    };
    let pages: &'static [DocPage] = doc_pages().leak();
    assert_none(&unknown(pages, found, served));
    assert!(served("twintier_gets_total") && !served("twintier_gets"));
}

#[test]
fn the_capacity_page_matches_the_weight_of_entries() {
    let page = DocPage::read(Path::new("docs/capacity.md"));
    assert!(page.text.contains(&format!("and {} bytes", twintier::backend::memory::OVERHEAD)));
}

// === log lines ===

/// The messages that the program logs as warnings and errors.
fn warnings_and_errors() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // A file of unit tests has no comment on its first line.
    for text in sources(&["src"], &["rs"]).iter().filter(|text| text.starts_with("//! ")) {
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        for level in ["warn!(", "error!("] {
            for rest in code.split(&format!("tracing::{level}")).skip(1) {
                let call = rest.split(");\n").next().unwrap().split("),\n").next().unwrap();
                let message = call.split('"').nth_back(1).unwrap_or_else(|| panic!("no message: {call}"));
                found.insert(message.to_owned());
            }
        }
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn every_warning_and_error_of_the_log_is_explained() {
    let page = DocPage::read(Path::new("docs/operations.md"));
    let section = page.section("Warnings and errors in the log");
    let explained: BTreeSet<_> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect();
    let logged = warnings_and_errors();
    let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join("\n");
    let missing = list(logged.difference(&explained).collect());
    let gone = list(explained.difference(&logged).collect());
    assert!(missing.is_empty() && gone.is_empty(), "not in docs/operations.md:\n{missing}\nno longer logged:\n{gone}");
}
