//! Log lines of slow requests, and changes of the level at run time.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Redis, Serving, wait_until};

/// Value of `log.slow_request` in these tests.
const SLOW_REQUEST: Duration = Duration::from_millis(100);

impl Serving {
    fn lines_with(&self, message: &str) -> Vec<Value> {
        let lines = self.log().into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
        lines.filter(|line: &Value| line["message"] == message).collect()
    }

    fn line_with(&self, message: &str) -> Value {
        serde_json::from_str(&self.wait_for_log(message)).expect("JSON")
    }
}

/// Runs client commands that end with this code, while Redis is frozen for longer than the
/// threshold.
fn run_slowly(redis: &Redis, service: &Serving, commands: &[&[&str]], code: i32) {
    let in_flight = || service.client(&["stats", "-o", "json"]).json()["replica"]["in_flight"].as_u64();
    redis.freeze();
    thread::scope(|scope| {
        commands.iter().for_each(|command| _ = scope.spawn(|| service.client(command).assert_exit(code)));
        // The Stats request itself is one of them.
        wait_until("the requests are in flight", || in_flight() > Some(commands.len() as u64));
        thread::sleep(2 * SLOW_REQUEST);
        redis.thaw();
    });
}

#[test]
fn a_slow_request_is_logged_with_its_details() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &["--set", "log.slow_request=100ms"]);
    run_slowly(&redis, &service, &[&["get", "-n", "users", "absent"]], 1);
    let line = service.line_with("slow request");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["rpc"], "twintier.v1.CacheService/Get");
    assert_eq!((&line["namespace"], &line["code"], &line["outcome"]), (&"users".into(), &"OK".into(), &"miss".into()));
    assert_eq!((&line["lease_wait"], &line["degraded"]), (&false.into(), &false.into()));
    assert!(line["took_ms"].as_f64() >= Some(100.0), "{line}");
    assert!(line["queued_ms"].is_number(), "{line}");
    let key = line["key"].as_str().expect("a key");
    assert!(key.len() == 17 && key.starts_with('#'), "{line}");
}

#[test]
fn a_password_in_a_flag_is_a_warning_that_does_not_repeat_it() {
    let service = Serving::start(&["--redis-url", "redis://:hunter2@127.0.0.1:1"]);
    let line = service.line_with("a password is in the command line: other users can read it");
    assert_eq!((&line["level"], &line["setting"]), (&"WARN".into(), &"redis.url".into()));
    assert!(service.log().iter().all(|line| !line.contains("hunter2")));
}

#[test]
fn each_slow_request_is_logged_or_counted() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &["--set", "log.slow_request=100ms", "--set", "log.keys=clear"]);
    let commands = ["users", "prices", "zones"].map(|name| ["get", "-n", name, "absent"]);
    let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    run_slowly(&redis, &service, &commands, 1);
    let slow = || service.lines_with("slow request").len() as u64;
    let left_out = || {
        let counts =
            service.lines_with("log lines were left out").into_iter().filter(|it| it["line"] == "slow request");
        counts.map(|line| line["left_out"].as_u64().expect("a number")).sum::<u64>()
    };
    wait_until("each request is logged or counted", || slow() + left_out() >= 3);
    assert_eq!(service.line_with("slow request")["key"], "absent");
}

#[test]
fn a_slow_write_is_logged_with_its_outcome_unless_switched_off() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &["--set", "log.slow_request=100ms"]);
    run_slowly(&redis, &service, &[&["set", "k", "v"]], 0);
    let line = service.line_with("slow request");
    assert_eq!((&line["rpc"], &line["outcome"]), (&"twintier.v1.CacheService/Set".into(), &"stored".into()));
    let quiet = Serving::with_redis(&redis, &["--set", "log.slow_request=0s"]);
    run_slowly(&redis, &quiet, &[&["set", "k", "v"]], 0);
    assert_eq!(quiet.lines_with("slow request"), Vec::<Value>::new());
}

#[test]
fn the_level_changes_for_a_while_and_returns() {
    let service = Serving::start(&[]);
    let sets = || service.lines_with("set").len();
    service.client(&["set", "k", "v"]).assert_exit(0);
    assert_eq!(sets(), 0);
    let answer =
        service.client(&["log-level", "info,twintier=debug", "--for", "1h", "-o", "json"]).assert_exit(0).json();
    assert_eq!((&answer["level"], &answer["configured_level"]), (&"info,twintier=debug".into(), &"info".into()));
    let line = service.line_with("log level changed temporarily");
    assert_eq!((&line["lasts_ms"], &line["configured"]), (&3_600_000.0.into(), &"info".into()));
    service.client(&["set", "k", "v"]).assert_exit(0);
    assert_eq!(service.line_with("\"set\"")["outcome"], "stored");
    // The level is restored when its time ends, or by the next command.
    service.client(&["log-level", "info,twintier=debug", "--for", "1s"]).assert_exit(0);
    service.wait_for_log("log level restored");
    let before = sets();
    service.client(&["set", "k", "v"]).assert_exit(0);
    assert_eq!(sets(), before);
    let printed = service.client(&["log-level", "reset"]).assert_exit(0);
    assert_eq!(printed.text(), "info, as configured\n");
}

#[test]
fn an_invalid_level_is_refused_with_the_allowed_values() {
    let service = Serving::start(&[]);
    let refused = |args: &[&str]| service.client(&[&["log-level"], args].concat()).assert_exit(4).err;
    assert!(refused(&["loud"]).contains("level must be a level (off, error, warn, info, debug, trace)"));
    assert!(refused(&["debug", "--for", "25h"]).contains("lasts must be from 1s to 1d; was 1d1h"));
    assert!(refused(&["reset", "--for", "1h"]).contains("lasts must be absent without level"));
    service.client(&["log-level", "debug"]).assert_exit(0);
    service.client(&["log-level", "reset"]).assert_exit(0);
}
