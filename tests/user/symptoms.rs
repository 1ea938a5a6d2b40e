//! Symptoms of docs/troubleshooting.md: each is provoked and observed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use crate::doc_page::DocPage;
use crate::process::{Redis, Serving, free_port, run, twintier, wait_until};

/// A section of the page, compared with real output.
struct Symptom(String);

impl Symptom {
    fn of(heading: &str) -> Symptom {
        let page = DocPage::read(Path::new("docs/troubleshooting.md"));
        // A phrase may span lines.
        Symptom(page.section(heading).split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Asserts that the page names `phrases`, and that the output contains them.
    #[track_caller]
    fn assert_documented(&self, output: &str, phrases: &[&str]) {
        for phrase in phrases {
            assert!(self.0.contains(phrase), "the page does not contain {phrase:?}");
            assert!(output.contains(phrase), "no {phrase:?} in\n{output}");
        }
    }
}

/// All output of a command.
fn output_of(service: &Serving, args: &[&str], code: i32) -> String {
    let ran = service.client(args).assert_exit(code);
    format!("{}{}", ran.text(), ran.err)
}

fn set(path_and_value: &str) -> [&str; 2] {
    ["--set", path_and_value]
}

#[test]
fn the_documented_symptoms_of_a_frozen_redis_appear() {
    let redis = Redis::start();
    let quick = ["redis.unresponsive_after=300ms", "redis.connect_timeout=1s"];
    let service = Serving::with_redis(&redis, quick.map(set).as_flattened());
    redis.signal("STOP");
    let page = Symptom::of("Redis timeouts");
    page.assert_documented(
        &service.wait_for_log("redis does not answer"),
        &["redis: commands do not work; answering from memory, refusing writes"],
    );
    service.wait_for_log("redis did not answer within");
    page.assert_documented(&output_of(&service, &["stats"], 0), &["unavailable"]);
    page.assert_documented(&output_of(&service, &["get", "key"], 1), &["miss: unavailable"]);
    Symptom::of("Writes fail")
        .assert_documented(&output_of(&service, &["set", "key", "value"], 3), &["not connected to redis"]);
    redis.signal("CONT");
    service.wait_for_health("redis");
}

#[test]
fn the_breaker_opens_and_closes_as_documented() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &set("redis.unresponsive_after=2s"));
    let page = Symptom::of("Redis timeouts");
    redis.signal("STOP");
    // The warning appears when the breaker of the last connection opens.
    let line = service.wait_for_log("redis: commands do not work");
    page.assert_documented(
        &line,
        &["redis does not answer", "redis: commands do not work; answering from memory, refusing writes"],
    );
    let refused = service.client(&["set", "key", "value", "-o", "json"]).assert_exit(3);
    page.assert_documented(&format!("{}{}", refused.text(), refused.err), &["redis does not answer"]);
    assert!(!refused.err.contains("outcome_unknown_for"), "it was not sent: {}", refused.err);
    redis.signal("CONT");
    page.assert_documented(&service.wait_for_log("redis: commands work"), &["redis: commands work"]);
    service.wait_for_health("redis");
    service.client(&["set", "key", "value"]).assert_exit(0);
    let stats = service.client(&["stats", "-o", "json"]).assert_exit(0).json();
    assert_eq!(stats["redis"]["reconnects"].as_u64(), Some(0), "the same connections are used: {stats}");
}

#[test]
fn the_documented_symptoms_of_a_missing_redis_appear() {
    let page = Symptom::of("Redis timeouts");
    let refusing = format!("redis://127.0.0.1:{}", free_port());
    for (url, why) in
        [(&refusing[..], "Connection refused"), ("redis://no.such.invalid", "failed to lookup address information")]
    {
        let service = Serving::start(&["--redis-url", url]);
        let line = service.wait_for_log("redis: commands do not work");
        page.assert_documented(&line, &[why, "why"]);
        page.assert_documented(&output_of(&service, &["stats"], 0), &[why, "unavailable"]);
        service.client(&["health", "redis"]).assert_exit(1);
    }
}

#[test]
fn the_documented_symptoms_of_a_full_redis_appear() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "noeviction"]);
    let page = Symptom::of("Writes fail");
    page.assert_documented(&output_of(&service, &["set", "key", "value"], 4), &["the shared tier is full", "L2_FULL"]);
    service.client(&["invalidate", "key"]).assert_exit(0);
}

#[test]
fn the_documented_symptoms_of_a_missing_right_appear() {
    let redis = Redis::start();
    redis.cli(&["ACL", "SETUSER", "default", "resetchannels"]);
    // Long timeouts for a loaded machine.
    let patient = ["redis.unresponsive_after=10s", "redis.write_timeout=10s"];
    let url = redis.url();
    let service = Serving::start(&[&["--redis-url", url.as_str()], patient.map(set).as_flattened()].concat());
    let page = Symptom::of("A replica is never proven");
    let line = service.wait_for_log("redis: subscription not proven");
    // Redis refuses the subscription and the publishing script at about the same time, with
    // different errors.
    let why = if line.contains("NOPERM") { "NOPERM" } else { "can't publish to the channel" };
    page.assert_documented(&line, &[why, "memory answers as fresh no longer than its last proof lasts"]);
    page.assert_documented(&output_of(&service, &["stats"], 0), &["degraded", "0 of 64 partitions proven"]);
    page.assert_documented(&output_of(&service, &["health", "redis"], 1), &["NOT_SERVING"]);
    let refused = output_of(&service, &["set", "key", "value"], 3);
    Symptom::of("Writes fail").assert_documented(&refused, &["redis refuses this service's user"]);
}

