//! Scripts of the repository: they wait with limits, hide no errors, and use safe ports.
//!
//! Covers the ```bash blocks of docs/, and variables that resemble settings. A safe port is below
//! the ephemeral range.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use twintier::cli::VARIABLES;
use twintier::config;

use crate::doc_page::{doc_pages, tree, words};
use crate::process::{Redis, Serving, required_program};
use crate::readme::{ROOT, paste};

/// Every script with its name: blocks of pages, files of .ci, recipes, steps of images and of the
/// chart.
fn scripts() -> Vec<(String, String)> {
    let is_shell = |language: &str| ["sh", "bash"].contains(&language);
    let of_pages = doc_pages().into_iter().flat_map(|page| {
        let blocks = page.blocks.into_iter().filter(|(language, _)| is_shell(language));
        blocks.map(move |(_, lines)| (page.path.display().to_string(), lines.join("\n"))).collect::<Vec<_>>()
    });
    let is_script = |path: &&std::path::PathBuf| {
        let name = path.to_str().unwrap();
        let in_folder = [".ci/", "compose", "helm/"].iter().any(|folder| name.starts_with(folder));
        (in_folder || ["Makefile", "Dockerfile"].contains(&name)) && !name.ends_with(".json") && !name.ends_with(".sum")
    };
    let text = |path: &std::path::PathBuf| std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    let of_files: Vec<_> =
        tree().iter().filter(is_script).map(|path| (path.display().to_string(), text(path))).collect();
    of_pages.chain(of_files).collect()
}

/// True if a line discards the errors of a server, or all output of one in the background.
fn hides_a_server(line: &str) -> bool {
    let line = line
        .replace("> /dev", ">/dev")
        .replace(">/dev/null 2>&1", "2>/dev/null")
        .replace("&>", "2>")
        .replace("&&", ";");
    let server = |part: &str| ["twintier", "redis-server"].iter().any(|program| part.contains(program));
    let in_background = line.rsplit_once('&').map(|(before, _)| before).unwrap_or_default();
    line.split([';', '|', '&']).any(|part| server(part) && part.contains("2>/dev/null"))
        || in_background.split([';', '|', '&']).any(|part| server(part) && part.contains(">/dev/null"))
}

/// Faults of a script.
fn faults(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = script.replace("\\\n", " ");
    for line in lines.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let commands: Vec<&str> = line.split(';').map(|part| part.trim().trim_start_matches("do ")).collect();
        let loops = |command: &&str| command.starts_with("until ") || command.starts_with("while ");
        // A loop over lines ends with its input, and `for` ends with its list.
        if commands.iter().any(|command| loops(command) && !command.starts_with("while read")) {
            found.push(format!("waits without a limit: {line}"));
        }
        if hides_a_server(line) {
            found.push(format!("hides what a server says: {line}"));
        }
        if ["--listen", "--port"].iter().any(|flag| line.contains(flag)) || line.starts_with("for port in") {
            let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u32>().ok());
            // The service's default port is exempt.
            let ephemeral = numbers.filter(|port| (32_768..65_536).contains(port) && *port != 50_051);
            found.extend(ephemeral.map(|port| format!("{port} may be the port of an outgoing connection: {line}")));
        }
    }
    found
}

#[test]
fn no_script_waits_without_a_limit_or_hides_server_errors() {
    let all = scripts();
    assert!(all.len() > 80, "{} scripts", all.len());
    let found: Vec<_> = all
        .iter()
        .flat_map(|(name, script)| faults(script).into_iter().map(move |fault| format!("{name}: {fault}")))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for wrong in [
        "until twintier health; do sleep 0.1; done",
        "  until twintier health; do sleep 0.1; done",
        "twintier health >/dev/null 2>&1",
        "twintier drain on; while ! twintier health; do sleep 1; done",
        "redis-server >/dev/null & pids=$!",
        "twintier serve \\\n  2>/dev/null &",
        "redis-server --port 50061 &",
        "for port in 15061 50062; do",
    ] {
        assert_eq!(faults(wrong).len(), 1, "{wrong}: {:?}", faults(wrong));
    }
    for right in [
        "twintier health --wait 10s",
        "for try in $(seq 100); do twintier health > /dev/null || break; sleep 0.1; done",
        "command -v go >/dev/null && go version",
        "redis-server >\"$log\" & pids=$!",
        "cat keys | while read -r key; do twintier get \"$key\"; done",
    ] {
        assert!(faults(right).is_empty(), "{right}: {:?}", faults(right));
    }
}

