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
