//! Every replica agrees with Redis after thousands of random operations.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;
use twintier::pb::set_request::Condition;

use crate::harness::{
    Answer as _, Class, MAX_STALENESS, Proxy, Redis, Replica, SHORT_BOUND, always_until, eventually, invalidate_key,
    set_request, whole_namespace,
};

const KEYS: usize = 200;
const TASKS: usize = 16;

/// One client, which runs its share of the operations from a seed.
async fn client(mut client: CacheServiceClient<Channel>, seed: u64, operations: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut version = String::new();
    for n in 0..operations {
        let key = random.random_range(0..KEYS).to_string();
        let value = format!("{seed}-{n}");
        let condition = match random.random_range(0..6) {
            0 => Some(Condition::IfAbsent(pb::IfAbsent {})),
            1 => Some(Condition::IfPresent(pb::IfPresent {})),
            2 if !version.is_empty() => Some(Condition::IfVersion(version.clone())),
            _ => None,
        };
        match random.random_range(0..100) {
            0..30 => {
                let set = client.set(pb::SetRequest { condition, ..set_request(&key, &value) }).await.unwrap();
                version = set.into_inner().version;
            }
            30..40 => {
                client.invalidate(invalidate_key(&key)).await.unwrap();
            }
            40 if n % 50 == 0 => {
                client.invalidate(whole_namespace("")).await.unwrap();
            }
            _ => {
                client.get(pb::GetRequest { key, ..Default::default() }).await.unwrap();
            }
        }
    }
}

/// Asserts that both replicas answer every key with the value in Redis. Once proven, memory answers
/// a good part of them.
async fn assert_agreement(replicas: [&Replica; 2]) {
    eventually("memory answers", async || count_memory_answers(replicas).await > KEYS / 4).await;
}

/// Returns how many answers came from memory. All of them must equal the value in Redis.
async fn count_memory_answers(replicas: [&Replica; 2]) -> usize {
    let mut from_memory = 0;
    for n in 0..KEYS {
        let key = n.to_string();
        let truth = replicas[0].get_strong(&key).await.unwrap();
        for replica in replicas {
            let answer = replica.get(&key).await;
            assert_eq!(answer.seen(), truth.seen(), "{key}: {answer:?}, but Redis holds {truth:?}");
            let version = |answer: &pb::GetResponse| answer.entry().map(|entry| entry.version.clone());
            assert_eq!(version(&answer), version(&truth));
            from_memory += usize::from(answer.tier() == pb::Tier::L1);
        }
    }
    from_memory
}

async fn run_random_operations(replicas: [&Replica; 2], operations: usize, fault: impl AsyncFn()) {
    let mut clients = JoinSet::new();
    for task in 0..TASKS {
        clients.spawn(client(replicas[task % 2].client.clone(), task as u64, operations / TASKS));
    }
    while !clients.is_empty() {
        fault().await;
        if let Ok(Some(done)) = tokio::time::timeout(MAX_STALENESS / 5, clients.join_next()).await {
            done.unwrap();
        }
    }
    always_until(Instant::now() + MAX_STALENESS, async || {}).await;
    for replica in replicas {
        replica.wait_until_proven().await;
    }
    assert_agreement(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_and_redis_agree_after_thousands_of_operations() {
    let redis = Redis::start().await;
    let (one, two) = (Replica::on(&redis, SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
    run_random_operations([&one, &two], 6_000, async || {}).await;
    for replica in [&one, &two] {
        let counts = replica.coherence().await;
        assert_eq!((counts.undecodable, counts.lagged), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_and_redis_agree_after_operations_with_cut_subscriptions() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let (one, two) = (Replica::on(&redis, SHORT_BOUND).await, Replica::connected_to(&proxy.url(), SHORT_BOUND).await);
    two.wait_until_proven().await;
    run_random_operations([&one, &two], 3_000, async || proxy.reset(Class::Subscription)).await;
    // A slow machine subscribes less often than the proxy cuts the subscription.
    while two.coherence().await.disconnects <= 5 {
        run_random_operations([&one, &two], 600, async || proxy.reset(Class::Subscription)).await;
    }
}
