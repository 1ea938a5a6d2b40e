//! Usage of Redis by namespace: exact for few keys, estimated for many, absent if unknown.

use twintier::pb;

use crate::harness::{Cluster, Redis, Replica, Reply, eventually, set_request};

const SAMPLED: (&str, &str) = ("redis.namespace_sampling", "1s");

/// Sets entries of a namespace with values of this size.
async fn fill(replica: &Replica, namespace: &str, keys: usize, size: usize) {
    for n in 0..keys {
        replica.set_in(namespace, &format!("k{n}"), &"v".repeat(size)).await;
    }
}

/// Number of keys of a namespace, and the sum of their MEMORY USAGE, as Redis reports them.
async fn held(redis: &Redis, namespace: &str) -> [u64; 2] {
    let script = "local keys, bytes = redis.call('KEYS', ARGV[1]), 0
        for _, key in ipairs(keys) do bytes = bytes + redis.call('MEMORY', 'USAGE', key) end
        return {#keys, bytes}";
    let Reply::List(sums) = redis.cli(&["EVAL", script, "0", &format!("twintier:*:v:{namespace}:*")]).await else {
        panic!("not a list")
    };
    [sums[0].number() as u64, sums[1].number() as u64]
}

fn reported(stats: &pb::NamespaceStats) -> Option<[u64; 2]> {
    stats.redis_keys.zip(stats.redis_bytes).map(Into::into)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_entries_are_counted_exactly_and_every_replica_reports_them() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let replica = Replica::with_metrics(&[("redis.url", &url), SAMPLED], &[]).await;
    replica.wait_until_proven().await;
    fill(&replica, "small", 120, 50).await;
    fill(&replica, "large", 40, 5000).await;
    // Keys of other programs do not count.
    redis.cli(&["SET", "other:v:small:k", "v"]).await;
    let (small, large) = (held(&redis, "small").await, held(&redis, "large").await);
    assert_eq!((small[0], large[0]), (120, 40));
    let other = Replica::on(&redis, &[SAMPLED]).await;
    other.get_from("small", "k0").await;
    for replica in [&replica, &other] {
        eventually("both namespaces are counted", async || {
            reported(&replica.counts("small").await) == Some(small)
                && reported(&replica.counts("large").await) == Some(large)
        })
        .await;
        let stats = replica.redis().await;
        assert!(stats.namespace_sample_keys.is_some_and(|keys| keys > 160), "{stats:?}");
        assert!(stats.namespace_sample_age.is_some_and(|age| age.seconds < 60), "{stats:?}");
    }
    let scrape = replica.scrape();
    let small_here = [("namespace", "small")];
    assert_eq!(scrape.get("twintier_redis_namespace_keys", &small_here), small[0] as f64);
    assert_eq!(scrape.get("twintier_redis_namespace_memory_usage_bytes", &small_here), small[1] as f64);
    // All replicas share one Redis, so that its keys are counted once.
    let request = pb::StatsRequest { scope: pb::StatsScope::Fleet.into(), namespace: "small".into() };
    eventually("the fleet's usage is reported", async || {
        let fleet = replica.client.clone().stats(request.clone()).await.unwrap().into_inner();
        fleet.fleet.len() == 2 && reported(&fleet.namespaces[0]) == Some(small)
    })
    .await;
    redis.kill9();
    eventually("no usage is reported during an outage", async || {
        let counts = replica.counts("small").await;
        (counts.redis_keys, counts.redis_bytes, replica.redis().await.namespace_sample_keys) == (None, None, None)
    })
    .await;
    assert_eq!(replica.scrape().find("twintier_redis_namespace_keys", &small_here), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_entries_are_estimated_with_a_bounded_number_of_commands() {
    let redis = Redis::start().await;
    // Values of 100 to 1,900 bytes, and of 20 to 60.
    let script = "for n = 1, 30000 do
          redis.call('SET', 'twintier:{' .. n % 64 .. '}:v:many:' .. n, string.rep('v', 100 + n * 7919 % 1800))
        end
        for n = 1, 10000 do
          redis.call('SET', 'twintier:{' .. n % 64 .. '}:v:few:' .. n, string.rep('v', 20 + n * 7919 % 40))
        end";
    redis.cli(&["EVAL", script, "0"]).await;
    // The interval allows one sample only.
    let replica = Replica::on(&redis, &[("redis.namespace_sampling", "1h")]).await;
    eventually("the namespace is sampled", async || replica.counts("many").await.redis_bytes.is_some()).await;
    let calls = redis.cli(&["INFO", "commandstats"]).await.text();
    let called = |command: &str| {
        let line = calls.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    assert!((1..=100).contains(&called("scan")), "{}", called("scan"));
    assert!((1..=2048).contains(&called("memory|usage")), "{}", called("memory|usage"));
    let sampled = replica.redis().await.namespace_sample_keys.unwrap();
    assert!((5_000..40_000).contains(&sampled), "{sampled}");
    for namespace in ["many", "few"] {
        let [keys, bytes] = reported(&replica.counts(namespace).await).unwrap().map(|number| number as f64);
        let [true_keys, true_bytes] = held(&redis, namespace).await.map(|number| number as f64);
        assert!((keys / true_keys - 1.0).abs() < 0.2, "{namespace}: {keys} keys of {true_keys}");
        assert!((bytes / true_bytes - 1.0).abs() < 0.3, "{namespace}: {bytes} bytes of {true_bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_summed_up_over_the_primaries_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let replica = Replica::connected_to(&cluster.url(), &[SAMPLED]).await;
    replica.wait_until_proven().await;
    fill(&replica, "n", 100, 200).await;
    let mut sums = [0, 0];
    for node in &cluster.nodes[..3] {
        let held = held(node, "n").await;
        assert!(held[0] > 0);
        sums = [sums[0] + held[0], sums[1] + held[1]];
    }
    assert_eq!(sums[0], 100);
    eventually("all keys are counted", async || reported(&replica.counts("n").await) == Some(sums)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_keys_are_sampled_when_sampling_is_off() {
    let redis = Redis::start().await;
    let sampling = Replica::on(&redis, &[SAMPLED]).await;
    let off = Replica::on(&redis, &[("redis.namespace_sampling", "0s")]).await;
    sampling.set("k", "v").await;
    off.get("k").await;
    eventually("another replica samples", async || sampling.counts("default").await.redis_keys == Some(1)).await;
    assert_eq!(off.counts("default").await.redis_keys, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_data_in_place_of_a_sample_or_claim_is_replaced() {
    let redis = Redis::start().await;
    redis.cli(&["SET", "twintier:{0}:s", "garbage", "PX", "86400000"]).await;
    redis.cli(&["LPUSH", "twintier:{0}:s:c", "of another type"]).await;
    let replica = Replica::on(&redis, &[SAMPLED]).await;
    replica.store(set_request("k", "v")).await.unwrap();
    eventually("the usage is reported", async || replica.counts("default").await.redis_keys == Some(1)).await;
}
