//! Metrics by scrape and by OTLP: values, and no keys or entry values in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use twintier::pb;
use twintier::pb::set_request::Condition;
use twintier::telemetry::metrics::reference;

use crate::harness::{Answer as _, Collector, Redis, Replica, eventually, set_request, whole_namespace, within};

const LONG_TIMEOUTS: Duration = Duration::from_secs(10);
const OUTCOMES: [(&str, &str); 5] = [("hit", "l1"), ("hit", "l2"), ("stale", "l1"), ("stale", "l2"), ("miss", "none")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_includes_the_latest_operation() {
    let redis = Redis::start().await;
    let replica = Replica::with_metrics(&[("redis.url", &redis.url()), ("redis.read_timeout", "1s")], &[]).await;
    replica.wait_until_proven().await;
    let gets = |namespace: &str| {
        let scrape = replica.scrape();
        let labels = |(outcome, tier)| [("namespace", namespace), ("outcome", outcome), ("tier", tier)];
        OUTCOMES.map(|outcome| scrape.get("twintier_gets_total", &labels(outcome)) as u64)
    };
    assert_eq!(gets("default"), [0; 5], "series exist from 0 on");

    for key in ["a", "b", "c"] {
        replica.get(key).await;
    }
    replica.set("a", "1").await;
    replica.set_in("other", "a", "1").await;
    let if_absent = Some(Condition::IfAbsent(pb::IfAbsent {}));
    replica.store(pb::SetRequest { condition: if_absent, ..set_request("a", "2") }).await.unwrap();
    replica.store(pb::SetRequest { tokens: vec!["x".into()], ..set_request("a", "3") }).await.unwrap_err();
    for _ in 0..4 {
        replica.get_strong("a").await.unwrap();
    }
    replica.invalidate("b").await;
    replica.remove(whole_namespace("other")).await.unwrap();

    assert_eq!(gets("default"), [0, 4, 0, 0, 3]);
    assert_eq!(gets("other"), [0; 5]);
    replica.wait_until_cached("a", "1").await;
    let [l1, l2, ..] = gets("default");
    assert!(l1 > 0 && l2 >= 4, "{l1} {l2}");

    let scrape = replica.scrape();
    let of =
        |name: &str, namespace, outcome| scrape.get(name, &[("namespace", namespace), ("outcome", outcome)]) as u64;
    let sets =
        ["stored", "condition_failed", "void", "error"].map(|outcome| of("twintier_sets_total", "default", outcome));
    assert_eq!(sets, [1, 1, 0, 0]);
    assert_eq!(of("twintier_sets_total", "other", "stored"), 1);
    let invalidations = ["default", "other"].map(|namespace| of("twintier_invalidations_total", namespace, "ok"));
    assert_eq!(invalidations, [1, 1]);

    let rpc = |method: &str, status| {
        let method = format!("twintier.v1.CacheService/{method}");
        let labels =
            [("rpc_method", method.as_str()), ("rpc_response_status_code", status), ("rpc_system_name", "grpc")];
        scrape.find("rpc_server_call_duration_seconds_count", &labels).map(|count| count as u64)
    };
    assert_eq!(rpc("Get", "OK"), Some(7 + l1 + l2 - 4));
    assert_eq!((rpc("Set", "OK"), rpc("Set", "INVALID_ARGUMENT"), rpc("Touch", "OK")), (Some(3), Some(1), Some(0)));
    let operations = |operation, tier| {
        scrape.get("twintier_operation_duration_seconds_count", &[("operation", operation), ("tier", tier)]) as u64
    };
    assert_eq!((operations("get", "none"), operations("get", "l1"), operations("get", "l2")), (3, l1, l2));
    assert_eq!(operations("set", "none"), 3);
    let scripts = scrape.get("db_client_operation_duration_seconds_count", &[("db_operation_name", "EVALSHA")]);
    let trips = scrape.get("db_client_operation_duration_seconds_count", &[("db_operation_name", "PIPELINE")]);
    assert!(scripts >= 5.0 && trips >= 7.0, "{scripts} {trips}");
    assert_eq!(scrape.get("twintier_redis_state", &[("state", "healthy")]), 1.0);
    assert_eq!(scrape.get("twintier_redis_connections", &[("state", "down")]), 0.0);
    let connected = ["twintier_redis_connected", "twintier_redis_breaker_open", "twintier_connections"];
    assert_eq!(connected.map(|name| scrape.get(name, &[])), [1.0, 0.0, 1.0]);
    assert_eq!(scrape.get("twintier_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_documented_metrics_are_exposed() {
    let redis = Redis::start().await;
    let url = redis.url();
    let settings = [("redis.url", url.as_str()), ("coherence.self_audit", "1"), ("warm_start.enabled", "true")];
    let replica = Replica::with_metrics(&settings, &[]).await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    let away = replica.try_get(pb::GetRequest { key: "k".repeat(100_000), ..Default::default() }).await;
    away.expect_err("too long");

    // Without TLS no certificate ends.
    let reference =
        || reference().into_iter().filter(|metric| metric.name != "twintier_tls_certificate_expiry_seconds");
    let documented: BTreeMap<_, _> = reference().map(|metric| (metric.name, metric.kind.to_owned())).collect();
    let not_ours = |name: &String| name == "target_info";
    let exposed = || {
        let families = replica.scrape().families();
        families.into_iter().filter(|(name, _)| !not_ours(name)).collect::<BTreeMap<_, _>>()
    };
    eventually("delayed series exist too", async || {
        replica.get("k").await;
        exposed().len() >= documented.len()
    })
    .await;
    assert_eq!(exposed(), documented);

    let scrape = replica.scrape();
    for metric in reference() {
        let rare = |label: &String| label == "error_type";
        let labels: BTreeSet<_> = metric.labels.iter().filter(|label| !rare(label)).cloned().collect();
        assert_eq!(scrape.labels(&metric.name), labels, "{}", metric.name);
    }
    assert!(scrape.0.contains("service_name=\"twintier\"") && !scrape.0.contains("otel_scope"), "{}", scrape.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_namespaces_have_series_and_the_others_are_summed_up() {
    let replica =
        Replica::with_metrics(&[("limits.namespaces", "1100"), ("server.max_share_per_peer", "1")], &[]).await;
    for n in 0..1100 {
        replica.set_in(&format!("n{n}"), "k", "v").await;
    }
    let scrape = replica.scrape();
    let stored = scrape.by_label("twintier_sets_total", "namespace", "outcome=\"stored\"");
    // One of the thousand is "default", which stored nothing.
    let apart: Vec<_> = (0..1100).map(|n| stored.get(&format!("n{n}")).copied()).collect();
    assert_eq!(apart, (0..1100).map(|n| (n < 999).then_some(1.0)).collect::<Vec<_>>());
    assert_eq!((stored.len(), stored["_other"]), (1001, 101.0));
    assert!(!scrape.0.contains("otel_metric_overflow"), "the limit of series is above the SDK's default");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_report_a_standalone_replica() {
    let replica = Replica::with_metrics(&[], &[]).await;
    replica.set("k", "v").await;
    replica.wait_until_cached("k", "v").await;
    let scrape = replica.scrape();
    assert_eq!(scrape.get("twintier_redis_state", &[("state", "disabled")]), 1.0);
    let quiet = ["twintier_redis_connected", "twintier_redis_breaker_open", "twintier_redis_commands_total"];
    assert_eq!(quiet.map(|name| scrape.get(name, &[])), [0.0; 3]);
    assert_eq!(scrape.find("twintier_redis_round_trip_seconds", &[]), None);
    assert_eq!(scrape.get("twintier_partitions", &[("state", "unproven")]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_report_an_outage_of_redis() {
    let redis = Redis::start().await;
    let url = redis.url();
    let replica = Replica::with_metrics(&[("redis.url", &url), ("redis.unresponsive_after", "200ms")], &[]).await;
    replica.wait_until_proven().await;
    let series = ["twintier_redis_memory_usage_bytes", "twintier_redis_keys", "twintier_redis_round_trip_seconds"];
    let series = || series.map(|name| replica.scrape().find(name, &[]).is_some());
    eventually("the state of redis is reported", async || series() == [true; 3]).await;
    drop(redis);
    eventually("the outage is reported", async || {
        replica.get_strong("k").await.ok();
        let scrape = replica.scrape();
        let failed = [("rpc_method", "twintier.v1.CacheService/Get"), ("error_type", "UNAVAILABLE")];
        scrape.get("twintier_redis_connected", &[]) == 0.0
            && scrape.get("twintier_redis_state", &[("state", "unavailable")]) == 1.0
            && scrape.get("twintier_redis_breaker_open", &[]) > 0.0
            && scrape.find("rpc_server_call_duration_seconds_count", &failed) > Some(0.0)
    })
    .await;
    assert_eq!(series(), [false; 3], "no value is reported during the outage");
    let errors = || replica.scrape().get("twintier_redis_errors_total", &[]);
    let before = errors();
    replica.get_strong("k").await.unwrap_err();
    assert!(errors() > before, "unsent commands count as failed");
}

// === OTLP ===

/// Starts a replica that exports metrics often, after a Set and a Get.
async fn exporting_replica(variables: &[(&str, &str)]) -> Replica {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let variables = [variables, &[("OTEL_METRIC_EXPORT_INTERVAL", "100")]].concat();
    let replica = Replica::with_metrics(&[], &variables).await;
    replica.set_in("shop", KEY, VALUE).await;
    assert!(replica.get_from("shop", KEY).await.is(VALUE));
    replica
}

const KEY: &str = "user:4711:secret-key";
const VALUE: &str = "a-value-nobody-may-see";

/// Hits of memory in the namespace that the collector has received.
fn hits(collector: &Collector) -> Option<u64> {
    let (_, metric) = collector.latest("twintier.gets")?;
    let Some(Data::Sum(sum)) = metric.data else { panic!("a sum") };
    assert!(sum.is_monotonic);
    let wanted = [("namespace", "shop"), ("outcome", "hit"), ("tier", "l1")];
    let point = sum.data_points.into_iter().find(|point| {
        let text =
            |name: &str| point.attributes.iter().find(|pair| pair.key == name).map(|pair| format!("{:?}", pair.value));
        wanted.iter().all(|(name, value)| text(name).is_some_and(|text| text.contains(&format!("\"{value}\""))))
    })?;
    match point.value? {
        Value::AsInt(count) => Some(count as u64),
        Value::AsDouble(count) => panic!("{count}"),
    }
}

async fn assert_received(collector: Collector, variables: &[(&str, &str)]) {
    let replica = exporting_replica(variables).await;
    eventually("counts have arrived", async || hits(&collector) == Some(1)).await;
    eventually("durations have arrived", async || {
        let durations = collector.latest("rpc.server.call.duration").and_then(|(_, metric)| metric.data);
        let Some(Data::Histogram(durations)) = durations else { return false };
        durations.data_points.iter().map(|point| point.count).sum::<u64>() >= 2
    })
    .await;
    let (resource, _) = collector.latest("twintier.ready").expect("received");
    let names: BTreeMap<_, _> = resource.into_iter().collect();
    assert!(names["service.name"].contains("twintier"), "{names:?}");
    assert!(names["service.version"].contains(env!("CARGO_PKG_VERSION")), "{names:?}");
    assert!(names.contains_key("service.instance.id"), "{names:?}");

    // These metrics have no data without Redis, or without TLS.
    let quiet = [
        "twintier.bus.lag",
        "twintier.staleness",
        "twintier.redis.round_trip",
        "twintier.redis.memory.usage",
        "twintier.redis.memory.peak",
        "twintier.redis.memory.limit",
        "twintier.redis.keys",
        "twintier.redis.refused",
        "twintier.tls.certificate.expiry",
        "db.client.operation.duration",
    ];
    let known: BTreeSet<_> = reference().into_iter().filter_map(|metric| metric.otel_name.map(str::to_owned)).collect();
    let missing = known.difference(&collector.names()).cloned().collect::<Vec<_>>();
    assert!(
        missing.iter().all(|name| {
            let absent = ["twintier.warm_start", "twintier.redis.namespace"];
            quiet.contains(&&**name) || absent.iter().any(|beginning| name.starts_with(beginning))
        }),
        "{missing:?}"
    );
    assert_eq!(collector.names().difference(&known).next(), None);

    // The last export includes the latest operation.
    replica.get_from("shop", KEY).await;
    assert!(replica.stop().await);
    assert_eq!(hits(&collector), Some(2));
    for bytes in collector.bytes() {
        for secret in [KEY, "4711", VALUE] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} was sent");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_metrics_over_grpc() {
    let collector = Collector::grpc().await;
    let url = collector.url();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_received(collector, &variables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_metrics_over_http() {
    let collector = Collector::http().await;
    let url = collector.url();
    assert_received(collector, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_sdk_sends_nothing_and_can_still_be_scraped() {
    let collector = Collector::http().await;
    let url = collector.url();
    let replica = exporting_replica(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_SDK_DISABLED", "true")]).await;
    let hit = [("namespace", "shop"), ("outcome", "hit"), ("tier", "l1")];
    assert_eq!(replica.scrape().get("twintier_gets_total", &hit), 1.0);
    assert!(replica.stop().await);
    assert!(collector.bytes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_or_silent_collector_delays_no_request() {
    // The kernel accepts connections, and no process answers them.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &silent] {
        for protocol in ["grpc", "http/protobuf"] {
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let replica = exporting_replica(&variables).await;
            assert!(within(LONG_TIMEOUTS, replica.stop()).await, "{endpoint} {protocol}");
        }
    }
}
