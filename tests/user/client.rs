//! Client commands against a running service.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::json;

use crate::process::{CommandResult, Redis, Serving, free_port, run, twintier, wait_until};

#[test]
fn a_value_comes_from_an_argument_a_file_or_standard_input() {
    let service = Serving::start(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file\n").unwrap();
    service.client(&["set", "argument", "from an argument"]).assert_exit(0);
    service.client(&["set", "file", "--file", file.path().to_str().unwrap()]).assert_exit(0);
    service.client_with(&["set", "stdin", "--stdin"], b"from standard input").assert_exit(0);
    service.client_with(&["set", "dash", "-"], b"from a dash").assert_exit(0);
    assert_eq!(service.client(&["get", "argument"]).assert_exit(0).text(), "from an argument");
    assert_eq!(service.client(&["get", "file"]).assert_exit(0).text(), "from a file\n");
    assert_eq!(service.client(&["get", "stdin"]).assert_exit(0).text(), "from standard input");
    assert_eq!(service.client(&["get", "dash"]).assert_exit(0).text(), "from a dash");
}

#[test]
fn a_value_of_any_bytes_is_returned_unchanged() {
    let service = Serving::start(&[]);
    let value: Vec<u8> = (0..=255u8).cycle().take(512 * 1024).collect();
    service.client_with(&["set", "bytes", "--stdin", "--content-type", "image/png"], &value).assert_exit(0);
    assert_eq!(service.client(&["get", "bytes"]).assert_exit(0).out, value);
    service.client_with(&["set", "empty", "--stdin"], b"").assert_exit(0);
    assert_eq!(service.client(&["get", "empty"]).assert_exit(0).out, b"");
    let shown = service.client(&["get", "bytes", "-o", "json"]).assert_exit(0).json();
    assert_eq!((shown["value"].as_str(), shown["content_type"].as_str()), (None, Some("image/png")));
    assert!(shown["value_base64"].as_str().unwrap().starts_with("AAECAwQF"));
}

#[test]
fn every_command_prints_json() {
    let service = Serving::start(&[]);
    let set = service.client(&["set", "key", "value", "-o", "json"]).assert_exit(0).json();
    assert_eq!(set["outcome"], "stored");
    let get = service.client(&["get", "key", "-o", "json"]).assert_exit(0).json();
    assert_eq!((&get["value"], &get["version"], &get["tier"]), (&json!("value"), &set["version"], &json!("l1")));
    let stats = service.client(&["stats", "-o", "json"]).assert_exit(0).json();
    assert_eq!(stats["replica"]["l1_only"], true);
    let removed = service.client(&["invalidate", "key", "other", "-o", "json"]).assert_exit(0).json();
    assert_eq!(removed["removed"], 1);
    assert_eq!(service.client(&["invalidate", "--all", "-o", "json"]).assert_exit(0).json()["removed"], json!(null));
    assert_eq!(service.client(&["get", "key", "-o", "json"]).assert_exit(1).json()["reason"], "absent");
    assert_eq!(service.client(&["health", "-o", "json"]).assert_exit(0).json()["status"], "SERVING");
}

#[test]
fn an_invalidation_in_several_namespaces_lists_them() {
    let service = Serving::start(&[]);
    let store = || {
        for namespace in ["a", "b"] {
            service.client(&["set", "user:7", "v", "--tag", "user:7", "--namespace", namespace]).assert_exit(0);
        }
    };
    let gone = |namespace: &str| _ = service.client(&["get", "user:7", "--namespace", namespace]).assert_exit(1);
    store();
    let text = service.client(&["invalidate", "--namespaces", "a,b", "--tag", "user:7"]).assert_exit(0);
    assert_eq!(text.text(), "removed    all that was selected\nnamespace  a\nnamespace  b\n");
    gone("a");
    gone("b");
    store();
    let all =
        service.client(&["invalidate", "--all-namespaces", "--prefix", "user:7", "-o", "json"]).assert_exit(0).json();
    let names: Vec<_> = all["namespaces"].as_array().unwrap().iter().map(|done| done["namespace"].clone()).collect();
    assert_eq!(names, ["a", "b", "default"]);
    gone("a");
    gone("b");
    store();
    let counted = service.client(&["invalidate", "user:7", "--namespaces", "b,a"]).assert_exit(0);
    assert_eq!(counted.text(), "removed    2\nnamespace  a: 1\nnamespace  b: 1\n");
    service.client(&["invalidate", "user:7", "--namespaces", "a", "--all-namespaces"]).assert_exit(2);
    let both = service.client(&["invalidate", "--all", "--namespaces", "a", "--namespace", "b"]).assert_exit(4);
    assert!(both.err.contains("namespace must be empty with namespaces; was \"b\""), "{}", both.err);
}

#[test]
fn health_waits_for_the_service_until_its_timeout() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut early = twintier(&["health", "readiness", "--wait", "60s", "--server", &address]);
    let mut early = early.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let unused = run(&mut twintier(&["health", "--wait", "300ms", "--server", &address]), b"").assert_exit(3);
    assert!(unused.err.contains(&address), "{}", unused.err);
    assert!(early.try_wait().unwrap().is_none(), "the fetch continues after another caller disconnected");
    let service = Serving::spawn(twintier(&["--listen", &address]));
    assert!(early.wait().unwrap().success());
    assert_eq!(service.client(&["health", "redis", "--wait", "300ms"]).assert_exit(1).text(), "NOT_SERVING\n");
    assert_eq!(service.client(&["health", "l1-only", "--wait", "300ms"]).assert_exit(0).text(), "SERVING\n");
}

