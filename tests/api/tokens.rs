//! Tokens: a caller never sees older data than before, on any replica.

use tokio::task::JoinSet;
use tokio::time::Instant;
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, MAX_STALENESS, Mode, Proxy, Redis, Refusal as _, Replica, SCHEDULING_ALLOWANCE,
    SHORT_BOUND, always_until, in_both_modes, set_request, whole_namespace,
};

in_both_modes! {
    a_token_is_satisfied_at_the_replica_that_issued_it,
    a_response_merges_the_tokens_of_its_request,
    a_forged_token_is_refused,
    a_token_of_another_number_of_partitions_is_refused,
    more_tokens_than_the_limit_are_refused,
}

async fn a_token_is_satisfied_at_the_replica_that_issued_it(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let mut token = replica.set("k", "0").await.token;
    for n in 1..20 {
        let answer = replica.get_with("k", &[&token]).await;
        assert!(answer.is(&(n - 1).to_string()));
        token = replica.set("k", &n.to_string()).await.token;
    }
    token = replica.invalidate("k").await.token;
    assert_eq!(replica.get_with("k", &[&token]).await.miss(), Some(pb::MissReason::Absent));
    token = replica.remove(whole_namespace("")).await.unwrap().token;
    assert_eq!(replica.get_with("k", &[&token]).await.miss(), Some(pb::MissReason::Absent));
}

async fn a_response_merges_the_tokens_of_its_request(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let tokens: Vec<String> = {
        let mut tokens = Vec::new();
        for n in 0..10 {
            tokens.push(replica.set(&n.to_string(), "v").await.token);
        }
        tokens
    };
    let get = pb::GetRequest { key: "0".into(), tokens: tokens.clone(), ..Default::default() };
    let merged = replica.try_get(get).await.unwrap().token;
    let set = replica.store(pb::SetRequest { tokens: vec![merged.clone()], ..set_request("10", "v") }).await.unwrap();
    let all = replica
        .remove(pb::InvalidateRequest { tokens: vec![set.token.clone()], ..crate::harness::invalidate_key("11") });
    let all = all.await.unwrap().token;
    // Every later token includes the earlier ones: merging them again changes nothing.
    let again = pb::GetRequest {
        key: "never".into(),
        tokens: tokens.into_iter().chain([merged, set.token]).chain([all.clone()]).collect(),
        ..Default::default()
    };
    let again = replica.try_get(again).await.unwrap();
    let alone = replica.get_with("never", &[&all]).await;
    assert_eq!(again.token, alone.token);
}

async fn a_forged_token_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let long = "1.".repeat(40_000);
    for bad in ["", "x", "1", "1.64.x", "1.64.1", "1.64.64-1-1", "2.64", "1.64.1-1-1-1", "\u{e9}", long.as_str()] {
        let tokens = vec![bad.to_owned()];
        let get = pb::GetRequest { key: "k".into(), tokens: tokens.clone(), ..Default::default() };
        replica.try_get(get).await.unwrap_err().assert_violations(&[("tokens[0]", "must be")]);
        let set = pb::SetRequest { tokens: tokens.clone(), ..set_request("k", "v") };
        replica.store(set).await.unwrap_err().assert_violations(&[("tokens[0]", "must be")]);
        let invalidate = pb::InvalidateRequest { tokens, ..whole_namespace("") };
        replica.remove(invalidate).await.unwrap_err().assert_violations(&[("tokens[0]", "must be")]);
    }
    let good = replica.set("k", "v").await.token;
    let tokens = vec![good.clone(), "x".into(), good, "y".into()];
    let refusal = replica.try_get(pb::GetRequest { key: "k".into(), tokens, ..Default::default() }).await.unwrap_err();
    refusal.assert_violations(&[("tokens[1]", "must be"), ("tokens[3]", "must be")]);
}

async fn a_token_of_another_number_of_partitions_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let other = Replica::start(&[("coherence.partitions", "8")]).await;
    let tokens = vec![other.set("k", "v").await.token];
    let refusal = replica.try_get(pb::GetRequest { key: "k".into(), tokens, ..Default::default() }).await.unwrap_err();
    refusal.assert_violations(&[("tokens[0]", "8 partitions; this one has 64")]);
}

async fn more_tokens_than_the_limit_are_refused(mode: Mode) {
    let replica = mode.replica(&[("limits.tokens", "2")]).await;
    let token = replica.set("k", "v").await.token;
    assert!(replica.get_with("k", &[&token, &token]).await.is("v"));
    let tokens = vec![token; 3];
    let refusal = replica.try_get(pb::GetRequest { key: "k".into(), tokens, ..Default::default() }).await.unwrap_err();
    refusal.assert_violations(&[("tokens", "at most 2 tokens; was 3")]);
}

