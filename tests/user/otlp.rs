//! Export by OTLP as the environment requests it, and its log lines on failure.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::process::{Serving, free_port, twintier, wait_until};

/// Starts the program with these environment variables.
fn serve(variables: &[(&str, &str)]) -> Serving {
    let mut command = twintier(&["--listen", "127.0.0.1:0"]);
    command.envs(variables.iter().copied());
    Serving::spawn(command)
}

/// Answers every request with 200.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        stream.read_exact(&mut vec![0; length])?;
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

#[test]
fn an_unreachable_collector_is_logged_once_and_again_when_it_recovers() {
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut service =
        serve(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint), ("OTEL_METRIC_EXPORT_INTERVAL", "50")]);
    service.wait_for_log("telemetry cannot be sent");
    // The program logs the failure once: a Set and a Get take longer than several attempts.
    service.client(&["set", "k", "v"]).assert_exit(0);
    service.client(&["get", "k"]).assert_exit(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| _ = thread::spawn(|| answer(stream))));
    service.wait_for_log("telemetry is sent again");
    let logged = service.log().iter().filter(|line| line.contains("telemetry cannot be sent")).count();
    assert_eq!(logged, 1, "{:?}", service.log());
    service.signal("INT");
    assert_eq!(service.wait_for_exit().0, Some(0));
}

#[test]
fn invalid_variables_are_logged_with_their_fallback() {
    let service = serve(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_SDK_DISABLED", "perhaps"),
        ("OTEL_METRICS_EXPORTER", "otlp,statsd"),
    ]);
    let logged =
        |variable: &str| service.log().iter().any(|line| line.contains(variable) && line.contains("cannot be used"));
    wait_until("each variable is named", || {
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_METRICS_EXPORTER"].into_iter().all(logged)
    });
    assert!(service.wait_for_log("OTEL_EXPORTER_OTLP_ENDPOINT").contains("has no scheme"));
}
