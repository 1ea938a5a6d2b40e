//! Traces and logs as a collector receives them.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::runtime::Runtime;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use crate::authority::Authority;
use crate::collector::{Collector, attribute, hex};
use crate::process::{LONG_TIMEOUTS, Redis, Serving, twintier, wait_until};

const GET: &str = "twintier.v1.CacheService/Get";
const SET: &str = "twintier.v1.CacheService/Set";
const KEY: &str = "alices-diary";
const VALUE: &str = "dear-secret-diary";
/// Settings that export at once.
const EXPORT_AT_ONCE: [(&str, &str); 2] = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_BLRP_SCHEDULE_DELAY", "20")];
/// Settings that export only at the end.
const EXPORT_AT_STOP: [(&str, &str); 2] =
    [("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BLRP_SCHEDULE_DELAY", "3600000")];

/// A caller with its own trace.
struct Caller {
    runtime: Runtime,
    client: CacheServiceClient<Channel>,
    trace: String,
    span: String,
    flags: &'static str,
}

impl Caller {
    fn of(service: &Serving, flags: &'static str) -> Caller {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(CacheServiceClient::connect(format!("http://{}", service.address))).unwrap();
        let trace = format!("{:032x}", rand::random::<u128>());
        let span = format!("{:016x}", rand::random::<u64>());
        Caller { runtime, client, trace, span, flags }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let parent = format!("00-{}-{}-{}", self.trace, self.span, self.flags);
        request.metadata_mut().insert("traceparent", MetadataValue::try_from(parent).unwrap());
        request
    }

    fn set(&self) {
        let content = Some(pb::set_request::Content::Value(VALUE.into()));
        let set = pb::SetRequest { key: KEY.into(), content, ..Default::default() };
        self.runtime.block_on(self.client.clone().set(self.request(set))).unwrap();
    }

    fn get(&self, consistency: pb::Consistency) -> Result<pb::GetResponse, Status> {
        let get = pb::GetRequest { key: KEY.into(), consistency: consistency.into(), ..Default::default() };
        self.runtime.block_on(self.client.clone().get(self.request(get))).map(|answer| answer.into_inner())
    }

    /// True if a span is a child of this caller's span.
    fn is_parent_of(&self, span: &Span) -> bool {
        (hex(&span.trace_id), hex(&span.parent_span_id)) == (self.trace.clone(), self.span.clone())
    }
}

fn replica(redis: Option<&Redis>, settings: &[&str], variables: &[(&str, &str)]) -> Serving {
    let mut args = vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()];
    if let Some(redis) = redis {
        args.extend(LONG_TIMEOUTS.iter().flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")]));
        args.extend(["--redis-url".to_owned(), redis.url()]);
    }
    args.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = twintier(&args);
    command.envs(variables.iter().copied());
    let service = Serving::spawn(command);
    if redis.is_some() {
        service.wait_for_health("redis");
    }
    service
}

fn variables<'a>(endpoint: &'a str, protocol: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
    to.into_iter().chain(more.iter().copied()).collect()
}

fn is_child(span: &Span, parent: &Span) -> bool {
    (&span.trace_id, &span.parent_span_id) == (&parent.trace_id, &parent.span_id)
}

