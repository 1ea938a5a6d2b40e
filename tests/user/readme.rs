//! Runs what the README says as it says it: every ```sh and ```python block, with ports that are free here in place of its own.

use std::path::Path;
use std::process::Command;

use crate::process::{Ran, Serving, UNHURRIED, free_port, needed, run, twintier};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

/// The fenced block of a language in which `text` occurs.
fn block(language: &str, text: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = README.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    blocks.find(|block| block.contains(text)).unwrap_or_else(|| panic!("no {language} block has {text}")).to_owned()
}

/// A block with the program built here in place of the one a reader builds.
fn with_this_program(block: &str) -> String {
    block.replace("target/release/twintier", env!("CARGO_BIN_EXE_twintier"))
}

/// Pastes a script into a shell, with the programs of `path` at hand. The shell goes on after a line that fails, as a person's does.
pub fn paste(script: &str, path: &[&Path], server: &str) -> Ran {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = path.iter().map(|path| path.to_path_buf()).chain(std::env::split_paths(&old));
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "-c", script]).current_dir(ROOT).env("PATH", std::env::join_paths(path).unwrap());
    // What `make test` tells the tests is none of the program's settings.
    std::env::vars().filter(|(name, _)| name.starts_with("TWINTIER_")).for_each(|(name, _)| {
        bash.env_remove(name);
    });
    for (setting, value) in UNHURRIED {
        bash.env(format!("TWINTIER_{}", setting.replace('.', "_").to_uppercase()), value);
    }
    run(bash.env("TWINTIER_SERVER", server), b"")
}

/// Asserts that all of `parts` occur, in this order.
#[track_caller]
fn says(ran: &Ran, parts: &[&str]) {
    let mut rest = ran.text();
    for part in parts {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("{part}: {} {}", ran.text(), ran.err)).1;
    }
}

#[test]
fn the_first_screen_works_as_pasted() {
    assert_eq!(block("bash", "cargo run"), "cargo run --release\n");
    let service = Serving::spawn({
        let mut default = twintier(&[]);
        default.env("TWINTIER_SERVER_LISTEN", "127.0.0.1:0");
        default
    });
    service.logged("no Redis is configured");
    service.logged("L1 only");
    let grpcurl = needed("grpcurl", "TWINTIER_TEST_GRPCURL");
    let tools = [grpcurl.parent().unwrap()];
    let lines = block("sh", "grpcurl").replace("localhost:50051", &service.address);
    let ran = paste(&format!("set -e\n{lines}"), &tools, &service.address).ended(0);
    says(
        &ran,
        &[
            "SET_OUTCOME_STORED",
            "aGVsbG8=",
            "TIER_L1",
            "SET_OUTCOME_ALREADY_PRESENT",
            r#""removed": "1""#,
            r#""l1Only": true"#,
            r#""setsConditionFailed": "1""#,
        ],
    );
    let (_, describe) = README.split_once("`grpcurl -plaintext localhost:50051 describe").unwrap();
    let describe = describe.split_once('`').unwrap().0;
    let describe = format!("grpcurl -plaintext {} describe{describe}", service.address);
    says(&paste(&describe, &tools, &service.address).ended(0), &["bytes value", "Time to live", "if_version"]);
}

#[test]
fn two_replicas_work_in_one_paste() {
    let mut script = with_this_program(&block("sh", "redis-server"));
    for port in ["16379", "50061", "50062"] {
        script = script.replace(port, &free_port().to_string());
    }
    let ran = paste(&script, &[], "");
    says(&ran, &["outcome  stored", "hello", "removed  1"]);
    assert_eq!(ran.err, "miss: absent\n");
}

#[test]
fn the_python_lines_work() {
    let service = Serving::start(&[]);
    let python = needed("Python with grpcio", "TWINTIER_TEST_PYTHON");
    let lines = block("python", "grpc").replace("localhost:50051", &service.address);
    assert!(lines.lines().count() <= 10);
    let ran = run(Command::new(python).args(["-c", &lines]).current_dir(ROOT), b"").ended(0);
    assert_eq!(ran.text(), "b'hello'\n");
}

#[test]
fn the_command_lines_work() {
    let service = Serving::start(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_twintier")).parent().unwrap();
    let script = format!("set -e\n{}", block("sh", "twintier set user:1"));
    let ran = paste(&script, &[program], &service.address).ended(0);
    says(&ran, &["stored", r#"{"name": "Ada"}"#, "result", "application/json", "removed  2", "everything", "L1 only"]);
}
