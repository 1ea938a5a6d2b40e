//! The README and docs/callers.md on their own ports, with `cargo run --release` and `make run`.
//!
//! `make test-readme` builds the requirements first, which takes minutes, and runs these tests one
//! after the other.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::{Ran, Serving, needed, run};
use crate::readme::{CALLERS, COMMANDS, FIRST_SCREEN, ROOT, TWO_REPLICAS, block, paste, says, without_cargo};

/// A server that a pasted line started, with all processes of that line.
struct Pasted {
    service: Serving,
    group: u32,
}

impl Pasted {
    fn start(line: &str) -> Pasted {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).current_dir(ROOT).process_group(0);
        without_cargo(&mut bash);
        let service = Serving::spawn(bash);
        Pasted { group: service.id(), service }
    }

    /// Sends SIGINT to the server and returns its exit code.
    fn interrupt(mut self) -> Option<i32> {
        self.signal("INT");
        self.service.ended().0
    }

    fn signal(&self, name: &str) -> Ran {
        run(Command::new("kill").args(["-s", name, "--", &format!("-{}", self.group)]), b"")
    }
}

impl Drop for Pasted {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// Runs a pasted block unchanged, with the tools of the tests.
fn pasted(script: &str) -> Ran {
    let grpcurl = needed("grpcurl", "TEST_GRPCURL");
    let python = needed("Python with grpcio", "TEST_PYTHON");
    let release = Path::new(ROOT).join("target/release");
    let tools = [grpcurl.parent().unwrap(), python.parent().unwrap(), &release];
    paste(script, &tools, "127.0.0.1:50051")
}

#[test]
#[ignore = "needs a build for release: `make test-readme` runs it"]
fn every_block_of_the_readme_works() {
    let served = Pasted::start(&block("README.md", "bash", "cargo run"));
    served.service.logged("no Redis is configured");
    assert_eq!(served.service.address, "127.0.0.1:50051");
    says(&pasted(&block("README.md", "sh", "grpcurl")).ended(0), &FIRST_SCREEN);
    let python = format!("python - <<'END'\n{}END\n", block(CALLERS, "python", "grpc"));
    assert_eq!(pasted(&python).ended(0).text(), "b'hello'\n");
    says(&pasted(&block(CALLERS, "sh", "pip install")).ended(0), &["alone: all as expected"]);
    says(&pasted(&block(CALLERS, "sh", "twintier set user:1")).ended(0), &COMMANDS);
    says(&pasted(&block("README.md", "sh", "redis-server")).ended(0), &TWO_REPLICAS);
    assert_eq!(served.interrupt(), Some(0));
}

#[test]
#[ignore = "needs a build: `make test-readme` runs it"]
fn make_run_serves() {
    let served = Pasted::start("make run");
    assert_eq!(served.service.address, "127.0.0.1:50051");
    served.service.until_health("l1-only");
    served.interrupt();
}

#[test]
#[ignore = "needs a build for release: `make test-readme` runs it"]
fn the_program_is_built_and_installed_as_the_page_says() {
    let page = crate::doc_page::DocPage::read(Path::new("docs/install.md"));
    let (_, lines) = page.blocks.iter().find(|(_, lines)| lines[0].starts_with("cargo build")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = lines.join("\n").replace("/usr/local/bin", folder.path().to_str().unwrap());
    pasted(&script).ended(0);
    let version = run(Command::new(folder.path().join("twintier")).arg("--version"), b"").ended(0);
    assert!(
        version.text().starts_with(concat!("twintier ", env!("CARGO_PKG_VERSION"), " (revision ")),
        "{}",
        version.text()
    );
}