#[test]
fn an_rpc_is_a_span_with_child_spans_of_redis_commands() {
    let (collector, redis) = (Collector::grpc(), Redis::start());
    let endpoint = collector.endpoint();
    // The sampler drops spans without a parent, so that only the callers' spans remain.
    let mut environment = variables(&endpoint, "grpc", &EXPORT_AT_ONCE);
    environment.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
    let [writer, reader] = [(); 2].map(|()| replica(Some(&redis), &[], &environment));
    let (sets, gets) = (Caller::of(&writer, "01"), Caller::of(&reader, "01"));
    sets.set();
    gets.get(pb::Consistency::Unspecified).unwrap();

    let set = collector.span("the Set", |span| span.name == SET && sets.is_parent_of(span));
    assert_eq!(set.kind, SpanKind::Server as i32);
    let expected = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", SET),
        ("rpc.response.status_code", "OK"),
        ("network.peer.address", "127.0.0.1"),
        ("twintier.namespace", "default"),
        ("twintier.outcome", "stored"),
        ("error.type", ""),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(&set, name), value, "{name}");
    }
    let write = collector.span("its script", |span| is_child(span, &set));
    assert_eq!((write.name.as_str(), write.kind), ("EVALSHA write_batch", SpanKind::Client as i32));
    let expected = [
        ("db.system.name", "redis"),
        ("db.operation.name", "EVALSHA"),
        ("db.stored_procedure.name", "write_batch"),
        ("db.namespace", "0"),
        ("server.address", &redis.socket()),
        ("db.operation.batch.size", ""),
        ("error.type", ""),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(&write, name), value, "{name}");
    }

    let get = collector.span("the Get", |span| span.name == GET && gets.is_parent_of(span));
    assert_eq!((attribute(&get, "twintier.outcome"), attribute(&get, "twintier.tier")), ("hit".into(), "l2".into()));
    let fetch = collector.span("its fetch", |span| span.name == "twintier.fetch" && is_child(span, &get));
    let read = collector.span("what it asks", |span| is_child(span, &fetch));
    let operation = (attribute(&read, "db.operation.name"), attribute(&read, "db.operation.batch.size"));
    assert_eq!(operation, ("PIPELINE".into(), "2".into()));

    let resource = collector.resources().pop().unwrap();
    assert_eq!((&*resource["service.name"], resource["service.instance.id"].len()), ("twintier", 16));
    assert!(!collector.has_received(KEY) && !collector.has_received(VALUE), "keys and values stay here");
}

#[test]
fn an_applied_message_has_its_own_trace() {
    let (collector, redis) = (Collector::grpc(), Redis::start());
    let endpoint = collector.endpoint();
    let writer = replica(Some(&redis), &[], &[]);
    let _reader = replica(Some(&redis), &[], &variables(&endpoint, "grpc", &EXPORT_AT_ONCE));
    writer.client(&["set", KEY, VALUE, "--namespace", "diaries"]).assert_exit(0);
    let applied = collector.span("the message", |span| attribute(span, "twintier.namespace") == "diaries");
    assert_eq!((applied.name.as_str(), applied.kind), ("process bus", SpanKind::Consumer as i32));
    assert!(applied.parent_span_id.is_empty());
    let attributes =
        ["messaging.system", "messaging.operation.type", "twintier.outcome"].map(|name| attribute(&applied, name));
    assert_eq!(attributes, ["redis", "process", "applied"]);
    assert!(!collector.has_received(KEY) && !collector.has_received(VALUE), "keys and values stay here");
}

