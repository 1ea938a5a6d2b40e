//! Errors of client commands, as text and as exit codes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::args::OutputFormat;
use super::credential_args::Encryption;
use super::units;

/// Error of a client command.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The call failed.
    Call { server: String, encryption: Encryption, status: Box<Status> },
    /// Flags that cannot be used, or a file that one of them names.
    Usage(String),
    /// Reading or writing a file, standard input or standard output failed.
    Io { what: String, error: io::Error },
}

// === impl Failure ===

impl CliError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CliError {
        let what = what.into();
        move |error| CliError::Io { what, error }
    }

    /// Returns the error of a line of a file.
    pub fn of_line(source: &str, number: u64, why: &str) -> CliError {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("line {number} {why}"));
        CliError::io(source)(error)
    }

    /// Writes the error to standard error. Writes nothing if standard output is a closed pipe.
    pub fn report(&self, output: OutputFormat) -> ExitCode {
        if !matches!(self, CliError::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe) {
            let text = match output {
                OutputFormat::Text => self.text(),
                OutputFormat::Json => format!("{}\n", self.document()),
            };
            let _ = io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(self.exit())
    }

    /// Formats the error as a JSON document: `{"error": {"code", "message", …}}`.
    fn document(&self) -> Value {
        let error = match self {
            CliError::Call { server, encryption, status } => {
                let details = status.get_error_details();
                let info = details.error_info();
                let violations = details.bad_request().into_iter().flat_map(|request| &request.field_violations);
                let violation = |violation: &tonic_types::FieldViolation| json!({ "field": violation.field, "description": violation.description });
                json!({
                    "code": code_name(code(status)),
                    "message": message(status, *encryption),
                    "reason": info.map(|info| info.reason.as_str()),
                    "metadata": info.map(|info| info.metadata.iter().collect::<BTreeMap<_, _>>()),
                    "violations": violations.map(violation).collect::<Vec<_>>(),
                    "retry_delay_seconds":
                        details.retry_info().and_then(|retry| retry.retry_delay).map(|delay| delay.as_secs_f64()),
                    "server": server,
                })
            }
            CliError::Io { what, error } => json!({ "code": null, "message": format!("{what}: {error}") }),
            CliError::Usage(message) => json!({ "code": null, "message": message }),
        };
        json!({ "error": error })
    }

    /// True if the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        self.exit() == 3
    }

    /// Returns the time after which the same call may succeed. `None` if it will not.
    pub fn retry_after(&self) -> Option<Duration> {
        let CliError::Call { status, .. } = self else { return None };
        let delay = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        match code(status) {
            Code::Unavailable | Code::DeadlineExceeded => Some(delay.unwrap_or_default()),
            Code::ResourceExhausted => delay,
            _ => None,
        }
    }

    /// Returns the violations of an invalid request: field and rule.
    pub fn violations(&self) -> Vec<(String, String)> {
        let CliError::Call { status, .. } = self else { return Vec::new() };
        let details = status.get_error_details();
        let violations = details.bad_request().into_iter().flat_map(|request| &request.field_violations);
        violations.map(|violation| (violation.field.clone(), violation.description.clone())).collect()
    }

    /// True if the service gave this reason.
    pub fn is(&self, reason: &str) -> bool {
        match self {
            CliError::Call { status, .. } => {
                status.get_error_details().error_info().is_some_and(|info| info.reason == reason)
            }
            CliError::Io { .. } | CliError::Usage(_) => false,
        }
    }

    pub fn exit(&self) -> u8 {
        match self {
            CliError::Call { status, .. } if matches!(code(status), Code::Unavailable | Code::DeadlineExceeded) => 3,
            CliError::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe => 0,
            CliError::Usage(_) => 2,
            CliError::Call { .. } | CliError::Io { .. } => 4,
        }
    }

    pub fn text(&self) -> String {
        match self {
            CliError::Call { server, encryption, status } => call_text(server, *encryption, status),
            CliError::Io { what, error } => format!("error: {what}: {error}\n"),
            CliError::Usage(message) => format!("error: {message}\n"),
        }
    }
}

