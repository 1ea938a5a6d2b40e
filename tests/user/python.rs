//! A Python client built only from server reflection.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::process::{Redis, Serving, required_program, run};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

fn client(tests: &str, servers: &[&Serving]) {
    let mut python = Command::new(required_program("Python with grpcio", "TEST_PYTHON"));
    python.arg(CLIENT).arg(tests);
    python.args(servers.iter().map(|server| &server.address));
    run(&mut python, b"").assert_exit(0);
}

#[test]
fn a_python_client_from_reflection_uses_a_standalone_replica() {
    let service = Serving::start(&[]);
    client("alone", &[&service]);
}

#[test]
fn a_python_client_from_reflection_uses_two_replicas_with_redis() {
    let mut redis = Redis::start();
    let (one, two) = (Serving::with_redis(&redis, &[]), Serving::with_redis(&redis, &[]));
    client("together", &[&one, &two]);
    redis.kill();
    client("degraded", &[&one, &two]);
}

/// The documented service config. A client that does not understand it fails on its first call.
fn service_config() -> &'static str {
    let page = include_str!("../../docs/rolling-updates.md");
    page.split("```json\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_documented_service_config_hides_the_stop_of_a_replica() {
    let redis = Redis::start();
    let drain = ["--set", "drain.delay=500ms", "--set", "drain.timeout=20s"];
    let (mut one, two) = (Serving::with_redis(&redis, &drain), Serving::with_redis(&redis, &drain));
    let mut python = Command::new(required_program("Python with grpcio", "TEST_PYTHON"));
    python.arg(CLIENT).args(["balanced", service_config(), &one.address, &two.address]);
    let mut client = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(output.next().as_deref(), Some("balanced"));
    one.signal("TERM");
    assert_eq!(one.wait_for_exit().0, Some(0));
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
    assert_eq!(output.next().as_deref(), Some("1"));
}
