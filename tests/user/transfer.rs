//! Export and import: exact round trips, rejected lines, retries and resumption.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::{CommandResult, Redis, Serving, free_port, run, twintier, wait_until};

/// Entries of every kind. Their times to live are long, so that none ends during a test.
const ENTRIES: [&str; 6] = [
    r#"{"namespace":"a","key":"text","value":"ö\n","content_type":"text/plain","ttl":"1h","soft_ttl":"30m"}"#,
    r#"{"namespace":"a","key":"bytes","value_base64":"/wA=","ttl":"1h","tags":["x","y"]}"#,
    r#"{"namespace":"a","key":"empty","value":"","ttl":"1h","source_version":18446744073709551615}"#,
    r#"{"namespace":"b","key":"absent","absent":true,"ttl":"1h"}"#,
    r#"{"namespace":"b","key":"sliding","value":"v","sliding":{"idle":"1h","max_ttl":"2h"}}"#,
    r#"{"namespace":"b","key":"forever","value":"v","no_expiry":true}"#,
];

fn import(service: &Serving, args: &[&str], lines: &str) -> CommandResult {
    service.client_with(&[&["import"], args].concat(), lines.as_bytes())
}

/// Exports lines, sorted.
fn export(service: &Serving, args: &[&str]) -> Vec<Value> {
    let exported = service.client(&[&["export"], args].concat()).assert_exit(0);
    let mut lines: Vec<Value> = exported.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = |line: &Value| format!("{} {}", line["namespace"], line["key"]);
    lines.sort_by_key(name);
    lines
}

/// Removes what differs after a round trip: the version, and the time that has passed.
fn without_times(lines: &[Value]) -> Vec<Value> {
    let stable = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove("version");
        for name in ["ttl", "soft_ttl", "sliding"] {
            if let Some(time) = line.get_mut(name) {
                *time = json!("present");
            }
        }
        line
    };
    lines.iter().map(stable).collect()
}

fn millis(text: &Value) -> u128 {
    twintier_duration(text.as_str().unwrap())
}

/// Reads a duration such as `59m59s998ms`.
fn twintier_duration(text: &str) -> u128 {
    twintier::units::parse_duration(text).unwrap().as_millis()
}

fn round_trip(from: &Serving, to: &Serving) {
    let stored = import(from, &[], &(ENTRIES.join("\n") + "\n")).assert_exit(0);
    assert_eq!((stored.text(), stored.err.as_str()), ("", "6 stored\n"));
    let first = export(from, &[]);
    let lines: String = first.iter().map(|line| format!("{line}\n")).collect();
    import(to, &[], &lines).assert_exit(0);
    let second = export(to, &[]);
    assert_eq!(without_times(&first), without_times(&second));
    assert_eq!(first.len(), 6);
    for (before, after) in first.iter().zip(&second) {
        for name in ["ttl", "soft_ttl"] {
            if !before[name].is_null() {
                assert!(millis(&after[name]) <= millis(&before[name]), "no life grows: {before} {after}");
            }
        }
    }
    let sliding = first.iter().find(|line| line["key"] == "sliding").unwrap();
    assert_eq!(sliding["sliding"]["idle"], "1h");
    assert!(millis(&sliding["sliding"]["max_ttl"]) > twintier_duration("1h"), "{sliding}");
    let bytes = first.iter().find(|line| line["key"] == "bytes").unwrap();
    assert_eq!((&bytes["value_base64"], &bytes["tags"]), (&json!("/wA="), &json!(["x", "y"])));
}

const ALLOW: [&str; 2] = ["--set", "cache.allow_no_expiry=true"];

#[test]
fn a_round_trip_without_redis_is_exact() {
    round_trip(&Serving::start(&ALLOW), &Serving::start(&ALLOW));
}

#[test]
fn a_round_trip_with_redis_is_exact() {
    let (one, other) = (Redis::start(), Redis::start());
    round_trip(&Serving::with_redis(&one, &ALLOW), &Serving::with_redis(&other, &ALLOW));
}

#[test]
fn an_export_writes_a_file_and_selects_entries() {
    let service = Serving::start(&ALLOW);
    import(&service, &[], &ENTRIES.join("\n")).assert_exit(0);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let summary = service.client(&["export", "--file", path, "-n", "a", "-n", "b", "-o", "json"]).assert_exit(0);
    let expected = json!({ "exported": 6, "restarts": 0, "skipped": 0, "withheld": 0 });
    assert_eq!(serde_json::from_str::<Value>(&summary.err).unwrap(), expected);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 6);
    let keys = |args: &[&str]| -> Vec<String> {
        export(&service, args).iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&["-n", "a"]), ["bytes", "empty", "text"]);
    assert_eq!(keys(&["--prefix", "sliding"]), ["sliding"]);
    let quiet = service.client(&["export", "--quiet"]).assert_exit(0);
    assert_eq!((quiet.err.as_str(), quiet.text().lines().count()), ("", 6));
    let absolute = export(&service, &["--absolute", "-n", "a"]);
    assert!(absolute.iter().all(|line| line["expire_at"].is_string() && line.get("ttl").is_none()), "{absolute:?}");
    let refused = service.client(&["export", "--cursor", "x"]).assert_exit(4);
    assert!(refused.err.contains("cursor must be the cursor of an earlier response; was \"x\""), "{}", refused.err);
}

