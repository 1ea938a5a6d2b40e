//! Runs the ```sh and ```python blocks of the README, docs/callers.md and docs/tokens.md.
//!
//! Free ports replace the documented ones.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::doc_page::DocPage;
use crate::process::{CommandResult, LONG_TIMEOUTS, Serving, free_port, required_program, run, twintier};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");
/// The page whose blocks call a replica from this directory.
pub const CALLERS: &str = "docs/callers.md";
const TOKENS: &str = "docs/tokens.md";

/// The fenced block of a page that has this language and contains `text`.
pub fn block(page: &str, language: &str, text: &str) -> String {
    let page = std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    blocks.find(|block| block.contains(text)).unwrap_or_else(|| panic!("no {language} block has {text}")).to_owned()
}

/// The block with the program under test instead of the program that a reader builds.
fn with_this_program(block: &str) -> String {
    block.replace("target/release/twintier", env!("CARGO_BIN_EXE_twintier"))
}

/// Runs a pasted script in a shell with the programs of `path`. Like an interactive shell, it
/// continues after a line that fails.
pub fn paste(script: &str, path: &[&Path], server: &str) -> CommandResult {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = path.iter().map(|path| path.to_path_buf()).chain(std::env::split_paths(&old));
    let mut bash = Command::new("timeout");
    bash.args(["60", "bash", "-c", script]).current_dir(ROOT).env("PATH", std::env::join_paths(path).unwrap());
    // Variables that `make test` sets for the tests are no settings of the program.
    std::env::vars().filter(|(name, _)| name.starts_with("TWINTIER_")).for_each(|(name, _)| {
        bash.env_remove(name);
    });
    without_cargo(&mut bash);
    // Packages that are installed satisfy pip. Others are not downloaded.
    bash.envs([("PIP_NO_INDEX", "1"), ("PIP_REQUIRE_VIRTUALENV", "1"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")]);
    for (setting, value) in LONG_TIMEOUTS {
        bash.env(format!("TWINTIER_{}", setting.replace('.', "_").to_uppercase()), value);
    }
    run(bash.env("TWINTIER_SERVER", server), b"")
}

/// Removes the variables that cargo adds for a test. A nested cargo would treat them as a change:
/// the build script of `ring` depends on `OUT_DIR`, for example, and cargo would rebuild all crates
/// above it.
pub fn without_cargo(command: &mut Command) {
    let added = |name: &str| {
        let of_the_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_TARGET_TMPDIR"];
        let of_the_run = ["CARGO", "OUT_DIR", "LD_LIBRARY_PATH", "RUST_RECURSION_COUNT"];
        of_the_package.iter().any(|prefix| name.starts_with(prefix)) || of_the_run.contains(&name)
    };
    std::env::vars().filter(|(name, _)| added(name)).for_each(|(name, _)| {
        command.env_remove(name);
    });
}

/// Asserts that all of `parts` occur, in this order.
#[track_caller]
pub fn assert_output(ran: &CommandResult, parts: &[&str]) {
    let mut rest = ran.text();
    for part in parts {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("{part}: {} {}", ran.text(), ran.err)).1;
    }
}

/// Expected output of the first screen.
pub const FIRST_SCREEN: [&str; 7] = [
    "SET_OUTCOME_STORED",
    "aGVsbG8=",
    "TIER_L1",
    "SET_OUTCOME_ALREADY_PRESENT",
    r#""removed": "1""#,
    r#""l1Only": true"#,
    r#""setsConditionFailed": "1""#,
];

/// Expected output of the shell lines.
pub const COMMANDS: [&str; 7] =
    ["stored", r#"{"name": "Ada"}"#, "result", "application/json", "removed  2", "everything", "L1 only"];

/// The program with the environment of `cargo run`, which a test has too: the build script's
/// variables are in it. Settings in the caller's environment are not.
fn as_cargo_runs_it() -> Command {
    let settings = twintier::config::reference();
    let is_setting = |name: &str| settings.iter().any(|setting| setting.variables.iter().any(|other| other == name));
    let mut command = twintier(&[]);
    command.envs(std::env::vars().filter(|(name, _)| !is_setting(name)));
    command
}

#[test]
fn the_first_screen_works_as_pasted() {
    assert_eq!(block("README.md", "bash", "cargo run"), "cargo run --release\n");
    let service = Serving::spawn({
        let mut default = as_cargo_runs_it();
        for name in ["CARGO_MANIFEST_DIR", "BUILD_REVISION", "BUILD_RUSTC"] {
            assert!(default.get_envs().any(|(given, _)| given == name), "cargo set no {name}");
        }
        default.env("TWINTIER_REVISION", "d470f1b").env("TWINTIER_SERVER_LISTEN", "127.0.0.1:0");
        default
    });
    service.wait_for_log("no Redis is configured");
    service.wait_for_log("L1 only");
    let grpcurl = required_program("grpcurl", "TEST_GRPCURL");
    let tools = [grpcurl.parent().unwrap()];
    let lines = block("README.md", "sh", "grpcurl").replace("localhost:50051", &service.address);
    let ran = paste(&format!("set -e\n{lines}"), &tools, &service.address).assert_exit(0);
    assert_output(&ran, &FIRST_SCREEN);
    let (_, describe) = README.split_once("`grpcurl -plaintext localhost:50051 describe").unwrap();
    let describe = describe.split_once('`').unwrap().0;
    let describe = format!("grpcurl -plaintext {} describe{describe}", service.address);
    assert_output(
        &paste(&describe, &tools, &service.address).assert_exit(0),
        &["bytes value", "Time to live", "if_version"],
    );
}

#[test]
fn two_replicas_work_in_one_paste() {
    let ran = paste(&two_replicas(PORTS.map(|_| free_port())), &[], "").assert_exit(0);
    assert_output(&ran, &TWO_REPLICAS);
    assert_eq!(ran.err, "miss: absent\n");
}

/// Expected output of the paste of two replicas.
pub const TWO_REPLICAS: [&str; 5] = ["SERVING", "SERVING", "outcome  stored", "hello", "removed  1"];

/// Ports in the paste: of Redis, and of both replicas.
pub const PORTS: [&str; 3] = ["16379", "15061", "15062"];

/// The paste of two replicas with the program under test and other ports.
fn two_replicas(ports: [u16; 3]) -> String {
    with_ports("README.md", PORTS, ports)
}

/// A paste that starts Redis, with the program under test, and with `others` instead of `ports`.
fn with_ports(page: &str, ports: [&str; 3], others: [u16; 3]) -> String {
    let script = with_this_program(&block(page, "sh", "redis-server"));
    assert!(ports.iter().all(|port| script.contains(port)), "{page}: {ports:?}");
    ports.iter().zip(others).fold(script, |script, (port, other)| script.replace(port, &other.to_string()))
}

#[test]
fn a_token_reads_its_own_writes_in_one_paste() {
    let ports = ["16380", "15063", "15064"];
    let ran = paste(&with_ports(TOKENS, ports, ports.map(|_| free_port())), &[], "").assert_exit(0);
    assert_output(&ran, &["SERVING", "SERVING", "outcome  stored", "one item", "two items"]);
    assert_eq!(ran.err, "miss: absent\n");
}

#[test]
fn a_paste_of_two_replicas_shows_the_startup_error() {
    let paste_with_taken = |taken: usize| {
        let ports = PORTS.map(|_| free_port());
        let _taken = TcpListener::bind(("127.0.0.1", ports[taken])).unwrap();
        let ran = paste(&two_replicas(ports), &[], "").assert_exit(1);
        assert!(ran.err.contains("ddress already in use"), "{taken}: {} {}", ran.text(), ran.err);
        assert!(!ran.text().contains("stored"), "{taken}: {}", ran.text());
    };
    std::thread::scope(|scope| {
        (0..PORTS.len()).for_each(|taken| drop(scope.spawn(move || paste_with_taken(taken))));
    });
}

#[test]
fn the_python_lines_work() {
    let service = Serving::start(&[]);
    let python = required_program("Python with grpcio", "TEST_PYTHON");
    let lines = block(CALLERS, "python", "grpc").replace("localhost:50051", &service.address);
    assert!(lines.lines().count() <= 10);
    let ran = run(Command::new(&python).args(["-c", &lines]).current_dir(ROOT), b"").assert_exit(0);
    assert_eq!(ran.text(), "b'hello'\n");
    let lines = block(CALLERS, "sh", "pip install").replace("localhost:50051", &service.address);
    let ran = paste(&format!("set -e\n{lines}"), &[python.parent().unwrap()], "").assert_exit(0);
    assert_output(&ran, &["alone: all as expected"]);
}

#[test]
fn every_block_is_run() {
    for (page, run) in [
        ("README.md", &["cargo", "grpcurl", "("][..]),
        (CALLERS, &["import", "pip", "twintier"]),
        // The second block runs with the blocks of runbooks.
        (TOKENS, &["(", "grpcurl"]),
    ] {
        let page = DocPage::read(Path::new(page));
        let scripts = page.blocks.iter().filter(|(language, _)| ["bash", "sh", "python"].contains(&language.as_str()));
        let first_lines: Vec<_> = scripts.map(|(_, lines)| lines[0].split(' ').next().unwrap()).collect();
        assert_eq!(first_lines, run, "{:?}: a block without a test", page.path);
    }
}

#[test]
fn the_first_screen_has_both_commands_and_the_readme_is_short() {
    let first_screen: Vec<_> = README.lines().take(40).collect();
    for command in ["cargo run --release", "`make test`"] {
        assert!(first_screen.iter().any(|line| line.contains(command)), "not on the first screen: {command}");
    }
    assert!(README.lines().count() <= 130, "{} lines", README.lines().count());
    assert!(README.contains("(docs/architecture.md)") && README.contains("(CONTRIBUTING.md)"));
}

#[test]
fn the_build_requirements_are_stated_beside_each_build() {
    let (_, rest) = include_str!("../../Cargo.toml").split_once("rust-version = \"").unwrap();
    let rust = format!("Rust {} or newer and a C compiler", rest.split('"').next().unwrap());
    for page in ["README.md", "docs/install.md"] {
        let text = DocPage::read(Path::new(page)).text;
        let (before, _) = text.split_once("cargo ").unwrap();
        assert!(before.contains(&rust), "{page} does not say {rust:?} before its first command");
    }
}

#[test]
fn the_command_lines_work() {
    let service = Serving::start(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_twintier")).parent().unwrap();
    let script = format!("set -e\n{}", block(CALLERS, "sh", "twintier set user:1"));
    let ran = paste(&script, &[program], &service.address).assert_exit(0);
    assert_output(&ran, &COMMANDS);
}
