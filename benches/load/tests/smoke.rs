//! The benchmark runs: each row gets right answers, and appears in the report with figures.

use std::path::Path;
use std::process::Command;

#[test]
fn every_row_of_the_quick_run_has_right_answers_and_figures() {
    let bench = Path::new(env!("CARGO_BIN_EXE_twintier-bench"));
    let service = bench.with_file_name("twintier");
    assert!(service.exists(), "{} is not built: cargo build --bin twintier", service.display());
    let output = Command::new(bench).arg("smoke").env_remove("PROGRAM").output().expect("the benchmark starts");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("rows with right answers"), "{out}\n{log}");
}