#[test]
fn a_get_that_waits_for_a_fetch_links_to_it() {
    let (collector, redis) = (Collector::grpc(), Redis::start());
    let endpoint = collector.endpoint();
    let service = replica(Some(&redis), &[], &variables(&endpoint, "grpc", &EXPORT_AT_ONCE));
    let coalesced = || {
        let stats = service.client(&["stats", "-o", "json"]).assert_exit(0).json();
        stats.to_string().contains(r#""coalesced":3"#)
    };
    let callers: Vec<Caller> = (0..4).map(|_| Caller::of(&service, "01")).collect();
    redis.freeze();
    std::thread::scope(|scope| {
        for caller in &callers {
            scope.spawn(|| caller.get(pb::Consistency::Unspecified).unwrap());
        }
        wait_until("three Gets wait for the fourth", coalesced);
        redis.thaw();
    });
    let mut waits = Vec::new();
    wait_until("three Gets have waited", || {
        waits = collector.spans().into_iter().filter(|span| span.name == "twintier.wait").collect();
        waits.len() == 3
    });
    let fetch = collector.span("the fetch", |span| span.name == "twintier.fetch");
    assert_eq!(attribute(&fetch, "twintier.outcome"), "absent");
    for wait in &waits {
        let [link] = &wait.links[..] else { panic!("{wait:?}") };
        assert_eq!((&link.trace_id, &link.span_id), (&fetch.trace_id, &fetch.span_id));
        assert_ne!(wait.trace_id, fetch.trace_id, "each span is in the trace of its caller");
        assert!(callers.iter().any(|caller| caller.trace == hex(&wait.trace_id)));
    }
}

#[test]
fn a_get_that_waits_for_a_lease_records_the_round() {
    let (collector, redis) = (Collector::grpc(), Redis::start());
    let endpoint = collector.endpoint();
    let service = replica(Some(&redis), &[], &variables(&endpoint, "grpc", &EXPORT_AT_ONCE));
    let [maker, waiter] = [(); 2].map(|()| Caller::of(&service, "01"));
    let get = pb::GetRequest { key: KEY.into(), lease: Some(pb::LeaseOptions::default()), ..Default::default() };
    let ask = |caller: &Caller| {
        let mut client = caller.client.clone();
        caller.runtime.block_on(client.get(caller.request(get.clone()))).unwrap().into_inner()
    };
    let lease = ask(&maker).lease.expect("the first Get has the lease");
    let waits = || service.client(&["stats", "-o", "json"]).assert_exit(0).json()["leases"]["waiting"] == 1;
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(ask(&waiter).lease.is_none(), "the entry was filled"));
        wait_until("the second Get waits", waits);
        let content = Some(pb::set_request::Content::Value(VALUE.into()));
        let condition = Some(pb::set_request::Condition::Lease(lease.id.clone()));
        let set = pb::SetRequest { key: KEY.into(), content, condition, ..Default::default() };
        maker.runtime.block_on(maker.client.clone().set(Request::new(set))).unwrap();
    });
    let of = |caller: &Caller, span: &Span, name: &str| span.name == name && hex(&span.trace_id) == caller.trace;
    let round = collector.span("the round", |span| of(&maker, span, "twintier.lease"));
    assert_eq!(attribute(&round, "twintier.outcome"), "granted");
    collector.span("its script", |span| span.name == "EVALSHA acquire" && is_child(span, &round));
    let wait = collector.span("the wait", |span| of(&waiter, span, "twintier.wait"));
    let links: Vec<_> = wait.links.iter().map(|link| link.span_id.clone()).collect();
    assert_eq!(links, [round.span_id]);
}

#[test]
fn every_page_of_a_batch_is_read_within_its_rpc() {
    let (collector, redis) = (Collector::http(), Redis::start());
    let endpoint = collector.endpoint();
    let service = replica(Some(&redis), &[], &variables(&endpoint, "http/protobuf", &EXPORT_AT_ONCE));
    let caller = Caller::of(&service, "01");
    let keys = (0..1000).map(|n| format!("key {n}")).collect();
    let batch = caller.request(pb::BatchGetRequest { keys, ..Default::default() });
    caller.runtime.block_on(async {
        let mut answers = caller.client.clone().batch_get(batch).await.unwrap().into_inner();
        while answers.message().await.unwrap().is_some() {}
    });
    let get = collector.span("the BatchGet", |span| caller.is_parent_of(span));
    let ended = (attribute(&get, "rpc.response.status_code"), attribute(&get, "twintier.items"));
    assert_eq!(ended, ("OK".into(), "1000".into()));
    wait_until("every round trip has arrived", || {
        let trips = collector.spans().into_iter().filter(|span| is_child(span, &get));
        let sizes = trips.map(|trip| attribute(&trip, "db.operation.batch.size").parse::<usize>().unwrap());
        // One command for each key, and one for each partition of each round trip.
        sizes.sum::<usize>() > 1000
    });
}