#[test]
fn exit_codes_distinguish_yes_no_usage_unavailable_and_error() {
    let service = Serving::start(&[]);
    let version = service.client(&["set", "key", "1", "-o", "json"]).assert_exit(0).json()["version"].clone();
    let version = version.as_str().unwrap();
    service.client(&["set", "key", "2", "--if-version", version]).assert_exit(0);
    // Exit code 1: no.
    service.client(&["set", "key", "3", "--if-version", version]).assert_exit(1);
    service.client(&["set", "key", "3", "--if-absent"]).assert_exit(1);
    service.client(&["set", "nothing", "3", "--if-present"]).assert_exit(1);
    let missed = service.client(&["get", "nothing"]).assert_exit(1);
    assert_eq!((missed.text(), missed.err.as_str()), ("", "miss: absent\n"));
    service.client(&["set", "absent", "--absent"]).assert_exit(0);
    assert_eq!(service.client(&["get", "absent"]).assert_exit(1).err, "negative: known to be absent\n");
    service.client(&["health", "redis"]).assert_exit(1);
    // Exit code 2: usage.
    service.client(&["get"]).assert_exit(2);
    service.client(&["set", "key"]).assert_exit(2);
    service.client(&["invalidate", "key", "--all"]).assert_exit(2);
    // Exit code 4: another error.
    let refused = service.client(&["get", "key", "--namespace", "No!"]).assert_exit(4);
    assert!(refused.err.starts_with("error: INVALID_ARGUMENT: "), "{}", refused.err);
    let refused = service.client(&["set", "key", "value", "--ttl", "100days"]).assert_exit(4);
    assert!(refused.err.contains("INVALID_REQUEST") && refused.err.contains("max_ttl"), "{}", refused.err);
    service.client(&["set", "key", "--file", "/nowhere/value"]).assert_exit(4);
    service.client(&["health", "unknown"]).assert_exit(4);
}