/// A replica that writes, and one with a proxy for its subscription.
async fn deaf_pair(settings: &[(&str, &str)]) -> (Redis, Proxy, Replica, Replica) {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, settings).await;
    let reader = Replica::connected_to(&proxy.url(), settings).await;
    reader.wait_until_proven().await;
    (redis, proxy, writer, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_reads_a_write_on_a_replica_that_missed_it() {
    let (_redis, proxy, writer, reader) = deaf_pair(SHORT_BOUND).await;
    writer.set("k", "old").await;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    let set = writer.set("k", "new").await;
    let acknowledged = Instant::now();
    let without = reader.get("k").await;
    // Without the token the reader cannot know of the write. If this machine was slow, the old
    // value is beyond the bound already.
    assert!(without.is("old") || acknowledged.elapsed() > MAX_STALENESS / 2, "{without:?}");
    let with = reader.get_with("k", &[&set.token]).await;
    assert!(with.is("new"), "{with:?}");
    assert_eq!(with.entry().unwrap().version, set.version);
    // A read that presents the token of an earlier read sees at least as much.
    assert!(reader.get_with("k", &[&with.token]).await.is("new"));
    always_until(acknowledged + 2 * MAX_STALENESS, async || {
        let requested_at = Instant::now();
        let answer = reader.get("k").await;
        assert!(answer.is("new") || requested_at < acknowledged + MAX_STALENESS + SCHEDULING_ALLOWANCE, "{answer:?}");
        assert!(reader.get_with("k", &[&set.token]).await.is("new"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_obeys_an_invalidation_on_a_replica_that_missed_it() {
    let (_redis, proxy, writer, reader) = deaf_pair(SHORT_BOUND).await;
    for key in ["one", "two"] {
        writer.set(key, "v").await;
        reader.wait_until_cached(key, "v").await;
    }
    proxy.stall(Class::Subscription, Direction::ToClient);
    let one = writer.invalidate("one").await.token;
    let all = writer.remove(whole_namespace("")).await.unwrap().token;
    assert_eq!(reader.get_with("one", &[&one]).await.miss(), Some(pb::MissReason::Absent));
    assert_eq!(reader.get_with("two", &[&all]).await.miss(), Some(pb::MissReason::Absent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_tokens_carry_every_write_to_another_replica() {
    let (_redis, proxy, writer, reader) = deaf_pair(&[]).await;
    for n in 0..12 {
        writer.set(&n.to_string(), "old").await;
        reader.wait_until_cached(&n.to_string(), "old").await;
    }
    proxy.stall(Class::Subscription, Direction::ToClient);
    let mut tokens = Vec::new();
    for n in 0..12 {
        tokens.push(writer.set(&n.to_string(), "new").await.token);
    }
    let merge = pb::GetRequest { key: "0".into(), tokens, ..Default::default() };
    let merged = reader.try_get(merge).await.unwrap();
    assert!(merged.is("new"));
    for n in 0..12 {
        assert!(reader.get_with(&n.to_string(), &[&merged.token]).await.is("new"), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_tokens_never_goes_back_across_replicas() {
    let (_redis, proxy, writer, reader) = deaf_pair(SHORT_BOUND).await;
    let mut token = writer.set("k", "0").await.token;
    for n in 1..200 {
        match n % 50 {
            10 => proxy.stall(Class::Subscription, Direction::ToClient),
            40 => proxy.resume(Class::Subscription, Direction::ToClient),
            _ => {}
        }
        let (here, there) = if n % 2 == 0 { (&writer, &reader) } else { (&reader, &writer) };
        let set = here.store(pb::SetRequest { tokens: vec![token], ..set_request("k", &n.to_string()) }).await.unwrap();
        let answer = there.get_with("k", &[&set.token]).await;
        assert!(answer.is(&n.to_string()), "{n}: {answer:?}");
        token = answer.token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_chains_of_tokens_at_once_never_go_back() {
    // A message through the proxy takes about as long as the caller needs from one replica to the
    // other.
    let (_redis, _proxy, one, two) = deaf_pair(&[]).await;
    let mut chains = JoinSet::new();
    for chain in 0..2 {
        let mut clients = [one.client.clone(), two.client.clone()];
        chains.spawn(async move {
            let key = format!("k{chain}");
            for n in 0..400 {
                let set = clients[n % 2].set(set_request(&key, &n.to_string())).await.unwrap().into_inner();
                let get = pb::GetRequest { key: key.clone(), tokens: vec![set.token.clone()], ..Default::default() };
                // The message may arrive at any moment between the request and the answer.
                let answer = clients[(n + 1) % 2].get(get).await.unwrap().into_inner();
                assert!(answer.is(&n.to_string()), "{n}: with {} was answered {answer:?}", set.token);
            }
        });
    }
    while let Some(chain) = chains.join_next().await {
        chain.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_token_is_a_miss_with_that_reason() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, &[]).await;
    replica.set("k", "v").await;
    // A later deployment: its positions are ahead of all positions here.
    let elsewhere = Redis::start().await;
    let token = Replica::on(&elsewhere, &[]).await.set("k", "v").await.token;
    let answer = replica.get_with("k", &[&token]).await;
    assert_eq!(answer.miss(), Some(pb::MissReason::TokenNotReached));
    assert!(replica.get("k").await.is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_obeyed_while_redis_is_down() {
    let settings = [("cache.stale_window", "1h"), SHORT_BOUND[0]];
    let mut redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let writer = Replica::on(&redis, &settings).await;
    let reader = Replica::connected_to(&proxy.url(), &settings).await;
    reader.wait_until_proven().await;
    let old = writer.set("k", "old").await.token;
    reader.wait_until_cached("k", "old").await;
    proxy.stall(Class::Subscription, Direction::ToClient);
    let new = writer.set("k", "new").await.token;
    redis.kill9();
    // The old value, flagged or not, satisfies the old token, but not the new one.
    assert!(reader.get_with("k", &[&old]).await.is("old"));
    let answer = reader.get_with("k", &[&new]).await;
    assert!(answer.miss().is_some(), "{answer:?}");
    assert!(answer.degraded);
}