fn call_text(server: &str, encryption: Encryption, status: &Status) -> String {
    let mut text = format!("error: {}: {}", code_name(code(status)), message(status, encryption));
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        text += &format!("\n  reason: {}", info.reason);
        let facts: BTreeMap<_, _> = info.metadata.iter().collect();
        facts.iter().for_each(|(name, value)| text += &format!("\n  {name}: {value}"));
    } else {
        // The status comes from a proxy, or from the transport.
        text += &format!("\n  server: {server}");
    }
    let violations = details.bad_request().into_iter().flat_map(|request| &request.field_violations);
    for violation in violations.filter(|violation| !status.message().contains(&violation.description)) {
        text += &format!("\n  {}: {}", violation.field, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        text += &format!("\n  retry after {}", units::duration(delay));
    }
    text + "\n"
}

/// Returns the code of a status. An error of the transport is UNAVAILABLE, whatever tonic makes of
/// it.
fn code(status: &Status) -> Code {
    let is_of_transport = std::error::Error::source(status).is_some() && status.details().is_empty();
    if is_of_transport && status.code() != Code::DeadlineExceeded { Code::Unavailable } else { status.code() }
}

/// Returns the message of a status, with the root cause of a transport error.
fn message(status: &Status, encryption: Encryption) -> String {
    // Errors about invalid HTTP/2 frames: the server speaks another protocol, such as that of
    // Redis.
    const NOT_HTTP2: [&str; 3] = ["frame with invalid size", "http2 error", "h2 protocol error"];
    // A server with TLS closes the connection of a caller without it.
    const CLOSED: [&str; 3] = ["connection closed", "broken pipe", "onnection reset"];
    let text = match cause(status) {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    };
    if let Some(explained) = tls_words(&text) {
        format!("{explained}: {text}")
    } else if NOT_HTTP2.iter().any(|error| text.contains(error)) {
        format!("the server does not speak gRPC without TLS (HTTP/2): {text}")
    } else if CLOSED.iter().any(|error| text.contains(error)) {
        format!("{} {text}", closed_words(encryption))
    } else {
        text
    }
}

/// Returns why a server may have closed the connection. With TLS 1.3 a client learns only then that
/// its certificate is missing or refused.
fn closed_words(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Plain => {
            "the server closed the connection; does it speak gRPC without TLS (HTTP/2), or is --tls needed?"
        }
        Encryption::Tls => {
            "the server closed the connection; is a client certificate needed (--cert-file and --key-file)?"
        }
        Encryption::MutualTls => "the server closed the connection; does it refuse the client certificate?",
    }
}

/// Returns what an error of TLS means, and what to do.
fn tls_words(text: &str) -> Option<&'static str> {
    const REFUSED: &str = "the server refuses the client certificate";
    const ERRORS: [(&str, &str); 14] = [
        ("UnknownIssuer", "the certificate of the server has an unknown authority: name it with --ca-file"),
        ("certificate not valid for name", "the certificate of the server is not for this name"),
        ("NotValidForName", "the certificate of the server is not for this name"),
        ("certificate expired", "the certificate of the server has expired"),
        ("certificate not valid yet", "the certificate of the server is not valid yet"),
        ("InvalidContentType", "the server speaks no TLS on this port: call it without --tls, by http://"),
        ("CertificateRequired", "a client certificate is needed: give --cert-file and --key-file"),
        ("alert: BadCertificate", REFUSED),
        ("alert: UnknownCA", REFUSED),
        ("alert: CertificateUnknown", REFUSED),
        ("alert: CertificateExpired", REFUSED),
        ("alert: CertificateRevoked", REFUSED),
        ("alert: DecryptError", REFUSED),
        ("alert: ProtocolVersion", "the server speaks another version of TLS"),
    ];
    ERRORS.iter().find(|(error, _)| text.contains(error)).map(|(_, words)| *words)
}