#[test]
fn many_entries_take_many_calls_and_the_last_line_of_a_key_wins() {
    let service = Serving::start(&[]);
    let mut lines: String = (0..5000).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"v{n}\"}}\n")).collect();
    lines += &(0..100).map(|n| format!("{{\"key\":\"same\",\"value\":\"{n}\"}}\n")).collect::<String>();
    let stored = import(&service, &["-n", "many", "--size", "100"], &lines).assert_exit(0);
    assert_eq!(stored.err, "5,100 stored\n");
    assert_eq!(service.client(&["get", "same", "-n", "many"]).assert_exit(0).text(), "99");
    let exported = export(&service, &["-n", "many"]);
    assert_eq!(exported.len(), 5001);
    assert_eq!(service.client(&["get", "k4999", "-n", "many"]).assert_exit(0).text(), "v4999");
}

#[test]
fn a_rejected_line_is_named_with_its_field_value_and_limit() {
    let service = Serving::start(&[]);
    let lines = [
        r#"{"key":"a","value":"v"}"#,
        r#"{"key":"b","value":"v","ttl":"5"}"#,
        "",
        r#"{"key":"c","value":"v","ttl":"100d"}"#,
        r#"{"key":"d","value":"v"}"#,
    ];
    let stopped = import(&service, &[], &lines.join("\n")).assert_exit(4);
    for part in ["rejected  line 2  ttl ", "; was \"5\"", "continue with --from-line 1\n", "error: -: line 2 ttl "] {
        assert!(stopped.err.contains(part), "{part}: {}", stopped.err);
    }
    service.client(&["get", "d"]).assert_exit(1);

    let skipped = import(&service, &["--continue-on-error"], &lines.join("\n")).assert_exit(4);
    let limit = "rejected  line 4  ttl must be at most 30d (max_ttl); was 100d\n";
    assert!(skipped.err.contains(limit) && skipped.err.ends_with("2 rejected, 2 stored\n"), "{}", skipped.err);
    service.client(&["get", "d"]).assert_exit(0);

    let json = import(&service, &["--continue-on-error", "-o", "json"], &lines.join("\n")).assert_exit(4);
    let lines: Vec<Value> = json.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["line"], &lines[1]["line"]), (3, &json!(2), &json!(4)));
    assert_eq!(lines[2], json!({ "done_to_line": 5, "rejected": 2, "stored": 2 }));
}

#[test]
fn a_dry_run_checks_lines_and_stores_nothing() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let dry = |lines: &[u8]| run(&mut twintier(&["import", "--dry-run", "--server", &nowhere]), lines);
    assert_eq!(dry(b"{\"key\":\"a\",\"value\":\"v\"}\n").assert_exit(0).err, "1 valid\n");
    let refused = dry(b"{\"key\":\"a\",\"value\":1}\n").assert_exit(4);
    assert!(refused.err.contains("line 1 value must be text; was 1"), "{}", refused.err);
}

#[test]
fn entries_that_are_present_or_have_ended_are_kept_apart() {
    let service = Serving::start(&[]);
    service.client(&["set", "a", "old"]).assert_exit(0);
    let lines = [
        r#"{"key":"a","value":"new"}"#,
        r#"{"key":"b","value":"new"}"#,
        r#"{"key":"c","value":"v","expire_at":"2020-01-01T00:00:00Z"}"#,
    ];
    let kept = import(&service, &["--if-absent"], &lines.join("\n")).assert_exit(0);
    assert_eq!(kept.err, "1 already_present, 1 expired, 1 stored\n");
    assert_eq!(service.client(&["get", "a"]).assert_exit(0).text(), "old");
    let refused = import(&service, &[], r#"{"key":"a","value":"new","if_absent":true}"#).assert_exit(1);
    assert_eq!(refused.err, "already_present  line 1  a\n1 already_present\n");
}

#[test]
fn an_import_continues_from_a_line() {
    let service = Serving::start(&[]);
    let lines: String = (1..=9).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"v\"}}\n")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let path = file.path().to_str().unwrap();
    let stored = service.client(&["import", path, "--from-line", "8"]).assert_exit(0);
    assert_eq!(stored.err, "2 stored\n");
    service.client(&["get", "k7"]).assert_exit(1);
    service.client(&["get", "k8"]).assert_exit(0);
}

#[test]
fn an_import_waits_for_a_service_that_is_away() {
    let address = format!("127.0.0.1:{}", free_port());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"key\":\"a\",\"value\":\"v\"}\n").unwrap();
    let path = file.path().to_str().unwrap();
    let failed = run(&mut twintier(&["import", path, "--retries", "1", "--server", &address]), b"").assert_exit(3);
    let stopped = "stopped: the lines before 1 are done; continue with --from-line 1\n";
    assert!(failed.err.contains(stopped) && failed.err.contains("UNAVAILABLE"), "{}", failed.err);
    let mut early = twintier(&["import", path, "--retries", "10000", "--server", &address]);
    let mut early = early.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let service = Serving::spawn(twintier(&["--listen", &address]));
    assert!(early.wait().unwrap().success());
    assert_eq!(service.client(&["get", "a"]).assert_exit(0).text(), "v");
}

#[test]
fn an_export_waits_for_redis_that_is_away() {
    let mut redis = Redis::start();
    let service = Serving::with_redis(&redis, &["--set", "redis.read_timeout=200ms"]);
    service.client(&["set", "k", "v", "--no-expiry"]).assert_exit(4);
    service.client(&["set", "k", "v"]).assert_exit(0);
    redis.freeze();
    let failed = service.client(&["export", "--retries", "1"]).assert_exit(3);
    assert!(failed.err.starts_with("stopped: 0 entries are written\n"), "{}", failed.err);
    let mut waiting = twintier(&["export", "--retries", "10000", "--server", &service.address]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    redis.thaw();
    let done = waiting.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8(done.stdout).unwrap().contains(r#""key":"k""#));
    redis.kill();
    wait_until("the export fails", || service.client(&["export", "--retries", "0"]).code == Some(3));
}
