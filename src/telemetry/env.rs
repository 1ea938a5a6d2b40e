//! Parses the OTEL_* variables that the SDK does not read, or does not validate.
//!
//! They select exporters and protocols for each signal, and how traces are sampled and joined.
//! Reads only the variables that it is given.

use std::collections::HashMap;
use std::time::Duration;

use super::signal::{Exporters, Otlp, Protocol, Sampling, Signal};

/// The OTEL_* variables, and the warnings about them.
pub struct Environment {
    variables: HashMap<String, String>,
    warnings: Vec<Warning>,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The variable.
    pub variable: String,
    /// Its value.
    pub value: String,
    /// Reason why it cannot be used.
    pub problem: &'static str,
    /// Value that is used instead.
    pub fallback: String,
}

/// Numeric variables that the SDK reads for each signal, with their defaults.
const NUMERIC_VARIABLES: [(Signal, &str, u32); 15] = [
    (Signal::Traces, "OTEL_BSP_SCHEDULE_DELAY", 5000),
    (Signal::Traces, "OTEL_BSP_MAX_QUEUE_SIZE", 2048),
    (Signal::Traces, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
    (Signal::Traces, "OTEL_BSP_EXPORT_TIMEOUT", 30_000),
    (Signal::Traces, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 128),
    (Signal::Traces, "OTEL_SPAN_EVENT_COUNT_LIMIT", 128),
    (Signal::Traces, "OTEL_SPAN_LINK_COUNT_LIMIT", 128),
    (Signal::Traces, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", 10_000),
    (Signal::Metrics, "OTEL_METRIC_EXPORT_INTERVAL", 60_000),
    (Signal::Metrics, "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", 10_000),
    (Signal::Logs, "OTEL_BLRP_SCHEDULE_DELAY", 1000),
    (Signal::Logs, "OTEL_BLRP_MAX_QUEUE_SIZE", 2048),
    (Signal::Logs, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", 512),
    (Signal::Logs, "OTEL_BLRP_EXPORT_TIMEOUT", 30_000),
    (Signal::Logs, "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", 10_000),
];
/// The timeout variable of all signals, with its default in milliseconds.
const OTLP_TIMEOUT: (&str, u32) = ("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);

// === impl Environment ===

impl Environment {
    /// Keeps the OTEL_* variables. Empty ones count as not set, as OpenTelemetry specifies.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let is_ours = |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.trim().is_empty();
        Environment { variables: variables.into_iter().filter(is_ours).collect(), warnings: Vec::new() }
    }

    /// The warnings collected so far.
    pub fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }

    /// Value of a variable. `None` if it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim())
    }

    /// True if all export is switched off.
    pub fn is_disabled(&mut self) -> bool {
        match self.get("OTEL_SDK_DISABLED").map(str::to_ascii_lowercase).as_deref() {
            Some("true") => true,
            None | Some("false") => false,
            Some(_) => self.warn("OTEL_SDK_DISABLED", "is neither true nor false", "false", false),
        }
    }

    /// Exporters of a signal. Empty unless a variable names an endpoint or an exporter.
    pub fn exporters(&mut self, signal: Signal) -> Exporters {
        let name = signal.variable("OTEL_", "_EXPORTER");
        let Some(list) = self.get(&name).map(str::to_owned) else {
            let is_wanted = self.endpoint(signal).is_some();
            return Exporters { otlp: is_wanted.then(|| self.otlp(signal)), console: false };
        };
        let mut exporters = Exporters::default();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "otlp" => exporters.otlp = Some(self.otlp(signal)),
                "console" if signal != Signal::Metrics => exporters.console = true,
                // Always on while there is an admin port.
                "prometheus" if signal == Signal::Metrics => {}
                "none" => {}
                _ => self.warn(&name, "names an exporter that is not known here", "none", ()),
            }
        }
        exporters
    }

    fn otlp(&mut self, signal: Signal) -> Otlp {
        let given = self.endpoint(signal);
        let protocol = self.protocol(signal, given.as_ref().map(|(_, value)| value.as_str()));
        let standard = match protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http => "http://localhost:4318",
        };
        let (name, value) = given.unwrap_or_else(|| (String::new(), standard.to_owned()));
        let (scheme, rest) = match value.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => (self.scheme(signal, &name), value.as_str()),
        };
        let path = match protocol {
            Protocol::Http if !name.contains(signal.word()) => signal.path(),
            _ => "",
        };
        let files = ["CLIENT_CERTIFICATE", "CLIENT_KEY"].map(|part| self.signal_variable(signal, part));
        let identity = match files {
            [Some((_, certificate)), Some((_, key))] => Some((certificate, key)),
            [None, None] => None,
            [Some((name, _)), None] | [None, Some((name, _))] => {
                self.warn(&name, "is one of a client's certificate and key without the other", "neither", None)
            }
        };
        Otlp {
            protocol,
            address: format!("{scheme}://{}", redact(rest)),
            endpoint: match path {
                "" => format!("{scheme}://{rest}"),
                path => format!("{scheme}://{}{path}", rest.trim_end_matches('/')),
            },
            timeout: self.timeout(signal),
            certificate: self.signal_variable(signal, "CERTIFICATE").map(|(_, file)| file),
            identity,
        }
    }

    /// Timeout of one export.
    fn timeout(&self, signal: Signal) -> Duration {
        let millis = self.signal_variable(signal, "TIMEOUT").and_then(|(_, value)| value.parse::<u32>().ok());
        Duration::from_millis(millis.unwrap_or(OTLP_TIMEOUT.1).into())
    }

    /// Scheme for an endpoint without one.
    fn scheme(&mut self, signal: Signal, name: &str) -> &'static str {
        match self.signal_variable(signal, "INSECURE") {
            Some((_, value)) if value.eq_ignore_ascii_case("true") => "http",
            _ => self.warn(name, "has no scheme (write http:// for a collector without TLS)", "https", "https"),
        }
    }

    /// Protocol that a variable names. Else gRPC for port 4317, which serves nothing else, or HTTP.
    fn protocol(&mut self, signal: Signal, endpoint: Option<&str>) -> Protocol {
        let port = endpoint.and_then(|endpoint| endpoint.trim_end_matches('/').rsplit_once(':'));
        let (usual, word) = match port {
            Some((_, "4317")) => (Protocol::Grpc, "grpc"),
            _ => (Protocol::Http, "http/protobuf"),
        };
        let Some((name, value)) = self.signal_variable(signal, "PROTOCOL") else { return usual };
        match value.as_str() {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::Http,
            _ => self.warn(&name, "is neither grpc nor http/protobuf", word, usual),
        }
    }

    fn endpoint(&self, signal: Signal) -> Option<(String, String)> {
        self.signal_variable(signal, "ENDPOINT")
    }

    /// Name and value of the signal's own OTLP variable, else of the one for all signals.
    fn signal_variable(&self, signal: Signal, part: &str) -> Option<(String, String)> {
        let own = signal.variable("OTEL_EXPORTER_OTLP_", &format!("_{part}"));
        let names = [own, format!("OTEL_EXPORTER_OTLP_{part}")];
        names.into_iter().find_map(|name| self.get(&name).map(str::to_owned).map(|value| (name, value)))
    }

    /// Sampling of traces. The default is OpenTelemetry's `parentbased_always_on`.
    pub fn sampling(&mut self) -> Sampling {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let standard = Sampling { parent_based: true, ratio: 1.0 };
        let Some(sampler) = self.get(NAME).map(str::to_owned) else { return standard };
        let (parent_based, rest) = match sampler.strip_prefix("parentbased_") {
            Some(rest) => (true, rest),
            None => (false, sampler.as_str()),
        };
        let ratio = match rest {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => return self.warn(NAME, "is no sampler that is known here", "parentbased_always_on", standard),
        };
        Sampling { parent_based, ratio }
    }

    fn ratio(&mut self) -> f64 {
        const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
        match self.get(NAME).map(str::parse::<f64>) {
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => ratio,
            None => 1.0,
            Some(_) => self.warn(NAME, "is no number from 0 to 1", "1", 1.0),
        }
    }

    /// Interval between two exports of metrics.
    pub fn metric_interval(&self) -> Duration {
        let millis = self.get("OTEL_METRIC_EXPORT_INTERVAL").and_then(|value| value.parse::<u32>().ok());
        Duration::from_millis(millis.filter(|millis| *millis > 0).unwrap_or(60_000).into())
    }

    /// True if callers' traces are joined, by the W3C header `traceparent`. Baggage is ignored and
    /// not propagated.
    pub fn joins_traces(&mut self) -> bool {
        const NAME: &str = "OTEL_PROPAGATORS";
        let Some(list) = self.get(NAME).map(str::to_owned) else { return true };
        let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if words.iter().any(|word| !["tracecontext", "baggage", "none"].contains(word)) {
            self.warn(NAME, "names a propagator that is none of tracecontext, baggage, none", "the others", ());
        }
        words.contains(&"tracecontext") && !words.contains(&"none")
    }

    /// Adds warnings about values that the SDK ignores silently.
    pub fn check_sdk_variables(&mut self, signal: Signal) {
        let own =
            NUMERIC_VARIABLES.into_iter().filter(|(of, ..)| *of == signal).map(|(_, name, standard)| (name, standard));
        for (name, standard) in own.chain([OTLP_TIMEOUT]) {
            if self.get(name).is_some_and(|value| value.parse::<u32>().is_err()) {
                self.warn(name, "is no whole number", &standard.to_string(), ());
            }
        }
        if let Some((name, value)) = self.signal_variable(signal, "COMPRESSION")
            && !["gzip", "none"].iter().any(|known| value.eq_ignore_ascii_case(known))
        {
            self.warn(&name, "is neither gzip nor none", "none", ());
        }
        if let Some((name, value)) = self.signal_variable(signal, "HEADERS")
            && !value.split(',').all(|pair| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty()))
        {
            // Headers hold credentials: do not log them.
            self.variables.insert(name.clone(), "<redacted>".to_owned());
            self.warn(&name, "is no list of name=value", "what can be read of it", ());
        }
        const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        let known = |value: &str| ["cumulative", "delta", "lowmemory"].contains(&value.to_ascii_lowercase().as_str());
        if signal == Signal::Metrics && self.get(TEMPORALITY).is_some_and(|value| !known(value)) {
            self.warn(TEMPORALITY, "is none of cumulative, delta, lowmemory", "cumulative", ());
        }
    }

    /// Adds a warning and returns `value_used`. One warning for each variable: several signals may
    /// read it.
    fn warn<T>(&mut self, name: &str, problem: &'static str, fallback: &str, value_used: T) -> T {
        let value = self.get(name).unwrap_or_default();
        let value = if name.ends_with("ENDPOINT") { redact(value) } else { value }.to_owned();
        let warning = Warning { variable: name.to_owned(), value, problem, fallback: fallback.to_owned() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        value_used
    }
}

/// Removes the parts of an endpoint that may be secret: user, password and query.
fn redact(endpoint: &str) -> &str {
    let place = endpoint.rsplit_once('@').map_or(endpoint, |(_, place)| place);
    place.split_once('?').map_or(place, |(place, _)| place)
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;
