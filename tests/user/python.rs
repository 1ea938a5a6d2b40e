//! A client in another language, made only of what the server tells by reflection.

use std::process::Command;

use crate::process::{Redis, Serving, needed, run};

fn client(tests: &str, servers: &[&Serving]) {
    let mut python = Command::new(needed("Python with grpcio", "TWINTIER_TEST_PYTHON"));
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py")).arg(tests);
    python.args(servers.iter().map(|server| &server.address));
    run(&mut python, b"").ended(0);
}

#[test]
fn a_python_client_made_of_reflection_uses_one_replica_alone() {
    let service = Serving::start(&[]);
    client("alone", &[&service]);
}

#[test]
fn a_python_client_made_of_reflection_uses_two_replicas_with_redis() {
    let mut redis = Redis::start();
    let (one, two) = (Serving::with_redis(&redis, &[]), Serving::with_redis(&redis, &[]));
    client("together", &[&one, &two]);
    redis.kill();
    client("degraded", &[&one, &two]);
}