#[test]
fn the_documented_symptoms_of_another_partition_count_appear() {
    let redis = Redis::start();
    let _deployment = Serving::with_redis(&redis, &[]);
    let url = redis.url();
    let args = ["--listen", "127.0.0.1:0", "--redis-url", &url, "--set", "coherence.partitions=32"];
    let service = Serving::listening(twintier(&args));
    let page = Symptom::of("Readiness fails");
    let why = "redis holds a deployment of 64 partitions under this prefix, this replica is configured for 32";
    page.assert_documented(&service.wait_for_log("does not serve"), &["this replica does not serve", why]);
    page.assert_documented(&output_of(&service, &["health"], 1), &["NOT_SERVING"]);
    page.assert_documented(&output_of(&service, &["health", "liveness"], 0), &["SERVING"]);
    page.assert_documented(&output_of(&service, &["stats"], 0), &[why]);
    let refused = output_of(&service, &["set", "key", "value"], 3);
    Symptom::of("Writes fail").assert_documented(&refused, &["this replica does not serve", "REPLICA_HALTED"]);
}

#[test]
fn the_documented_symptoms_of_a_drain_appear() {
    let service = Serving::start(&[]);
    service.client(&["drain", "on"]).assert_exit(0);
    let page = Symptom::of("Readiness fails");
    let line = service.wait_for_log("drain switched on");
    page.assert_documented(&line, &["drain switched on: readiness reports NOT_SERVING"]);
    wait_until("readiness fails", || service.client(&["health"]).code == Some(1));
    service.client(&["drain", "off"]).assert_exit(0);
    service.wait_for_health("readiness");
}

#[test]
fn the_documented_symptoms_of_few_hits_appear() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &set("namespaces.small.max_bytes=1KiB"));
    let page = Symptom::of("Hits do not rise");
    page.assert_documented(&output_of(&service, &["get", "absent"], 1), &["miss: absent"]);
    page.assert_documented(
        &output_of(&service, &["stats"], 0),
        &["MISS", "SETS", "COND", "INVAL", "DEGR", "for size", "expired", "evicted"],
    );
    for key in ["a", "b", "c"] {
        service.client_with(&["set", "-n", "small", key, "--stdin"], &[7; 2000]).assert_exit(0);
    }
    let stats = service.client(&["stats", "-n", "small", "-o", "json"]).assert_exit(0).json();
    page.assert_documented(&stats.to_string(), &["over_quota"]);
    assert_eq!(stats["namespaces"][0]["over_quota"].as_u64(), Some(3), "{stats}");
    service.client(&["policy", "set", "-n", "off", "enabled=false"]).assert_exit(0);
    page.assert_documented(&output_of(&service, &["get", "-n", "off", "key"], 1), &["miss: disabled"]);
}

#[test]
fn the_documented_symptoms_of_limits_appear() {
    let settings = ["limits.namespaces=1", "namespaces.slow.max_requests_per_second=1"];
    let service = Serving::start(settings.map(set).as_flattened());
    let page = Symptom::of("Too late, or too much");
    let mut refused = String::new();
    wait_until("the limit is exceeded", || {
        let ran = service.client(&["get", "-n", "slow", "key"]);
        refused = ran.err;
        ran.code == Some(4)
    });
    page.assert_documented(&refused, &["max_requests_per_second limit of"]);
    let stats = service.client(&["stats", "-n", "slow", "-o", "json"]).assert_exit(0).json();
    page.assert_documented(&stats.to_string(), &["throttled"]);
    assert!(stats["namespaces"][0]["throttled"].as_u64() > Some(0), "{stats}");
    service.client(&["set", "key", "value"]).assert_exit(0);
    page.assert_documented(&output_of(&service, &["set", "-n", "third", "key", "value"], 4), &["namespaces limit of"]);
    let large = service.client_with(&["set", "key", "--stdin"], &vec![7; 5 << 20]).assert_exit(4);
    page.assert_documented(&large.err, &["message size limit of"]);
}

#[test]
fn the_documented_symptoms_of_a_wrong_port_appear() {
    let page = Symptom::of("Connection refused, or this port speaks gRPC");
    let unused = format!("127.0.0.1:{}", free_port());
    let ran = run(&mut twintier(&["get", "key", "--server", &unused]), b"").assert_exit(3);
    page.assert_documented(&ran.err, &["Connection refused"]);
    let service = Serving::start(&[]);
    let mut stream = TcpStream::connect(&service.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    page.assert_documented(&answer, &["This port speaks gRPC (HTTP/2 without TLS)."]);
}