/// Returns the root cause of a transport error, unless the message has it.
fn cause(status: &Status) -> Option<String> {
    let first = std::error::Error::source(status);
    let last = std::iter::successors(first, |&error| error.source()).last()?.to_string();
    (!status.message().contains(&last)).then_some(last)
}

/// Returns the code as the gRPC specification spells it.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn call(status: Status) -> CliError {
        let server = "http://cache:50051/".to_owned();
        CliError::Call { server, encryption: Encryption::Plain, status: Box::new(status) }
    }

    #[test]
    fn an_error_shows_its_reason_and_fields() {
        let mut details = ErrorDetails::with_bad_request_violation("ttl", "must be at least 1 ms; was 0");
        details.set_error_info("INVALID_TTL", "twintier.dev", std::collections::HashMap::<String, String>::new());
        let failure = call(Status::with_error_details(Code::InvalidArgument, "the request is invalid", details));
        assert_eq!(
            failure.text(),
            "error: INVALID_ARGUMENT: the request is invalid\n  reason: INVALID_TTL\n  ttl: must be at least 1 ms; was 0\n"
        );
        assert_eq!(failure.exit(), 4);
    }

    #[test]
    fn a_field_that_the_message_names_is_not_shown_again() {
        let details = ErrorDetails::with_bad_request_violation("key", "must not be empty");
        let status =
            Status::with_error_details(Code::InvalidArgument, "invalid request: key must not be empty", details);
        assert_eq!(call(status).text().matches("must not be empty").count(), 1);
    }

    #[test]
    fn an_unavailable_service_says_when_to_retry_and_what_is_unknown() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(200)));
        details.set_error_info(
            "L2_UNAVAILABLE",
            "twintier.dev",
            [("outcome_unknown_for_ms".to_owned(), "80".to_owned())],
        );
        let failure = call(Status::with_error_details(Code::Unavailable, "Redis did not take the write", details));
        assert!(
            failure.text().ends_with("\n  outcome_unknown_for_ms: 80\n  retry after 200 ms\n"),
            "{}",
            failure.text()
        );
        assert_eq!(failure.exit(), 3);
    }

    #[test]
    fn an_unreachable_service_is_named() {
        let failure = call(Status::unavailable("tcp connect error"));
        assert_eq!(failure.text(), "error: UNAVAILABLE: tcp connect error\n  server: http://cache:50051/\n");
    }

    #[test]
    fn an_error_is_json_where_answers_are() {
        let mut details = ErrorDetails::with_bad_request_violation("ttl", "must be at least 1 ms; was 0");
        details.set_error_info("INVALID_REQUEST", "twintier.dev", std::collections::HashMap::<String, String>::new());
        let document = call(Status::with_error_details(Code::InvalidArgument, "bad", details)).document();
        let error = &document["error"];
        assert_eq!((&error["code"], &error["message"]), (&json!("INVALID_ARGUMENT"), &json!("bad")));
        assert_eq!((&error["reason"], &error["violations"][0]["field"]), (&json!("INVALID_REQUEST"), &json!("ttl")));
        let document = CliError::io("value.bin")(io::ErrorKind::NotFound.into()).document();
        assert!(document["error"]["message"].as_str().is_some_and(|text| text.starts_with("value.bin: ")));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert_eq!(CliError::io("standard output")(io::ErrorKind::BrokenPipe.into()).exit(), 0);
        assert_eq!(CliError::io("value.bin")(io::ErrorKind::NotFound.into()).exit(), 4);
    }

    #[test]
    fn codes_are_spelled_as_in_the_specification() {
        assert_eq!(code_name(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
        assert_eq!(code_name(Code::Ok), "OK");
    }
}
