//! Health, reflection, and replicas that must not serve.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twintier::pb;

use crate::harness::{
    Answer as _, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, always_until, eventually, in_both_modes,
    invalidate_key, set_request, whole_namespace, within,
};

/// Services whose status follows readiness.
const READY: [&str; 3] = ["", "twintier.v1.CacheService", "readiness"];

impl Replica {
    async fn health(&self, service: &str) -> Result<ServingStatus, tonic::Status> {
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(self.channel.clone()).check(request).await?;
        Ok(answer.into_inner().status())
    }

    async fn is_serving(&self, service: &str) -> bool {
        self.health(service).await.unwrap() == ServingStatus::Serving
    }

    async fn wait_until_ready(&self) {
        for service in READY {
            eventually("the replica is ready", async || self.is_serving(service).await).await;
        }
    }
}

in_both_modes! {
    a_ready_replica_reports_its_backend,
    health_of_an_unknown_service_is_not_found,
    a_watch_of_an_unknown_service_reports_it_and_stays_open,
    a_drain_is_announced_before_it_ends_anything,
    a_watch_of_health_ends_after_goaway,
    reflection_lists_the_services,
    reflection_can_be_switched_off,
}

async fn a_ready_replica_reports_its_backend(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.wait_until_ready().await;
    assert!(replica.is_serving("liveness").await);
    assert_eq!(replica.is_serving("l1-only").await, mode.is_standalone());
    eventually("the health of redis is reported", async || replica.is_serving("redis").await != mode.is_standalone())
        .await;
}

async fn health_of_an_unknown_service_is_not_found(mode: Mode) {
    let replica = mode.replica(&[]).await;
    assert_eq!(replica.health("nothing").await.unwrap_err().code(), Code::NotFound);
}

async fn a_watch_of_an_unknown_service_reports_it_and_stays_open(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = HealthCheckRequest { service: "nothing".into() };
    let mut watch = HealthClient::new(replica.channel.clone()).watch(request).await.unwrap().into_inner();
    let first = within(Duration::from_secs(5), watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let second = tokio::time::timeout(Duration::from_millis(300), watch.message()).await;
    assert!(second.is_err(), "{second:?}");
}

async fn a_drain_is_announced_before_it_ends_anything(mode: Mode) {
    let replica = mode.replica(&[("drain.delay", "1500ms")]).await;
    replica.wait_until_ready().await;
    let (channel, mut client) = (replica.channel.clone(), replica.client.clone());
    let request = HealthCheckRequest { service: "readiness".into() };
    let mut watch = HealthClient::new(channel.clone()).watch(request.clone()).await.unwrap().into_inner();
    let next = within(Duration::from_secs(5), watch.message()).await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::Serving);
    let draining = tokio::spawn(replica.drain());
    let next = within(Duration::from_secs(1), watch.message()).await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    let mut health = HealthClient::new(channel);
    for service in READY {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    }
    let alive = health.check(HealthCheckRequest { service: "liveness".into() }).await.unwrap();
    assert_eq!(alive.into_inner().status(), ServingStatus::Serving);
    // Callers that have not seen the change yet are still served.
    client.set(set_request("k", "v")).await.unwrap();
    // A watching client would call again at once if the stream ended.
    let next = tokio::time::timeout(Duration::from_millis(300), watch.message()).await;
    assert!(next.is_err(), "{next:?}");
    assert!(!draining.is_finished());
    assert!(within(Duration::from_secs(8), draining).await.unwrap());
    client.set(set_request("k", "v")).await.unwrap_err();
}

