//! Commands, other clients and a deployer at a unix socket.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Serving, required_program, run, twintier};

/// A folder, and the path of a socket in it.
fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("twintier-").tempdir().unwrap();
    let path = folder.path().join("grpc.sock");
    (folder, path)
}

/// The setting of a socket.
fn setting(path: &std::path::Path) -> String {
    format!("server.listen_unix={}", path.display())
}

#[test]
fn commands_use_a_service_that_listens_on_a_socket_only() {
    let (_folder, path) = socket();
    let mut service = Serving::start(&["--set", &setting(&path), "--set", "server.tcp=false"]);
    assert_eq!(service.address, format!("unix://{}", path.display()));
    let line: serde_json::Value = serde_json::from_str(&service.wait_for_log("twintier serves")).unwrap();
    assert_eq!((line["socket"].as_str(), line["address"].as_str()), (path.to_str(), None));
    service.client(&["set", "key", "value"]).assert_exit(0);
    assert_eq!(service.client(&["get", "key"]).assert_exit(0).text(), "value");
    for check in ["liveness", "readiness"] {
        service.client(&["health", check]).assert_exit(0);
    }
    assert_eq!(service.client(&["stats", "-o", "json"]).assert_exit(0).json()["replica"]["connections"], 1);
    service.client(&["hot-keys"]).assert_exit(0);
    service.signal("INT");
    assert_eq!(service.wait_for_exit().0, Some(0));
    assert!(!path.exists());
    let ran = service.client(&["get", "key"]).assert_exit(3);
    assert!(ran.err.contains(path.to_str().unwrap()), "{}", ran.err);
}

#[test]
fn what_is_in_the_way_of_a_socket_is_named_and_left_alone() {
    let (folder, path) = socket();
    let service = Serving::start(&["--set", &setting(&path)]);
    let start = |path: &std::path::Path| {
        run(&mut twintier(&["serve", "--listen", "127.0.0.1:0", "--set", &setting(path)]), b"").assert_exit(1).err
    };
    let error = start(&path);
    let expected = format!("server.listen_unix {}: another process listens on this socket", path.display());
    assert!(error.contains(&expected), "{error}");
    service.client(&["health"]).assert_exit(0);
    run(&mut twintier(&["health", "--server", &format!("unix://{}", path.display())]), b"").assert_exit(0);

    let file = folder.path().join("notes");
    std::fs::write(&file, "notes").unwrap();
    let error = start(&file);
    let expected = format!("server.listen_unix {}: the file exists and is not a socket", file.display());
    assert!(error.contains(&expected), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "notes");

    let error = start(&folder.path().join("none/grpc.sock"));
    assert!(error.contains("none/grpc.sock: No such file or directory"), "{error}");
}

#[test]
fn grpcurl_and_python_use_a_socket() {
    let (_folder, path) = socket();
    let service = Serving::start(&["--set", &setting(&path), "--set", "server.tcp=false"]);
    let mut grpcurl = Command::new(required_program("grpcurl", "TEST_GRPCURL"));
    grpcurl.args(["-plaintext", "-unix", "-d", r#"{"key": "k", "value": "aGVsbG8="}"#]);
    grpcurl.args([path.to_str().unwrap(), "twintier.v1.CacheService/Set"]);
    assert!(run(&mut grpcurl, b"").assert_exit(0).text().contains("SET_OUTCOME_STORED"));
    assert_eq!(service.client(&["get", "k"]).assert_exit(0).text(), "hello");
    let mut python = Command::new(required_program("Python with grpcio", "TEST_PYTHON"));
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py")).args(["alone", &service.address]);
    run(&mut python, b"").assert_exit(0);
}
