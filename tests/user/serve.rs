//! Start of the service: configuration, log lines, refusals.

use std::io::{Read as _, Write as _};

use tempfile::NamedTempFile;

use crate::process::{Serving, run, twintier};

fn file(extension: &str, text: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn l1_size(service: &Serving) -> u64 {
    service.client(&["stats", "-o", "json"]).assert_exit(0).json()["l1"]["max_bytes"].as_u64().unwrap()
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = file(".toml", "[server]\nlisten = '127.0.0.1:0'\n[l1]\nsize = '16MiB'\n");
    let path = file.path().to_str().unwrap();
    let from_file = Serving::spawn(twintier(&["serve", "--config", path]));
    assert_eq!(l1_size(&from_file), 16 << 20);
    let command = |args: &[&str]| {
        let mut command = twintier(args);
        command.env("TWINTIER_CONFIG", path).env("TWINTIER_L1_SIZE", "32MiB");
        command
    };
    assert_eq!(l1_size(&Serving::spawn(command(&[]))), 32 << 20);
    assert_eq!(l1_size(&Serving::spawn(command(&["--set", "l1.size=64MiB"]))), 64 << 20);
}

#[test]
fn yaml_and_one_variable_per_setting_work_too() {
    let file = file(".yaml", "l1:\n  size: 16MiB\nnamespaces:\n  users:\n    default_ttl: 30s\n    max_ttl: 1m\n");
    let mut command = twintier(&["--config", file.path().to_str().unwrap()]);
    command.env("TWINTIER_SERVER_LISTEN", "127.0.0.1:0");
    let service = Serving::spawn(command);
    assert_eq!(l1_size(&service), 16 << 20);
    service.client(&["set", "key", "value", "--ttl", "2m", "--namespace", "users"]).assert_exit(4);
    service.client(&["set", "key", "value", "--ttl", "2m"]).assert_exit(0);
}

#[test]
fn every_problem_is_reported_at_once_without_secrets() {
    let file = file(
        ".toml",
        "[server]\nlistn = 'x'\n[l1]\nsize = '1'\n[redis]\nurl = 'redis://:hunter2@h:99999'\npassword = 7\n",
    );
    let path = file.path().to_str().unwrap();
    for args in [&["config", "check", "--config", path][..], &["--config", path], &["config", "show", "--config", path]]
    {
        let ran = run(&mut twintier(args), b"").assert_exit(2);
        assert!(ran.err.contains("4 problems in the configuration"), "{}", ran.err);
        for problem in ["server.listn: unknown key; did you mean server.listen?", "l1.size: ", "redis.url: "] {
            assert!(ran.err.contains(problem), "{problem}: {}", ran.err);
        }
        assert!(!ran.err.contains("hunter2") && ran.out.is_empty(), "{}", ran.err);
    }
}

#[test]
fn a_misspelt_variable_is_refused_with_the_nearest_name() {
    let ran = run(twintier(&["config", "check"]).env("TWINTIER_L1_SISE", "1GiB"), b"").assert_exit(2);
    assert!(ran.err.contains("did you mean TWINTIER_L1_SIZE?"), "{}", ran.err);
}

#[test]
fn the_configuration_in_force_is_shown_with_its_origins_and_without_secrets() {
    let command = |args: &[&str]| {
        let mut command = twintier(&[&["config", "show", "--redis-url", "redis://user:hunter2@cache"], args].concat());
        command.env("REDIS_PASSWORD", "hunter3");
        run(&mut command, b"").assert_exit(0)
    };
    let shown = command(&["-o", "json"]);
    assert!(!shown.text().contains("hunter"), "{}", shown.text());
    let document = shown.json();
    assert_eq!(document["redis.password"]["value"], "<redacted>");
    assert_eq!(document["redis.password"]["origin"], "environment REDIS_PASSWORD");
    assert_eq!(document["l1.size"]["origin"], "default");
    assert!(!command(&[]).text().contains("hunter"));
    assert_eq!(run(&mut twintier(&["config", "check"]), b"").assert_exit(0).text(), "the configuration is valid\n");
}

#[test]
fn a_port_in_use_is_named() {
    let service = Serving::start(&[]);
    let ran = run(&mut twintier(&["serve", "--listen", &service.address]), b"").assert_exit(1);
    let expected = format!("server.listen {}: Address already in use", service.address);
    assert!(ran.err.contains(&expected), "{}", ran.err);
}

#[test]
fn the_dashboard_is_named_at_the_start_and_served() {
    let service = Serving::start(&[]);
    let line: serde_json::Value = serde_json::from_str(&service.wait_for_log("admin server listening")).unwrap();
    let address = line["dashboard"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<title>twintier</title>"), "{page}");
}

#[test]
fn standalone_mode_is_logged_at_the_start() {
    let alone = Serving::start(&[]);
    assert!(alone.wait_for_log("L1 only").contains(r#""level":"WARN""#));
    alone.client(&["health", "l1-only"]).assert_exit(0);
}

#[test]
fn logs_are_json_for_programs_and_text_for_people() {
    let (auto, human) = (Serving::start(&[]), Serving::start(&["--set", "log.format=human"]));
    for line in auto.log() {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(line["timestamp"].is_string() && line["message"].is_string(), "{line}");
    }
    let line = human.wait_for_log("twintier serves");
    assert!(line.contains(" INFO ") && !line.contains('\u{1b}') && !line.starts_with('{'), "{line}");
}

#[test]
fn keys_stay_out_of_the_log_unless_configured() {
    let log_of = |keys: &str| {
        let service = Serving::start(&["--set", "log.level=debug", "--set", &format!("log.keys={keys}")]);
        service.client(&["set", "alices-diary", "secret-value"]).assert_exit(0);
        service.wait_for_log(r#""message":"set""#);
        service.log().join("\n")
    };
    let (hashed, clear) = (log_of("hashed"), log_of("clear"));
    assert!(!hashed.contains("alices-diary") && clear.contains("alices-diary"), "{hashed}\n{clear}");
    assert!(!hashed.contains("secret-value") && !clear.contains("secret-value"));
}

#[test]
fn a_client_without_grpc_gets_an_explanation() {
    let service = Serving::start(&[]);
    let mut stream = std::net::TcpStream::connect(&service.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The connection may end in a reset, because the service has not read all of the request.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("gRPC"), "{answer}");
}
