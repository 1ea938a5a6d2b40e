//! Arguments of several commands, and their parsers.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::Endpoint;

use super::credential_args::CredentialArgs;
use crate::pb;

/// Arguments of `serve`. They override the environment and the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Configuration file (TOML or YAML)
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address and port to serve gRPC on
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Redis to use as the shared tier, for example redis://127.0.0.1:6379
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Setting by its path, for example --set l1.size=1GiB (repeatable)
    #[arg(long, value_name = "PATH=VALUE", value_parser = parse_assignment)]
    pub set: Vec<(String, String)>,
}

/// `twintier config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every problem of the configuration
    Check(ServeArgs),
    /// Print the settings in force, secrets redacted
    Show(ConfigShowArgs),
}

/// Arguments of `config show`.
#[derive(Args, Debug)]
pub struct ConfigShowArgs {
    /// Sources of the settings.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Output formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs; durations are seconds
    Json,
}

/// Address of the service, and how to call it.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Service to call: host:port, http://host:port, https://host:port, dns:///host:port or unix:///path
    #[arg(short, long, value_name = "URL", env = "TWINTIER_SERVER", default_value = "http://127.0.0.1:50051")]
    #[arg(value_parser = parse_server)]
    pub(super) server: Box<Server>,
    /// Request timeout, also sent as the gRPC deadline
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_timeout, allow_hyphen_values = true)]
    pub(super) timeout: Duration,
    /// Metadata to send, for example 'authorization: Bearer ...' (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(super) headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
    /// TLS and credentials.
    #[command(flatten)]
    pub(super) credentials: Box<CredentialArgs>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: OutputFormat,
}

/// Service to call, with its name as given.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub name: String,
    pub endpoint: Endpoint,
}

// === impl Server ===

impl Server {
    /// True for a unix socket, which has no TLS.
    pub fn is_unix(&self) -> bool {
        self.name.starts_with("unix:")
    }

    /// Returns the endpoint with the scheme of TLS.
    pub fn endpoint_with_tls(&self) -> Result<Endpoint, String> {
        let authority = self.endpoint.uri().authority().map_or_else(String::new, ToString::to_string);
        endpoint(format!("https://{authority}"))
    }
}

/// The namespace of an entry.
#[derive(Args, Clone, Debug)]
pub(super) struct NamespaceArg {
    /// Namespace
    #[arg(short, long, value_name = "NAME", env = "TWINTIER_NAMESPACE", default_value = "default")]
    pub namespace: String,
}

/// Tokens of earlier responses.
#[derive(Args, Clone, Debug)]
pub(super) struct TokenArgs {
    /// Token of an earlier response (repeatable)
    #[arg(long = "token", value_name = "TOKEN", allow_hyphen_values = true)]
    pub tokens: Vec<String>,
}

/// Switch that prints the token of a response.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ShowTokenArg {
    /// Print the token of the response, for --token of a later call; -o json always has it
    #[arg(long)]
    pub show_token: bool,
}

/// Replicas that have to apply a change before it is acknowledged.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct BarrierArg {
    /// Return only when every live replica has applied the change, or may not answer with what was
    /// before
    #[arg(long)]
    fleet: bool,
}

impl BarrierArg {
    pub fn to_wire(self) -> pb::Barrier {
        if self.fleet { pb::Barrier::Fleet } else { pb::Barrier::None }
    }
}

const USER_AGENT: &str = concat!("twintier/", env!("CARGO_PKG_VERSION"));

// Range of google.protobuf.Duration: 10,000 years.
const LONGEST: Duration = Duration::from_secs(315_576_000_000);

/// Parses a duration such as `1h 30m` or `100ms`, with the errors of settings.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = crate::units::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err("must be at most 10,000 years".to_owned());
    }
    Ok(duration)
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be more than zero".to_owned()),
        timeout => Ok(timeout),
    }
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("expected PATH=VALUE".to_owned()),
    }
}

pub(super) fn parse_server(text: &str) -> Result<Box<Server>, String> {
    // The form of gRPC's own libraries: `dns:[//authority/]host:port`.
    let target = match text.strip_prefix("dns:") {
        Some(target) => match target.strip_prefix("//") {
            Some(named) => {
                let (authority, host) = named.split_once('/').unwrap_or((named, ""));
                if !authority.is_empty() {
                    return Err("expected dns:///host:port: the system's DNS is asked, no other".to_owned());
                }
                host
            }
            None => target,
        },
        None => text,
    };
    let url = if target.contains("://") || target.starts_with("unix:") {
        target.to_owned()
    } else {
        format!("http://{target}")
    };
    if !url.starts_with("unix:") {
        let uri: http::Uri = url.parse().map_err(|error| format!("{error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            let expected = "expected host:port, http://host:port, https://host:port, dns:///host:port or unix:///path";
            return Err(expected.to_owned());
        }
        if uri.port_u16().is_none() {
            return Err("the port is missing, for example :50051".to_owned());
        }
    }
    Ok(Box::new(Server { name: text.to_owned(), endpoint: endpoint(url)? }))
}

fn endpoint(url: String) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(url).and_then(|endpoint| endpoint.user_agent(USER_AGENT));
    endpoint.map_err(|error| error.to_string())
}

fn parse_header(text: &str) -> Result<(AsciiMetadataKey, AsciiMetadataValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'name: value'")?;
    let name = name.trim().to_ascii_lowercase();
    let key = name.parse().map_err(|_| format!("{name:?} is no name of ASCII metadata"))?;
    let value = value.trim().parse().map_err(|_| "the value is not printable ASCII".to_owned())?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_given_with_or_without_scheme() {
        for text in
            ["localhost:50051", "http://[::1]:50051", "https://localhost:1", "127.0.0.1:1", "unix:///run/twintier.sock"]
        {
            assert!(parse_server(text).is_ok(), "{text}");
        }
        for text in ["cache:50051", "dns:///cache:50051", "dns:cache:50051", "http://cache:50051"] {
            assert_eq!(parse_server(text).expect("valid").endpoint.uri().to_string(), "http://cache:50051/", "{text}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_called_is_refused() {
        for text in
            ["", "localhost", "http://localhost", "https://localhost", "redis://localhost:1", "a b:1", "host:99999"]
        {
            assert!(parse_server(text).is_err(), "{text}");
        }
        for text in ["dns:", "dns://", "dns:///", "dns:///localhost", "dns://1.1.1.1/cache:1", "dns://cache:1"] {
            assert!(parse_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = parse_header("Authorization: Bearer a:b").expect("valid");
        assert_eq!((name.as_str(), value.to_str().expect("ascii")), ("authorization", "Bearer a:b"));
        for text in ["no-colon", ": value", "a b: c", "trace-bin: AAAA", "name: \u{7}"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_fit_the_wire() {
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("5").is_err_and(|error| error.contains("unit")));
        assert!(parse_duration("20000years").is_err());
        assert_eq!(parse_duration("-5s"), Err("must be a duration, such as 250ms, 2s, 5m or 1h30m".to_owned()));
        assert!(parse_timeout("0s").is_err());
    }

    #[test]
    fn an_assignment_keeps_later_equals_signs() {
        assert_eq!(parse_assignment("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(parse_assignment("a.b="), Ok(("a.b".to_owned(), String::new())));
        assert!(parse_assignment("a.b").is_err() && parse_assignment("=c").is_err());
    }
}
