//! The README and docs/callers.md on their own ports, with `cargo run --release` and `make run`.
//!
//! `make test-readme` builds the requirements first, which takes minutes, and runs these tests one
//! after the other.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::{CommandResult, Serving, required_program, run};
use crate::readme::{CALLERS, COMMANDS, FIRST_SCREEN, ROOT, TWO_REPLICAS, assert_output, block, paste, without_cargo};

/// A server that a pasted line started, with all processes of that line.
struct PastedServer {
    service: Serving,
    group: u32,
}

impl PastedServer {
    fn start(line: &str) -> PastedServer {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).current_dir(ROOT).process_group(0);
        without_cargo(&mut bash);
        let service = Serving::spawn(bash);
        PastedServer { group: service.id(), service }
    }

    /// Sends SIGINT to the server and returns its exit code.
    fn interrupt(mut self) -> Option<i32> {
        self.signal("INT");
        self.service.wait_for_exit().0
    }

    fn signal(&self, name: &str) -> CommandResult {
        run(Command::new("kill").args(["-s", name, "--", &format!("-{}", self.group)]), b"")
    }
}

impl Drop for PastedServer {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// Runs a pasted block unchanged, with the tools of the tests.
fn run_pasted(script: &str) -> CommandResult {
    let grpcurl = required_program("grpcurl", "TEST_GRPCURL");
    let python = required_program("Python with grpcio", "TEST_PYTHON");
    let release = Path::new(ROOT).join("target/release");
    let tools = [grpcurl.parent().unwrap(), python.parent().unwrap(), &release];
    paste(script, &tools, "127.0.0.1:50051")
}

#[test]
#[ignore = "needs a build for release: `make test-readme` runs it"]
fn every_block_of_the_readme_works() {
    let served = PastedServer::start(&block("README.md", "bash", "cargo run"));
    served.service.wait_for_log("no Redis is configured");
    assert_eq!(served.service.address, "127.0.0.1:50051");
    assert_output(&run_pasted(&block("README.md", "sh", "grpcurl")).assert_exit(0), &FIRST_SCREEN);
    let python = format!("python - <<'END'\n{}END\n", block(CALLERS, "python", "grpc"));
    assert_eq!(run_pasted(&python).assert_exit(0).text(), "b'hello'\n");
    assert_output(&run_pasted(&block(CALLERS, "sh", "pip install")).assert_exit(0), &["alone: all as expected"]);
    assert_output(&run_pasted(&block(CALLERS, "sh", "twintier set user:1")).assert_exit(0), &COMMANDS);
    assert_output(&run_pasted(&block("README.md", "sh", "redis-server")).assert_exit(0), &TWO_REPLICAS);
    assert_eq!(served.interrupt(), Some(0));
}

#[test]
#[ignore = "needs a build for release: `make test-readme` runs it"]
fn make_run_serves() {
    let served = PastedServer::start("make run PROFILE=release");
    assert_eq!(served.service.address, "127.0.0.1:50051");
    served.service.wait_for_health("l1-only");
    served.interrupt();
}

#[test]
#[ignore = "needs a build for release: `make test-readme` runs it"]
fn the_documented_build_and_installation_work() {
    let page = crate::doc_page::DocPage::read(Path::new("docs/install.md"));
    let (_, lines) = page.blocks.iter().find(|(_, lines)| lines[0].starts_with("cargo build")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = lines.join("\n").replace("/usr/local/bin", folder.path().to_str().unwrap());
    run_pasted(&script).assert_exit(0);
    let version = run(Command::new(folder.path().join("twintier")).arg("--version"), b"").assert_exit(0);
    assert!(
        version.text().starts_with(concat!("twintier ", env!("CARGO_PKG_VERSION"), " (revision ")),
        "{}",
        version.text()
    );
}
