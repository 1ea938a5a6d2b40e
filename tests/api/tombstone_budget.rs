//! Memory limit of the invalidation log over all namespaces.

use twintier::pb;
use twintier::pb::invalidate_request::Selector;

use crate::harness::{Answer as _, Redis, Replica, eventually, set_request};

fn tagged(namespace: &str, key: &str, tag: &str) -> pb::SetRequest {
    pb::SetRequest { namespace: namespace.into(), tags: vec![tag.into()], ..set_request(key, "v") }
}

async fn tier(replica: &Replica, namespace: &str, key: &str) -> pb::Tier {
    let answer = replica.get_from(namespace, key).await;
    assert!(answer.is("v"), "{answer:?}");
    answer.tier()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tags_of_one_namespace_use_only_its_own_budget() {
    let redis = Redis::start().await;
    // Room for about 600 tags. The quiet namespace has one of them.
    let replica = Replica::on(&redis, &[("limits.tombstone_bytes", "1MiB"), ("coherence.max_staleness", "10s")]).await;
    let invalidate = async |namespace: &str, tags: Vec<String>| {
        let selector = Some(Selector::Tags(pb::Tags { tags }));
        let request = pb::InvalidateRequest { namespace: namespace.into(), selector, ..Default::default() };
        replica.remove(request).await.unwrap();
    };
    replica.store(tagged("quiet", "gone", "first")).await.unwrap();
    replica.store(tagged("quiet", "kept", "other")).await.unwrap();
    replica.store(tagged("loud", "gone", "tag 0")).await.unwrap();
    replica.store(tagged("loud", "kept", "other")).await.unwrap();
    invalidate("quiet", vec!["first".into()]).await;
    for request in 0..80 {
        invalidate("loud", (0..16).map(|tag| format!("tag {}", 16 * request + tag)).collect()).await;
    }
    // The entry was in memory until the tags exceeded the budget. One read of Redis brings it back.
    assert_eq!(tier(&replica, "loud", "kept").await, pb::Tier::L2);
    eventually("memory holds the entry again", async || tier(&replica, "loud", "kept").await == pb::Tier::L1).await;
    assert_eq!(tier(&replica, "quiet", "kept").await, pb::Tier::L1, "the other namespace keeps its entry");
    for namespace in ["loud", "quiet"] {
        let answer = replica.get_from(namespace, "gone").await;
        assert_eq!(answer.miss(), Some(pb::MissReason::Absent), "{namespace}");
    }
}