/// An open watch would keep the connection open.
async fn a_watch_of_health_ends_after_goaway(mode: Mode) {
    let age = [("server.max_connection_age", "1s"), ("server.max_connection_age_grace", "1h")];
    let replica = mode.replica(&age).await;
    let request = HealthCheckRequest { service: "liveness".into() };
    let mut watch = HealthClient::new(replica.channel.clone()).watch(request).await.unwrap().into_inner();
    let first = within(Duration::from_secs(5), watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    assert!(within(Duration::from_secs(5), watch.message()).await.unwrap().is_none());
}

async fn reflection_lists_the_services(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let expected = ["grpc.health.v1.Health", "twintier.v1.CacheService"];
    let v1 = {
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
        let question = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut client = ServerReflectionClient::new(replica.channel.clone());
        let answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
        let answers: Vec<Result<ServerReflectionResponse, _>> = answers.collect().await;
        let Some(MessageResponse::ListServicesResponse(list)) = answers[0].clone().unwrap().message_response else {
            panic!("{answers:?}")
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    };
    let v1alpha = {
        use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::v1alpha::{ServerReflectionRequest, ServerReflectionResponse};
        let question = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut client = ServerReflectionClient::new(replica.channel.clone());
        let answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
        let answers: Vec<Result<ServerReflectionResponse, _>> = answers.collect().await;
        let Some(MessageResponse::ListServicesResponse(list)) = answers[0].clone().unwrap().message_response else {
            panic!("{answers:?}")
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    };
    for listed in [v1, v1alpha] {
        for service in expected {
            assert!(listed.iter().any(|name| name == service), "{listed:?}");
        }
    }
}

async fn reflection_can_be_switched_off(mode: Mode) {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let replica = mode.replica(&[("server.reflection", "false")]).await;
    let mut client = ServerReflectionClient::new(replica.channel.clone());
    let refusal = client.server_reflection_info(stream::iter([])).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    assert!(replica.is_serving("liveness").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_redis_fails_neither_liveness_nor_readiness() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    replica.wait_until_ready().await;
    eventually("redis serves", async || replica.is_serving("redis").await).await;
    redis.kill9();
    eventually("redis does not serve", async || !replica.is_serving("redis").await).await;
    always_until(tokio::time::Instant::now() + Duration::from_secs(1), async || {
        assert!(replica.is_serving("liveness").await);
        assert!(replica.is_serving("readiness").await);
        assert!(!replica.is_serving("l1-only").await);
    })
    .await;
    redis.restart().await;
    eventually("redis serves again", async || replica.is_serving("redis").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_a_reachable_redis_becomes_ready_after_a_delay() {
    let redis = Redis::not_started(&[]);
    let replica = Replica::connected_to(&redis.url(), &[("redis.connect_timeout", "300ms")]).await;
    assert!(!replica.is_serving("readiness").await);
    assert!(replica.is_serving("liveness").await);
    replica.wait_until_ready().await;
    assert!(!replica.is_serving("redis").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_number_of_partitions_does_not_serve() {
    let redis = Redis::start().await;
    let first = Replica::on(&redis, &[]).await;
    first.set("k", "v").await;
    let second =
        Replica::connected_to(&redis.url(), &[("coherence.partitions", "8"), ("redis.connect_timeout", "100ms")]).await;
    let get = pb::GetRequest { key: "k".into(), ..Default::default() };
    let halted = |refusal: tonic::Status| {
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
        refusal.reason() == "REPLICA_HALTED"
    };
    eventually("the replica is halted", async || {
        assert!(!second.is_serving("readiness").await);
        second.try_get(get.clone()).await.is_err_and(halted)
    })
    .await;
    always_until(tokio::time::Instant::now() + Duration::from_secs(1), async || {
        for service in READY {
            assert!(!second.is_serving(service).await);
        }
        assert!(halted(second.try_get(get.clone()).await.unwrap_err()));
        assert!(halted(second.get_strong("k").await.unwrap_err()));
    })
    .await;
    assert!(second.is_serving("liveness").await);
    let reason = second.redis().await.reason;
    assert!(reason.contains("64") && reason.contains('8'), "{reason}");
    assert!(first.is_serving("readiness").await);
    assert!(first.get_strong("k").await.unwrap().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_number_of_partitions_reports_it_to_writers() {
    let redis = Redis::start().await;
    let _first = Replica::on(&redis, &[]).await;
    let second = Replica::connected_to(&redis.url(), &[("coherence.partitions", "8")]).await;
    let get = pb::GetRequest { key: "k".into(), ..Default::default() };
    eventually("the replica is halted", async || {
        second.try_get(get.clone()).await.is_err_and(|refusal| refusal.reason() == "REPLICA_HALTED")
    })
    .await;
    for refusal in [
        second.store(set_request("k", "other")).await.unwrap_err(),
        second.remove(invalidate_key("k")).await.unwrap_err(),
        second.remove(whole_namespace("")).await.unwrap_err(),
    ] {
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
        assert_eq!(refusal.reason(), "REPLICA_HALTED");
    }
}