#[test]
fn a_failure_of_the_service_is_an_error_of_its_span() {
    let (collector, mut redis) = (Collector::http(), Redis::start());
    let endpoint = collector.endpoint();
    let service = replica(Some(&redis), &[], &variables(&endpoint, "http/protobuf", &EXPORT_AT_ONCE));
    redis.kill();
    let caller = Caller::of(&service, "01");
    let status = caller.get(pb::Consistency::Strong).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let get = collector.span("the Get", |span| span.name == GET && caller.is_parent_of(span));
    assert_eq!(get.status.clone().map(|status| status.code()), Some(StatusCode::Error));
    let attributes = ["rpc.response.status_code", "error.type"].map(|name| attribute(&get, name));
    assert_eq!(attributes, ["UNAVAILABLE", "UNAVAILABLE"]);

    let unknown = pb::GetRequest { key: String::new(), ..Default::default() };
    let mistaken = Caller::of(&service, "01");
    let status = mistaken.runtime.block_on(mistaken.client.clone().get(mistaken.request(unknown))).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let get = collector.span("the invalid Get", |span| mistaken.is_parent_of(span));
    assert_eq!(get.status.clone().unwrap_or_default().code(), StatusCode::Unset, "the caller's mistake");
    let attributes = ["rpc.response.status_code", "error.type"].map(|name| attribute(&get, name));
    assert_eq!(attributes, ["INVALID_ARGUMENT", ""]);
}

#[test]
fn a_log_line_carries_its_trace_id() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = if protocol == "grpc" { Collector::grpc() } else { Collector::http() };
        let endpoint = collector.endpoint();
        let service = replica(None, &["log.level=debug"], &variables(&endpoint, protocol, &EXPORT_AT_ONCE));
        let caller = Caller::of(&service, "01");
        caller.set();
        let set = collector.span("the Set", |span| caller.is_parent_of(span));
        let line = service.wait_for_log(r#""message":"set""#);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let ids = (line["trace_id"].as_str().unwrap(), line["span_id"].as_str().unwrap());
        assert_eq!(ids, (caller.trace.as_str(), hex(&set.span_id).as_str()));
        wait_until("the log line has arrived", || {
            let is_it = |record: &(String, _)| record.0.starts_with("twintier::grpc");
            collector.logs().iter().filter(|record| is_it(record)).any(|(_, record)| record.trace_id == set.trace_id)
        });
        let outside = service.wait_for_log("twintier serves");
        assert!(!outside.contains("trace_id"), "{outside}");
        let carriers = ["h2", "hyper", "tonic", "reqwest", "opentelemetry"];
        for (scope, _) in collector.logs() {
            assert!(!carriers.iter().any(|carrier| scope.starts_with(carrier)), "{scope} exports its own logs");
        }
        assert!(!collector.has_received(KEY) && !collector.has_received(VALUE), "keys and values stay here");
    }
}

#[test]
fn a_text_log_line_ends_with_its_trace_id() {
    let collector = Collector::grpc();
    let endpoint = collector.endpoint();
    let settings = ["log.level=debug", "log.format=human"];
    let service = replica(None, &settings, &variables(&endpoint, "grpc", &[("OTEL_LOGS_EXPORTER", "none")]));
    let caller = Caller::of(&service, "01");
    caller.set();
    let line = service.wait_for_log(&format!(" trace_id={} span_id=", caller.trace));
    assert!(line.contains(" set ") && line.contains("DEBUG"), "{line}");
}

#[test]
fn no_telemetry_is_sent_when_variables_disable_it() {
    let off: [&[(&str, &str)]; 4] = [
        &[("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_TRACES_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")],
        &[("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_LOGS_EXPORTER", "none")],
        &[
            ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
            ("OTEL_LOGS_EXPORTER", "none"),
            ("OTEL_PROPAGATORS", "none"),
        ],
    ];
    for off in off {
        let collector = Collector::grpc();
        let endpoint = collector.endpoint();
        let mut service = replica(None, &[], &variables(&endpoint, "grpc", off));
        Caller::of(&service, "01").set();
        service.signal("INT");
        assert_eq!(service.wait_for_exit().0, Some(0));
        assert!(!collector.has_received_data(), "{off:?}: {:?}", collector.spans());
    }
}

