//! Shutdown of the service: within the drain timeout, whatever its peers do.

use std::io::Write as _;
use std::net::TcpStream;

use crate::process::{Redis, Serving};

/// Longer than any test waits.
const LONG_DRAIN: [&str; 4] = ["--set", "drain.delay=5m", "--set", "drain.timeout=1h"];

#[test]
fn a_termination_ends_within_the_drain_limit_with_silent_peers() {
    let redis = Redis::start();
    let limits = ["--set", "drain.delay=200ms", "--set", "drain.timeout=1500ms", "--redis-url", &redis.url()];
    // These settings leave only the drain limit to end idle peers.
    let tolerant = ["--set", "server.first_byte_timeout=5m", "--set", "server.keepalive_interval=1h"];
    let mut service = Serving::start(&[&limits[..], &tolerant].concat());
    let _silent = TcpStream::connect(&service.address).unwrap();
    let mut silent_after_preface = TcpStream::connect(&service.address).unwrap();
    silent_after_preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    service.signal("TERM");
    assert_eq!(service.wait_for_exit().0, Some(0));
}

#[test]
fn a_termination_is_announced_to_callers_before_the_port_closes() {
    let mut service = Serving::start(&["--set", "drain.delay=1s"]);
    service.signal("TERM");
    service.wait_for_log("draining");
    let printed = service.client(&["health", "readiness"]).assert_exit(1);
    assert_eq!(printed.text(), "NOT_SERVING\n");
    service.client(&["health", "liveness"]).assert_exit(0);
    service.client(&["set", "key", "value"]).assert_exit(0);
    assert_eq!(service.wait_for_exit().0, Some(0));
    service.client(&["get", "key"]).assert_exit(3);
}

#[test]
fn an_interrupt_does_not_wait_for_balancers() {
    let mut service = Serving::start(&LONG_DRAIN);
    service.signal("INT");
    assert_eq!(service.wait_for_exit().0, Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    for first in ["TERM", "INT"] {
        let mut service = Serving::start(&LONG_DRAIN);
        // An HTTP/2 connection that stays open prevents an early end of the drain.
        let mut silent = TcpStream::connect(&service.address).unwrap();
        silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        service.signal(first);
        service.wait_for_log("draining");
        service.signal("INT");
        assert_eq!(service.wait_for_exit().0, Some(1), "{first}");
        service.wait_for_log("second signal");
    }
}
