//! What the OTEL_* variables ask for, as far as the SDK leaves it to us: whether a signal is sent by OTLP, how, and where. What the SDK reads by
//! itself (headers, timeout, compression, temporality, resource) is only checked here, because it says nothing of values it cannot use.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

/// How often metrics are sent when nothing says otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
/// The port of OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// Whether counts are sent from the start on, or from the last time on.
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// A signal that is sent by OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// How.
    pub protocol: Protocol,
    /// The whole URL; none: the SDK's default for the protocol.
    pub endpoint: Option<String>,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The variable.
    pub variable: String,
    /// Its value.
    pub value: String,
    /// What is done in its place.
    pub taken: &'static str,
}

/// What the SDK reads: the end of the variable's name, whether a value can be used, and what is done when it cannot.
type Check = (&'static str, fn(&str) -> bool, &'static str);

/// The OTEL_* variables of a process, or what stands for them.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

// === impl Otlp ===

impl Otlp {
    /// Where it is sent, without what gives access.
    pub fn server(&self) -> String {
        let url = self.endpoint.as_deref().and_then(|endpoint| url::Url::parse(endpoint).ok());
        let server = url.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        server.unwrap_or_else(|| "localhost".to_owned())
    }
}

// === impl Environment ===

impl Environment {
    /// That of this process.
    pub fn of_process() -> Environment {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// How `signal` is sent by OTLP, if at all; adds what is unusable to `problems`. It is when its exporter says so (`OTEL_METRICS_EXPORTER=otlp`),
    /// or nothing says otherwise and an endpoint is given.
    pub fn otlp(&self, signal: Signal, problems: &mut Vec<Unusable>) -> Option<Otlp> {
        if self.is_disabled(problems) || !self.is_exported(signal, problems) {
            return None;
        }
        let endpoint = self.endpoint(signal).map_err(|unusable| problems.push(unusable)).ok()?;
        let protocol = self.protocol(signal, endpoint.as_ref().map(|(_, url)| url.as_str()), problems);
        self.check(signal, problems);
        let endpoint = endpoint.map(|(is_of_the_signal, url)| match protocol {
            Protocol::HttpProtobuf if !is_of_the_signal => format!("{}/{}", url.trim_end_matches('/'), signal.path()),
            _ => url,
        });
        Some(Otlp { protocol, endpoint })
    }

    /// How often metrics are sent.
    pub fn metric_interval(&self, problems: &mut Vec<Unusable>) -> Duration {
        let name = "OTEL_METRIC_EXPORT_INTERVAL";
        let Some(value) = self.get(name) else { return INTERVAL };
        match value.parse() {
            Ok(millis) if millis > 0 => Duration::from_millis(millis),
            _ => {
                problems.push(Unusable::new(name, value, "metrics are sent every 60 s"));
                INTERVAL
            }
        }
    }

    fn is_disabled(&self, problems: &mut Vec<Unusable>) -> bool {
        let name = "OTEL_SDK_DISABLED";
        match self.get(name) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if !value.eq_ignore_ascii_case("false") => {
                problems.push(Unusable::new(name, value, "taken for false"));
                false
            }
            _ => false,
        }
    }

    fn is_exported(&self, signal: Signal, problems: &mut Vec<Unusable>) -> bool {
        let name = format!("OTEL_{}_EXPORTER", signal.name());
        let Some(value) = self.get(&name) else {
            return ["OTEL_EXPORTER_OTLP_ENDPOINT", &of_signal(signal, "ENDPOINT")]
                .iter()
                .any(|name| self.get(name).is_some());
        };
        let mut otlp = false;
        for exporter in value.split(',').map(str::trim) {
            match exporter {
                "otlp" => otlp = true,
                "none" => {}
                // It is there as long as there is an admin port.
                "prometheus" if signal == Signal::Metrics => {}
                _ => problems.push(Unusable::new(&name, value, "what is not known is left out")),
            }
        }
        otlp
    }

