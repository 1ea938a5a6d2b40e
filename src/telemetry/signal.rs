//! Signals of telemetry, their exporters, collectors and sampling.

use std::fmt;
use std::time::Duration;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// Transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// Exporters of one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exporters {
    /// The collector. `None` if the signal is not sent.
    pub otlp: Option<Otlp>,
    /// True if the signal is written to standard output.
    pub console: bool,
}

/// Connection settings of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Transport.
    pub protocol: Protocol,
    /// Address for the log, without credentials and query.
    pub address: String,
    /// Full URL.
    pub endpoint: String,
    /// Timeout of one export.
    pub timeout: Duration,
    /// File with the CA certificates. `None` for the roots of the system.
    pub certificate: Option<String>,
    /// Files with the client's certificate and key.
    pub identity: Option<(String, String)>,
}

/// Sampling of traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// True if the caller's sampling decision is followed.
    pub parent_based: bool,
    /// Share of the other traces that is recorded.
    pub ratio: f64,
}

// === impl Signal ===

impl Signal {
    /// Returns its name in variables.
    pub(super) fn word(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
            Signal::Logs => "LOGS",
        }
    }

    /// Returns the path of its OTLP endpoint over HTTP.
    pub(super) fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
        }
    }

    /// Returns the name of its own variable.
    pub(super) fn variable(self, before: &str, after: &str) -> String {
        format!("{before}{}{after}", self.word())
    }
}

// === impl Sampling ===

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.parent_based { "parentbased_" } else { "" })?;
        match self.ratio {
            1.0 => f.write_str("always_on"),
            0.0 => f.write_str("always_off"),
            ratio => write!(f, "traceidratio {ratio}"),
        }
    }
}