#[test]
fn the_callers_sampling_is_followed_and_shutdown_flushes_spans() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = if protocol == "grpc" { Collector::grpc() } else { Collector::http() };
        let endpoint = collector.endpoint();
        let mut environment = variables(&endpoint, protocol, &EXPORT_AT_STOP);
        environment.push(("OTEL_TRACES_SAMPLER", "parentbased_always_off"));
        let mut service = replica(None, &["drain.delay=0s"], &environment);
        let (traced, untraced) = (Caller::of(&service, "01"), Caller::of(&service, "00"));
        traced.set();
        untraced.set();
        assert!(!collector.has_received_data(), "no export is due");
        service.signal("TERM");
        assert_eq!(service.wait_for_exit().0, Some(0));
        let spans = collector.spans();
        assert!(spans.len() == 1 && traced.is_parent_of(&spans[0]), "{protocol}: {spans:?}");
        let says = |text: &str| collector.logs().iter().any(|(_, record)| format!("{record:?}").contains(text));
        assert!(says("twintier serves") && says("stopped"), "all logs are exported too");
    }
}

#[test]
fn a_collector_behind_tls_is_verified_with_a_client_certificate() {
    let authority = Authority::new();
    let (ca, (certificate, key)) = (authority.file(), authority.certificate("client"));
    for protocol in ["grpc", "http/protobuf"] {
        let collector =
            if protocol == "grpc" { Collector::grpc_by_tls(&authority) } else { Collector::https(&authority) };
        let endpoint = format!("https://localhost:{}", collector.port());
        let mut environment = variables(&endpoint, protocol, &EXPORT_AT_ONCE);
        environment.extend([("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()), ("OTEL_LOGS_EXPORTER", "none")]);
        if protocol == "grpc" {
            environment.push(("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate));
            environment.push(("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key));
        }
        let service = replica(None, &[], &environment);
        let caller = Caller::of(&service, "01");
        caller.set();
        collector.span("the Set", |span| caller.is_parent_of(span));

        let other = Authority::new();
        let file = other.file();
        let stranger = replica(None, &[], &[&environment[..], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)]].concat());
        stranger.wait_for_log("telemetry cannot be sent");
    }
}

#[test]
fn an_unreachable_collector_and_its_recovery_are_logged_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = port.local_addr().unwrap();
    drop(port);
    let endpoint = format!("http://{place}");
    let mut environment = variables(&endpoint, "grpc", &EXPORT_AT_ONCE);
    environment.extend([("OTEL_LOGS_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000")]);
    let service = replica(None, &[], &environment);
    let caller = Caller::of(&service, "01");
    caller.set();
    service.wait_for_log("telemetry cannot be sent");
    caller.set();
    let collector = Collector::grpc_on(std::net::TcpListener::bind(place).unwrap());
    wait_until("a span has arrived", || {
        caller.set();
        !collector.spans().is_empty()
    });
    service.wait_for_log("telemetry is sent again");
    let complaints = service.log().iter().filter(|line| line.contains("telemetry cannot be sent")).count();
    assert_eq!(complaints, 1, "{:?}", service.log());
}

#[test]
fn an_invalid_variable_is_logged_with_its_fallback() {
    let collector = Collector::http();
    let endpoint = collector.endpoint();
    let nonsense = [("OTEL_TRACES_SAMPLER", "sometimes"), ("OTEL_BSP_MAX_QUEUE_SIZE", "lots")];
    let service = replica(None, &[], &variables(&endpoint, "http/json", &nonsense));
    assert!(service.wait_for_log("telemetry is sent").contains(r#""sampler":"parentbased_always_on""#));
    for (variable, value, taken) in [
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "lots", "2048"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf"),
    ] {
        let line = service.wait_for_log(variable);
        for part in [r#""level":"WARN""#, &format!(r#""value":"{value}""#), &format!(r#""taken":"{taken}""#)] {
            assert!(line.contains(part), "{line}");
        }
    }
}