    /// The endpoint, if one is given, and whether it is given for this signal alone.
    fn endpoint(&self, signal: Signal) -> Result<Option<(bool, String)>, Unusable> {
        for (own, name) in [(true, of_signal(signal, "ENDPOINT")), (false, "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned())] {
            let Some(value) = self.get(&name) else { continue };
            let is_url =
                url::Url::parse(value).is_ok_and(|url| url.has_host() && ["http", "https"].contains(&url.scheme()));
            return match is_url {
                true => Ok(Some((own, value.to_owned()))),
                false => Err(Unusable::new(&name, value, "not a URL with http or https; nothing is sent")),
            };
        }
        Ok(None)
    }

    /// As it is given; else by the port of the endpoint, for one that does not exist speaks neither.
    fn protocol(&self, signal: Signal, endpoint: Option<&str>, problems: &mut Vec<Unusable>) -> Protocol {
        let port = endpoint.and_then(|endpoint| url::Url::parse(endpoint).ok()?.port());
        let usual = if port == Some(GRPC_PORT) { Protocol::Grpc } else { Protocol::HttpProtobuf };
        for name in [of_signal(signal, "PROTOCOL"), "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned()] {
            match self.get(&name) {
                Some("grpc") => return Protocol::Grpc,
                Some("http/protobuf") => return Protocol::HttpProtobuf,
                Some(value) if usual == Protocol::Grpc => problems.push(Unusable::new(&name, value, "grpc is spoken")),
                Some(value) => problems.push(Unusable::new(&name, value, "http/protobuf is spoken")),
                None => {}
            }
        }
        usual
    }

    /// What the SDK reads, and does not use when it cannot.
    fn check(&self, signal: Signal, problems: &mut Vec<Unusable>) {
        let is_number = |value: &str| value.parse::<u64>().is_ok();
        let is_compression = |value: &str| ["gzip", "none"].contains(&value);
        let is_list = |value: &str| {
            value.split(',').all(|pair| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty()))
        };
        let checks: [Check; 3] = [
            ("TIMEOUT", is_number, "not milliseconds; 10 s are waited for an answer"),
            ("COMPRESSION", is_compression, "what is sent is not compressed"),
            ("HEADERS", is_list, "not name=value pairs; what cannot be read is left out"),
        ];
        let temporality = self.get(TEMPORALITY).map(str::to_ascii_lowercase);
        let known = |value: &String| ["cumulative", "delta", "lowmemory"].contains(&value.as_str());
        if let Some(value) = temporality.filter(|value| signal == Signal::Metrics && !known(value)) {
            problems.push(Unusable::new(TEMPORALITY, &value, "counts are sent from the start on: cumulative"));
        }
        for (what, is_usable, taken) in checks {
            for name in [of_signal(signal, what), format!("OTEL_EXPORTER_OTLP_{what}")] {
                // Headers hold credentials, so that they are not shown.
                let shown = |value| if what == "HEADERS" { "<redacted>" } else { value };
                if let Some(value) = self.get(&name).filter(|value| !is_usable(value)) {
                    problems.push(Unusable::new(&name, shown(value), taken));
                }
            }
        }
    }

    /// A variable that is empty counts as not set.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Environment(variables.into_iter().filter(|(name, _)| name.starts_with("OTEL_")).collect())
    }
}

fn of_signal(signal: Signal, what: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name())
}

// === impl Signal ===

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
            Signal::Logs => "LOGS",
        }
    }

    /// Its path under an endpoint for all.
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
            Signal::Logs => "v1/logs",
        }
    }
}

// === impl Unusable ===

impl Unusable {
    fn new(variable: &str, value: &str, taken: &'static str) -> Unusable {
        Unusable { variable: variable.to_owned(), value: value.to_owned(), taken }
    }

    /// Says so in the log.
    pub fn warn(&self) {
        let Unusable { variable, value, taken } = self;
        tracing::warn!(variable, value, taken, "a variable of OpenTelemetry cannot be used");
    }
}

