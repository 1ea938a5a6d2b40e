//! Policy changes at run time.

use tonic::Status;
use tonic::transport::Channel;
use twintier::pb;
use twintier::pb::admin_service_client::AdminServiceClient;

use crate::harness::{
    Answer as _, Cluster, Fleet, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, eventually, in_both_modes,
    set_request,
};

impl Replica {
    fn policies(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    async fn change(&self, namespace: &str, policy: pb::Policy) -> Result<pb::NamespacePolicy, Status> {
        let request = pb::SetPolicyRequest { namespace: namespace.into(), policy: Some(policy) };
        Ok(self.policies().set_policy(request).await?.into_inner().policy.unwrap())
    }

    async fn reset(&self, namespace: &str) -> Result<pb::NamespacePolicy, Status> {
        let request = pb::ResetPolicyRequest { namespace: namespace.into() };
        Ok(self.policies().reset_policy(request).await?.into_inner().policy.unwrap())
    }

    async fn policy(&self, namespace: &str) -> pb::NamespacePolicy {
        let request = pb::ListPoliciesRequest { namespace: namespace.into() };
        let listed = self.policies().list_policies(request).await.unwrap().into_inner();
        match namespace {
            "" => listed.service.unwrap(),
            _ => listed.namespaces.into_iter().next().unwrap(),
        }
    }

    async fn is_disabled(&self, key: &str) -> bool {
        self.get(key).await.miss() == Some(pb::MissReason::Disabled)
    }
}

fn disabled() -> pb::Policy {
    pb::Policy { enabled: Some(false), ..Default::default() }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

in_both_modes! {
    a_namespace_is_disabled_and_enabled_again,
    the_whole_service_is_disabled_and_enabled_again,
    policies_are_listed_in_full_and_with_their_changes,
    invalid_policy_changes_are_refused_by_field_without_effect,
    a_policy_change_keeps_other_changed_fields,
}

async fn a_namespace_is_disabled_and_enabled_again(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let changed = replica.change("default", disabled()).await.unwrap();
    assert_eq!((changed.namespace.as_str(), changed.changed), ("default", Some(disabled())));
    assert!(replica.is_disabled("k").await);
    assert_eq!(replica.store(set_request("k", "w")).await.unwrap().outcome(), pb::SetOutcome::Disabled);
    replica.set_in("other", "k", "v").await;
    let verdict = replica.inspect("k").await.verdict;
    assert!(verdict.starts_with("miss: the cache is switched off for the namespace"), "{verdict}");
    let reset = replica.reset("default").await.unwrap();
    assert_eq!((reset.policy.unwrap().enabled, reset.changed), (Some(true), Some(pb::Policy::default())));
    assert!(!replica.is_disabled("k").await);
}

async fn the_whole_service_is_disabled_and_enabled_again(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let changed = replica.change("", disabled()).await.unwrap();
    assert_eq!((changed.namespace.as_str(), changed.changed), ("", Some(disabled())));
    let now = changed.policy.unwrap();
    assert_eq!((now.enabled, now.l1, now.l2, now.jitter), (Some(false), Some(true), Some(true), None));
    assert!(replica.is_disabled("k").await);
    assert!(!replica.stats().await.replica.unwrap().cache_enabled);
    replica.reset("").await.unwrap();
    assert!(!replica.is_disabled("k").await);
}

async fn policies_are_listed_in_full_and_with_their_changes(mode: Mode) {
    let replica = mode.replica(&[("namespaces.sessions.max_ttl", "1h")]).await;
    replica.change("sessions", pb::Policy { jitter: Some(0.25), ..Default::default() }).await.unwrap();
    let listed = replica.policies().list_policies(pb::ListPoliciesRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = listed.namespaces.iter().map(|listed| listed.namespace.as_str()).collect();
    assert_eq!(names, ["default", "sessions"]);
    let sessions = &listed.namespaces[1];
    let policy = sessions.policy.unwrap();
    assert_eq!((policy.max_ttl, policy.jitter, policy.enabled), (seconds(3600), Some(0.25), Some(true)));
    assert_eq!(sessions.changed, Some(pb::Policy { jitter: Some(0.25), ..Default::default() }));
    assert_eq!(listed.namespaces[0].changed, Some(pb::Policy::default()));
    assert_eq!(listed.service.unwrap().changed, Some(pb::Policy::default()));
    // An unknown namespace has the policy it would get. A request for it does not register it.
    assert_eq!(replica.policy("never").await.policy.unwrap().enabled, Some(true));
    let listed = replica.policies().list_policies(pb::ListPoliciesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.namespaces.len(), 2);
}

async fn invalid_policy_changes_are_refused_by_field_without_effect(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let wrong = pb::Policy { max_ttl: seconds(1), jitter: Some(2.0), ..Default::default() };
    let refused = replica.change("n", wrong).await.unwrap_err();
    refused
        .assert_violations(&[("policy.jitter", "from 0 to 0.5; was 2"), ("policy.default_ttl", "at most max_ttl, 1s")]);
    assert_eq!(replica.policy("n").await.changed, Some(pb::Policy::default()));
    let negative = pb::Policy { stale_window: seconds(-1), compression: 9, ..Default::default() };
    let refused = replica.change("No!", negative).await.unwrap_err();
    refused.assert_violations(&[
        ("namespace", "No!"),
        ("policy.stale_window", "negative"),
        ("policy.compression", "9"),
    ]);
    let refused = replica.change("", pb::Policy { jitter: Some(0.1), ..disabled() }).await.unwrap_err();
    refused.assert_violations(&[("policy.jitter", "only enabled, l1 and l2 can")]);
    assert_eq!(replica.policy("").await.changed, Some(pb::Policy::default()));
    replica
        .change("n", pb::Policy::default())
        .await
        .unwrap_err()
        .assert_violations(&[("policy", "must change something")]);
}

async fn a_policy_change_keeps_other_changed_fields(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.change("n", pb::Policy { jitter: Some(0.1), ..Default::default() }).await.unwrap();
    let both = replica.change("n", pb::Policy { immutable: Some(true), ..Default::default() }).await.unwrap();
    let expected = pb::Policy { jitter: Some(0.1), immutable: Some(true), ..Default::default() };
    assert_eq!(both.changed, Some(expected));
}

async fn assert_changes_propagate(one: &Replica, other: &Replica) {
    one.change("n", pb::Policy { max_ttl: seconds(600), ..Default::default() }).await.unwrap();
    eventually("the other replica has the change", async || {
        other.policy("n").await.policy.unwrap().max_ttl == seconds(600)
    })
    .await;
    // Two replicas change one field each, and both changes hold.
    let [by_one, by_other] = [Some(0.1), Some(0.2)].map(|jitter| pb::Policy { jitter, ..Default::default() });
    let l1 = pb::Policy { l1: Some(false), ..Default::default() };
    let (first, second) = tokio::join!(one.change("n", by_one), other.change("n", l1));
    first.unwrap();
    second.unwrap();
    other.change("n", by_other).await.unwrap();
    for replica in [one, other] {
        eventually("both replicas have both changes", async || {
            let policy = replica.policy("n").await.policy.unwrap();
            (policy.max_ttl, policy.jitter, policy.l1) == (seconds(600), Some(0.2), Some(false))
        })
        .await;
    }
    one.reset("n").await.unwrap();
    eventually("the change is reset", async || other.policy("n").await.changed == Some(pb::Policy::default())).await;
    other.change("", disabled()).await.unwrap();
    eventually("the service is disabled", async || one.is_disabled("k").await).await;
    one.reset("").await.unwrap();
    eventually("the service is enabled", async || !other.is_disabled("k").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_reaches_every_replica() {
    let fleet = Fleet::start(2, &[]).await;
    assert_changes_propagate(&fleet[0], &fleet[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_reaches_every_replica_in_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let (one, other) =
        (Replica::connected_to(&cluster.url(), &[]).await, Replica::connected_to(&cluster.url(), &[]).await);
    one.wait_until_proven().await;
    other.wait_until_proven().await;
    assert_changes_propagate(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_survives_restarts_and_applies_before_readiness() {
    let redis = Redis::start().await;
    let one = Replica::on(&redis, &[]).await;
    one.change("default", disabled()).await.unwrap();
    one.stop().await;
    for settings in [&[][..], &[("warm_start.enabled", "false")]] {
        let two = Replica::connected_to(&redis.url(), settings).await;
        eventually("the replica is ready", async || {
            let request = tonic_health::pb::HealthCheckRequest { service: "readiness".into() };
            let mut health = tonic_health::pb::health_client::HealthClient::new(two.channel.clone());
            health.check(request).await.unwrap().into_inner().status().as_str_name() == "SERVING"
        })
        .await;
        assert!(two.is_disabled("k").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_lost_by_redis_is_restored_by_replicas() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::on(&redis, SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
    one.change("default", disabled()).await.unwrap();
    eventually("the other replica has the change", async || other.is_disabled("k").await).await;
    redis.cli(&["FLUSHALL"]).await;
    eventually("the change is restored", async || {
        redis.cli(&["HEXISTS", "twintier:{0}:p", "default/enabled"]).await.number() == 1
    })
    .await;
    let third = Replica::on(&redis, SHORT_BOUND).await;
    eventually("a new replica has the change", async || third.is_disabled("k").await).await;
    assert!(one.is_disabled("k").await && other.is_disabled("k").await);
    other.reset("default").await.unwrap();
    eventually("the change is reset", async || !one.is_disabled("k").await && !third.is_disabled("k").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_stay_and_cannot_change_while_redis_is_down() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    replica.change("default", disabled()).await.unwrap();
    redis.kill9();
    let refused = replica.reset("default").await.unwrap_err();
    assert_eq!(refused.reason(), "L2_UNAVAILABLE");
    assert!(refused.retry_delay().is_some());
    assert!(replica.is_disabled("k").await);
}