#[test]
fn a_batch_of_any_length_is_cut_into_calls() {
    let service = Serving::start(&[]);
    let entries: String = (0..1200).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"v{n}\"}}\n")).collect();
    let stored = service.client_with(&["batch", "set", "-"], entries.as_bytes()).assert_exit(0);
    assert_eq!((stored.text(), stored.err.as_str()), ("", "1,200 stored\n"));
    let keys: String = (0..1200).map(|n| format!("k{n}\n")).collect();
    let read = service.client_with(&["batch", "get", "--file", "-", "-o", "json"], keys.as_bytes()).assert_exit(0);
    assert_eq!(read.text().lines().count(), 1200);
    let shown = service.client_with(&["batch", "get", "--file", "-", "--show-token"], keys.as_bytes()).assert_exit(0);
    assert_eq!(shown.text().lines().count(), 1201, "one line of heads");
    assert!(shown.err.starts_with("token  "), "{}", shown.err);
    let removed = service.client_with(&["batch", "invalidate", "--file", "-"], keys.as_bytes()).assert_exit(0);
    assert_eq!(removed.text().matches("removed").count(), 1200);
}

#[test]
fn a_bad_line_ends_a_batch_or_is_skipped() {
    let service = Serving::start(&[]);
    let entry = |key: &str| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}\n");
    let lines = format!("{}{}not JSON\n{}", entry("a"), entry("b"), entry("c"));
    let stopped = service.client_with(&["batch", "set", "-"], lines.as_bytes()).assert_exit(4);
    assert!(stopped.err.starts_with("2 stored\nstopped: lines 1 to 2 are done"), "{}", stopped.err);
    assert!(stopped.err.contains("error: -: line 3 is not JSON"), "{}", stopped.err);
    service.client(&["get", "b"]).assert_exit(0);
    service.client(&["get", "c"]).assert_exit(1);
    let skipped = service.client_with(&["batch", "set", "-", "--continue-on-error"], lines.as_bytes()).assert_exit(4);
    assert!(skipped.text().starts_with("rejected  line 3 is not JSON"), "{}", skipped.text());
    assert_eq!(skipped.err, "1 rejected, 3 stored\n");
    service.client(&["get", "c"]).assert_exit(0);
}

#[test]
fn a_long_token_is_printed_on_request_only() {
    let service = Serving::start(&[]);
    for args in [&["invalidate", "--all"][..], &["invalidate", "--tag", "t"], &["invalidate", "a", "b"]] {
        assert!(!service.client(args).assert_exit(0).text().contains("token"), "{args:?}");
        assert!(
            service.client(&[args, &["--show-token"]].concat()).assert_exit(0).text().contains("token  "),
            "{args:?}"
        );
        assert!(
            service.client(&[args, &["-o", "json"]].concat()).assert_exit(0).json()["token"].is_string(),
            "{args:?}"
        );
    }
}