/// This replica, in the words of OpenTelemetry: with what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add.
pub fn resource(replica: &str) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|list| list.contains("service.name="));
    let own = [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", replica)];
    let resource = Resource::builder().with_attributes(own.map(|(name, value)| KeyValue::new(name, value.to_owned())));
    if named { resource.build() } else { resource.with_service_name("twintier").build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for of metrics, and the variables that cannot be used.
    fn metrics(variables: &[(&str, &str)]) -> (Option<Otlp>, Vec<String>) {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut problems = Vec::new();
        let otlp = owned.collect::<Environment>().otlp(Signal::Metrics, &mut problems);
        (otlp, problems.into_iter().map(|problem| problem.variable).collect())
    }

    fn sent(protocol: Protocol, endpoint: &str) -> (Option<Otlp>, Vec<String>) {
        let endpoint = Some(endpoint.to_owned()).filter(|endpoint| !endpoint.is_empty());
        (Some(Otlp { protocol, endpoint }), Vec::new())
    }

    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

    #[test]
    fn nothing_is_sent_unless_it_is_asked_for() {
        let nothing = (None, Vec::new());
        assert_eq!(metrics(&[]), nothing);
        assert_eq!(metrics(&[(ENDPOINT, "")]), nothing);
        assert_eq!(metrics(&[("OTEL_METRICS_EXPORTER", "prometheus"), (ENDPOINT, "http://c:4318")]), nothing);
        assert_eq!(metrics(&[("OTEL_METRICS_EXPORTER", "none"), (ENDPOINT, "http://c:4318")]), nothing);
        assert_eq!(metrics(&[("OTEL_SDK_DISABLED", "TRUE"), (ENDPOINT, "http://c:4318")]), nothing);
        assert_eq!(metrics(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318")]), nothing);
    }

    #[test]
    fn an_endpoint_or_an_exporter_asks_for_it() {
        let http = Protocol::HttpProtobuf;
        assert_eq!(metrics(&[(ENDPOINT, "http://c:4318/")]), sent(http, "http://c:4318/v1/metrics"));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m/push");
        assert_eq!(metrics(&[own, (ENDPOINT, "http://c:4318")]), sent(http, "https://m/push"));
        assert_eq!(metrics(&[("OTEL_METRICS_EXPORTER", "prometheus, otlp")]), sent(http, ""));
    }

    #[test]
    fn the_protocol_is_the_one_that_is_named_or_that_of_the_port() {
        let named = |protocol| ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        assert_eq!(metrics(&[(ENDPOINT, "http://c:4317")]), sent(Protocol::Grpc, "http://c:4317"));
        let http = sent(Protocol::HttpProtobuf, "http://c:4317/v1/metrics");
        assert_eq!(metrics(&[(ENDPOINT, "http://c:4317"), named("http/protobuf")]), http);
        assert_eq!(metrics(&[(ENDPOINT, "http://c:1"), named("grpc")]), sent(Protocol::Grpc, "http://c:1"));
        let own = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc");
        assert_eq!(
            metrics(&[(ENDPOINT, "http://c:1"), named("http/protobuf"), own]),
            sent(Protocol::Grpc, "http://c:1")
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_and_something_is_taken_in_its_place() {
        let endpoint = (ENDPOINT, "http://c:4318");
        let (otlp, _) = sent(Protocol::HttpProtobuf, "http://c:4318/v1/metrics");
        for (variable, value) in [
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            (TEMPORALITY, "sometimes"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "brotli"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ] {
            assert_eq!(metrics(&[endpoint, (variable, value)]), (otlp.clone(), vec![variable.to_owned()]));
        }
        for endpoint in ["collector:4318", "ftp://c", "x"] {
            assert_eq!(metrics(&[(ENDPOINT, endpoint)]), (None, vec![ENDPOINT.to_owned()]));
        }
        let exporters = metrics(&[endpoint, ("OTEL_METRICS_EXPORTER", "otlp,console")]);
        assert_eq!(exporters, (otlp, vec!["OTEL_METRICS_EXPORTER".to_owned()]));
    }

    #[test]
    fn a_server_is_shown_without_what_gives_access() {
        let otlp = |url: &str| Otlp { protocol: Protocol::Grpc, endpoint: Some(url.to_owned()) };
        assert_eq!(otlp("https://me:secret@collector/v1/metrics?token=x").server(), "collector:443");
        assert_eq!(Otlp { protocol: Protocol::Grpc, endpoint: None }.server(), "localhost");
    }

    #[test]
    fn headers_are_not_shown() {
        let variables = [(ENDPOINT, "http://c:4318"), ("OTEL_EXPORTER_OTLP_HEADERS", "hush")];
        let mut problems = Vec::new();
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        _ = owned.into_iter().collect::<Environment>().otlp(Signal::Metrics, &mut problems);
        assert!(problems.len() == 1 && !format!("{problems:?}").contains("hush"), "{problems:?}");
    }

    #[test]
    fn metrics_are_sent_as_often_as_it_says_or_every_minute() {
        for (value, expected) in
            [("250", Duration::from_millis(250)), ("0", INTERVAL), ("-1", INTERVAL), ("1s", INTERVAL)]
        {
            let variables = [("OTEL_METRIC_EXPORT_INTERVAL".to_owned(), value.to_owned())];
            let mut problems = Vec::new();
            assert_eq!(variables.into_iter().collect::<Environment>().metric_interval(&mut problems), expected);
            assert_eq!(problems.is_empty(), expected != INTERVAL, "{value}");
        }
    }
}
