//! Parses the OTEL_* variables that the SDK does not read, or does not validate.
//!
//! They select exporters and protocols for each signal, and how traces are sampled and joined.
//! Reads only the variables that it is given.

use std::collections::HashMap;
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

/// Removes the parts of an endpoint that may be secret: user, password and query.
fn redact(endpoint: &str) -> &str {
    let place = endpoint.rsplit_once('@').map_or(endpoint, |(_, place)| place);
    place.split_once('?').map_or(place, |(place, _)| place)
}

// === impl Signal ===

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
            Signal::Logs => "LOGS",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
        }
    }

    fn variable(self, before: &str, after: &str) -> String {
        format!("{before}{}{after}", self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn exporters(variables: &[(&str, &str)]) -> (Exporters, Vec<String>) {
        let mut environment = environment(variables);
        (environment.exporters(Signal::Traces), said(environment))
    }

    fn said(environment: Environment) -> Vec<String> {
        let said = |warning: Warning| {
            format!("{}={} {}; taken instead: {}", warning.variable, warning.value, warning.problem, warning.fallback)
        };
        environment.into_warnings().into_iter().map(said).collect()
    }

    fn address(variables: &[(&str, &str)]) -> Option<(Protocol, String)> {
        exporters(variables).0.otlp.map(|otlp| (otlp.protocol, otlp.address))
    }

    #[test]
    fn nothing_is_sent_unless_a_variable_requests_it() {
        assert_eq!(exporters(&[]), (Exporters::default(), vec![]));
        assert_eq!(exporters(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).0, Exporters::default());
        assert_eq!(exporters(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:1")]).0, Exporters::default());
        let none = [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")];
        assert_eq!(exporters(&none), (Exporters::default(), vec![]));
    }

    #[test]
    fn an_endpoint_or_an_exporter_switches_export_on() {
        let http = |address: &str| Some((Protocol::Http, address.to_owned()));
        assert_eq!(address(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]), http("http://c:4318"));
        assert_eq!(address(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x")]), http("http://c:1/x"));
        assert_eq!(address(&[("OTEL_TRACES_EXPORTER", "otlp")]), http("http://localhost:4318"));
        let grpc = [("OTEL_TRACES_EXPORTER", "otlp,console"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(address(&grpc), Some((Protocol::Grpc, "http://localhost:4317".to_owned())));
        assert!(exporters(&grpc).0.console);
    }

    #[test]
    fn a_signals_own_variable_overrides_the_one_for_all_signals() {
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ];
        assert_eq!(address(&variables), Some((Protocol::Grpc, "http://own:1".to_owned())));
        variables.truncate(1);
        assert_eq!(address(&variables), Some((Protocol::Http, "http://all:1".to_owned())));
    }

    #[test]
    fn an_endpoint_without_a_scheme_uses_tls_with_a_warning() {
        let (found, warnings) = exporters(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")]);
        let otlp = found.otlp.expect("is wanted");
        assert_eq!(otlp.endpoint, "https://collector:4318/v1/traces");
        assert!(warnings[0].starts_with("OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318 has no scheme"), "{warnings:?}");
        let plain = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ];
        let (found, warnings) = exporters(&plain);
        assert_eq!(found.otlp.map(|otlp| otlp.endpoint).as_deref(), Some("http://collector:4317"));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn port_4317_selects_grpc() {
        let grpc = Some((Protocol::Grpc, "http://c:4317".to_owned()));
        assert_eq!(address(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]), grpc);
        let http = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        assert_eq!(address(&http), Some((Protocol::Http, "http://c:4317".to_owned())));
    }

    #[test]
    fn metrics_have_their_own_variables() {
        let mut environment = environment(&[
            ("OTEL_METRICS_EXPORTER", "prometheus, otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ]);
        let endpoint = environment.exporters(Signal::Metrics).otlp.map(|otlp| otlp.endpoint);
        assert_eq!(endpoint.as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(environment.metric_interval(), Duration::from_millis(100));
        environment.check_sdk_variables(Signal::Metrics);
        let said = said(environment);
        assert!(said.len() == 2 && !said.concat().contains("secret"), "{said:?}");
    }

    #[test]
    fn a_secret_in_an_endpoint_is_not_shown() {
        let found = address(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:secret@c:1/p")]);
        assert_eq!(found, Some((Protocol::Http, "https://c:1/p".to_owned())));
        let bare = "user:secret@c:4317/p?key=secret";
        let (found, warnings) = exporters(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bare)]);
        let address = found.otlp.map(|otlp| otlp.address).expect("is wanted");
        assert!(!(address + &warnings.concat()).contains("secret"), "{warnings:?}");
    }

    #[test]
    fn an_invalid_value_is_reported_with_its_fallback() {
        let mut environment = environment(&[
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_PROPAGATORS", "b3,tracecontext"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
        ]);
        assert!(!environment.is_disabled());
        assert_eq!(environment.exporters(Signal::Traces), Exporters::default());
        assert_eq!(environment.exporters(Signal::Logs).otlp.map(|otlp| otlp.protocol), Some(Protocol::Http));
        assert_eq!(environment.sampling(), Sampling { parent_based: true, ratio: 1.0 });
        assert!(environment.joins_traces());
        environment.check_sdk_variables(Signal::Traces);
        let warnings = said(environment);
        let expected = [
            ("OTEL_SDK_DISABLED=yes", "false"),
            ("OTEL_TRACES_EXPORTER=zipkin", "none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY=key.pem", "neither"),
            ("OTEL_TRACES_SAMPLER=xray", "parentbased_always_on"),
            ("OTEL_PROPAGATORS=b3,tracecontext", "the others"),
            ("OTEL_BSP_MAX_QUEUE_SIZE=many", "2048"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION=brotli", "none"),
        ];
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, (named, taken)) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(named) && warning.ends_with(taken), "{warning}");
        }
    }

    #[test]
    fn a_sampler_is_parsed_with_its_argument() {
        let read = |sampler: &str, argument: &str| {
            let variables = [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            environment(&variables).sampling()
        };
        assert_eq!(read("", ""), Sampling { parent_based: true, ratio: 1.0 });
        assert_eq!(read("always_off", ""), Sampling { parent_based: false, ratio: 0.0 });
        assert_eq!(read("parentbased_always_off", ""), Sampling { parent_based: true, ratio: 0.0 });
        assert_eq!(read("parentbased_traceidratio", "0.25"), Sampling { parent_based: true, ratio: 0.25 });
        assert_eq!(read("traceidratio", "7"), Sampling { parent_based: false, ratio: 1.0 });
        assert_eq!(read("parentbased_traceidratio", "0.25").to_string(), "parentbased_traceidratio 0.25");
        assert_eq!(read("always_off", "").to_string(), "always_off");
    }

    #[test]
    fn propagator_none_disables_joining() {
        assert!(environment(&[]).joins_traces());
        assert!(environment(&[("OTEL_PROPAGATORS", "tracecontext")]).joins_traces());
        assert!(!environment(&[("OTEL_PROPAGATORS", "none")]).joins_traces());
        assert!(!environment(&[("OTEL_PROPAGATORS", "baggage")]).joins_traces());
    }

    #[test]
    fn true_in_any_case_disables_the_sdk() {
        assert!(environment(&[("OTEL_SDK_DISABLED", "True")]).is_disabled());
        assert!(!environment(&[("OTEL_SDK_DISABLED", "false")]).is_disabled());
    }
}