/// Programs in ```bash blocks that no test can run unchanged, and the check that covers their
/// command lines.
const NOT_RUN_HERE: [(&str, &str); 8] = [
    ("cargo", "make test-readme"),
    ("install", "make test-readme"),
    ("make", "every_chore_that_a_page_names_is_in_the_makefile"),
    ("docker", "make test-images"),
    ("export", "make test-images"),
    ("helm", "make test-chart"),
    ("kubectl", "make test-chart"),
    ("cat", "make test-images"),
];

/// Starts the service by a line with variables, on a free port.
fn assert_serves(line: &str) {
    let line = line.replace("twintier serve", concat!(env!("CARGO_BIN_EXE_twintier"), " serve --listen 127.0.0.1:0"));
    let mut bash = Command::new("bash");
    bash.env_clear().args(["-c", &line]);
    Serving::spawn(bash);
}

#[test]
fn the_commands_of_runbooks_work_on_a_healthy_replica() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    let program = Path::new(env!("CARGO_BIN_EXE_twintier")).parent().unwrap();
    let grpcurl = required_program("grpcurl", "TEST_GRPCURL");
    let mut ran = 0;
    for page in doc_pages() {
        for (_, lines) in page.blocks.iter().filter(|(language, _)| language == "bash") {
            if lines.iter().any(|line| line.ends_with("<<'EOF'")) {
                continue;
            }
            for line in lines.join("\n").replace("\\\n", " ").lines() {
                let first = line.split_whitespace().find(|word| !word.contains('=')).unwrap();
                if first == "twintier" && !line.starts_with(first) && line.ends_with("twintier serve") {
                    assert_serves(line);
                    continue;
                }
                if !["twintier", "grpcurl"].contains(&first) {
                    let is_held = NOT_RUN_HERE.iter().any(|(other, _)| *other == first);
                    assert!(is_held || page.path == Path::new("README.md"), "{}: {line}", page.path.display());
                    continue;
                }
                ran += 1;
                // A command that runs until it is interrupted has printed something by then.
                let pasted = if line.contains("--watch") {
                    format!("timeout --signal INT 10 {line} | head --lines 1")
                } else {
                    line.replace("localhost:50051", &service.address)
                };
                let result = paste(&pasted, &[program, grpcurl.parent().unwrap()], &service.address).assert_exit(0);
                assert!(!result.text().is_empty(), "{line}: {}", result.err);
            }
        }
    }
    assert!(ran > 20, "{ran} lines");
}

/// Variables of this repository that look like settings and are none: the revision of a build, and
/// a deliberate mistake of a test.
const NOT_SETTINGS: [&str; 2] = ["TWINTIER_REVISION", "TWINTIER_L1_SISE"];

#[test]
fn no_build_or_test_variable_looks_like_a_setting() {
    let settings = config::reference();
    let of_settings = settings.iter().flat_map(|setting| &setting.variables).map(String::as_str);
    let known: BTreeSet<_> = of_settings.chain(VARIABLES).chain(["TWINTIER_CONFIG"]).chain(NOT_SETTINGS).collect();
    let of_variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut found = BTreeSet::new();
    for path in tree().iter().filter(|path| !path.starts_with("src/config")) {
        let Ok(text) = std::fs::read_to_string(Path::new(ROOT).join(path)) else { continue };
        let names = words(&text, "TWINTIER_", of_variable).filter(|name| !name.ends_with('_') && !known.contains(name));
        found.extend(names.map(|name| format!("{}: {name}", path.display())));
    }
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "the service refuses to start with these:\n{}", found.join("\n"));
}