#[test]
fn errors_are_json_if_output_is_json() {
    let service = Serving::start(&[]);
    let refused = service.client(&["get", "key", "--namespace", "No!", "-o", "json"]).assert_exit(4);
    let error: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(error["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(error["error"]["violations"][0]["field"], "namespace");
}

#[test]
fn a_port_that_does_not_speak_grpc_is_named_as_such() {
    let redis = Redis::start();
    let server = redis.url().replace("redis://", "");
    let ran = run(&mut twintier(&["get", "key", "--server", &server]), b"").assert_exit(3);
    assert!(ran.err.starts_with("error: UNAVAILABLE: the server "), "{}", ran.err);
    assert!(ran.err.contains("gRPC without TLS (HTTP/2)"), "{}", ran.err);
}

#[test]
fn a_negative_duration_is_named() {
    let service = Serving::start(&[]);
    let refused = service.client(&["set", "key", "value", "--ttl", "-5s"]).assert_exit(2);
    assert!(refused.err.contains("must be a duration, such as 250ms, 2s, 5m or 1h30m"), "{}", refused.err);
}

#[test]
fn the_version_names_the_revision() {
    let ran = run(&mut twintier(&["--version"]), b"").assert_exit(0);
    assert!(ran.text().starts_with(&format!("twintier {} (revision ", env!("CARGO_PKG_VERSION"))), "{}", ran.text());
}

#[test]
fn an_unreachable_service_is_named() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for args in [&["get", "key"][..], &["set", "key", "value"], &["invalidate", "key"], &["stats"], &["health"]] {
        let ran = run(twintier(args).env("TWINTIER_SERVER", &unused), b"").assert_exit(3);
        assert!(ran.err.starts_with("error: UNAVAILABLE") && ran.err.contains(&unused), "{}", ran.err);
    }
    // The server accepts and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let ran = run(&mut twintier(&["get", "key", "--server", &server, "--timeout", "200ms"]), b"").assert_exit(3);
    assert!(ran.err.contains("DEADLINE_EXCEEDED: no answer within 200ms"), "{}", ran.err);
}

#[test]
fn server_and_namespace_come_from_the_environment() {
    let service = Serving::start(&[]);
    let command = |args: &[&str]| {
        let mut command = twintier(args);
        command.env("TWINTIER_SERVER", &service.address).env("TWINTIER_NAMESPACE", "users");
        run(&mut command, b"")
    };
    command(&["set", "key", "value"]).assert_exit(0);
    assert_eq!(command(&["get", "key"]).assert_exit(0).text(), "value");
    command(&["get", "key", "--namespace", "default"]).assert_exit(1);
    let stats = command(&["stats", "-o", "json"]).assert_exit(0).json();
    assert_eq!(stats["namespaces"][0]["namespace"], "users");
    command(&["invalidate", "--all"]).assert_exit(0);
    command(&["get", "key"]).assert_exit(1);
}

#[test]
fn two_replicas_share_entries_and_invalidations() {
    let redis = Redis::start();
    let (one, two) = (Serving::with_redis(&redis, &[]), Serving::with_redis(&redis, &[]));
    let tier = |ran: CommandResult| ran.assert_exit(0).json()["tier"].as_str().unwrap().to_owned();

    one.client(&["set", "key", "value"]).assert_exit(0);
    assert_eq!(two.client(&["get", "key"]).assert_exit(0).text(), "value");
    assert_eq!(tier(two.client(&["get", "key", "-o", "json"])), "l1");
    assert_eq!(tier(two.client(&["get", "key", "--strong", "-o", "json"])), "l2");

    // A Get with the token returns nothing older, at any replica.
    let token = one.client(&["invalidate", "key", "-o", "json"]).assert_exit(0).json()["token"].clone();
    two.client(&["get", "key", "--token", token.as_str().unwrap()]).assert_exit(1);
    let table = two.client(&["stats"]).assert_exit(0);
    assert!(table.text().contains("64 of 64 partitions proven"), "{}", table.text());
}

#[test]
fn reads_continue_and_writes_fail_with_retry_info_without_redis() {
    let mut redis = Redis::start();
    let hurried = ["--set", "cache.stale_window=1m", "--set", "coherence.max_staleness=1s"];
    let service = Serving::with_redis(&redis, &hurried);
    service.client(&["set", "key", "value"]).assert_exit(0);
    redis.kill();
    wait_until("the outage is reported", || service.client(&["health", "redis"]).code == Some(1));

    let refused = service.client(&["set", "key", "other"]).assert_exit(3);
    assert!(refused.err.contains("L2_UNAVAILABLE") && refused.err.contains("retry after"), "{}", refused.err);
    service.client(&["invalidate", "key"]).assert_exit(3);
    service.client(&["get", "key", "--strong"]).assert_exit(3);
    assert_eq!(service.client(&["get", "never seen"]).assert_exit(1).err, "miss: unavailable\n");
    let flagged =
        || service.client(&["get", "key", "-o", "json"]).assert_exit(0).json()["stale"]["reason"] == "unproven";
    wait_until("the value is flagged stale", flagged);
    for name in ["", "liveness", "readiness"] {
        service.client(&["health", name]).assert_exit(0);
    }

    redis.restart();
    service.wait_for_health("redis");
    service.client(&["get", "key"]).assert_exit(1);
    service.client(&["set", "key", "after"]).assert_exit(0);
    assert_eq!(service.client(&["get", "key"]).assert_exit(0).text(), "after");
}
