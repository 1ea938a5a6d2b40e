//! The self-audit: hits from memory are compared with Redis.

use twintier::pb;

use crate::harness::{Answer as _, Redis, Replica, SHORT_BOUND, eventually};

const EVERY_HIT: (&str, &str) = ("coherence.self_audit", "1");

async fn self_audit(replica: &Replica) -> pb::SelfAuditStats {
    replica.stats().await.self_audit.expect("reported")
}

fn audited() -> Vec<(&'static str, &'static str)> {
    SHORT_BOUND.iter().copied().chain([EVERY_HIT]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_are_audited_and_missing_entries_are_counted_separately() {
    let redis = Redis::start().await;
    let settings = [audited(), vec![("coherence.partitions", "1")]].concat();
    let replica = Replica::on(&redis, &settings).await;
    replica.set("k", "v").await;
    eventually("a hit is checked", async || {
        replica.get("k").await;
        self_audit(&replica).await.checked > 0
    })
    .await;
    // Removes the entry directly in Redis: memory receives no message.
    redis.cli(&["UNLINK", "twintier:{0}:v:default:k"]).await;
    eventually("a hit on a missing entry is counted", async || {
        if !replica.get("k").await.is("v") {
            replica.set("k", "v").await;
            redis.cli(&["UNLINK", "twintier:{0}:v:default:k"]).await;
        }
        self_audit(&replica).await.gone > 0
    })
    .await;
    let audit = self_audit(&replica).await;
    assert_eq!(audit.violations, 0);
    assert!(audit.sampled >= audit.checked + audit.gone + audit.failed && audit.staleness_max.is_some(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hit_is_audited_when_the_self_audit_is_off() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[("coherence.self_audit", "0")]).await;
    replica.set("k", "v").await;
    for _ in 0..50 {
        replica.get("k").await;
    }
    assert_eq!(self_audit(&replica).await, pb::SelfAuditStats::default());
}

/// Without a limit on proofs, a replica with a deaf subscription keeps answering overwritten
/// values.
#[cfg(feature = "drills")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_older_than_the_bound_are_found() {
    use crate::harness::{Class, Direction, Proxy};
    use twintier::cache::coherence::safeguards::{Safeguard, Safeguards};

    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, SHORT_BOUND).await;
    let reader = Replica::connected_to_with(&proxy.url(), &audited(), Safeguards::without(Safeguard::Audit)).await;
    reader.wait_until_proven().await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    writer.set("k", "new").await;
    eventually("a violation is counted", async || {
        reader.get("k").await;
        self_audit(&reader).await.violations > 0
    })
    .await;
}
