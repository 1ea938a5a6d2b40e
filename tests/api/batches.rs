//! BatchGet, BatchSet and BatchInvalidate.

use std::time::Duration;

use tonic::{Code, Status};
use twintier::pb;
use twintier::pb::batch_get_item::Result as Found;

use crate::harness::{
    Answer as _, Class, Cluster, Direction, Fleet, Mode, Proxy, Redis, Refusal as _, Replica, WatchEvent, Watcher,
    eventually, in_both_modes, set_request, within,
};

in_both_modes!(
    batches_set_read_and_remove_many_keys,
    a_key_that_is_named_twice_is_answered_twice,
    a_batch_that_names_a_key_twice_is_refused_with_both_places,
    each_item_of_a_batch_has_its_own_condition,
    a_batch_is_one_message_for_each_partition,
    large_values_come_in_several_messages,
    all_violations_of_a_batch_are_reported_at_once,
    a_disabled_cache_reports_itself_for_each_item,
    each_item_of_a_batch_counts_as_a_request,
    a_batch_keeps_existing_entries_of_an_immutable_namespace,
    a_batch_get_misses_entries_invalidated_by_selector,
);

async fn read(replica: &Replica, request: pb::BatchGetRequest) -> Result<Vec<pb::BatchGetResponse>, Status> {
    let mut stream = replica.client.clone().batch_get(request).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Reads a batch. Returns each item in words, and the token.
async fn found(replica: &Replica, request: pb::BatchGetRequest) -> (Vec<String>, String) {
    let messages = read(replica, request).await.expect("a BatchGet never fails");
    let token = messages.last().unwrap().token.clone();
    assert!(messages[..messages.len() - 1].iter().all(|message| message.token.is_empty()));
    let items: Vec<pb::BatchGetItem> = messages.into_iter().flat_map(|message| message.items).collect();
    assert!(items.iter().enumerate().all(|(index, item)| item.index == index as u32), "in order");
    (items.iter().map(words).collect(), token)
}

fn words(item: &pb::BatchGetItem) -> String {
    match item.result.as_ref().unwrap() {
        Found::Hit(hit) => {
            let stale = hit.entry.as_ref().unwrap().stale.as_ref().map(|stale| stale.reason().as_str_name());
            format!("{}{}", String::from_utf8_lossy(&hit.value), stale.unwrap_or_default())
        }
        Found::NegativeHit(_) => "negative".to_owned(),
        Found::Miss(miss) => miss.reason().as_str_name().trim_start_matches("MISS_REASON_").to_lowercase(),
        Found::Error(error) => format!("{:?}", Code::from(error.code)),
    }
}

fn keys<'a>(names: impl IntoIterator<Item = &'a str>) -> pb::BatchGetRequest {
    pb::BatchGetRequest { keys: names.into_iter().map(str::to_owned).collect(), ..Default::default() }
}

fn sets<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> pb::BatchSetRequest {
    let items = items.into_iter().map(|(key, value)| set_request(key, value)).collect();
    pb::BatchSetRequest { items, ..Default::default() }
}

fn removals<'a>(names: impl IntoIterator<Item = &'a str>) -> pb::BatchInvalidateRequest {
    let item = |key: &str| pb::BatchInvalidateItem { key: key.to_owned(), source_version: None };
    pb::BatchInvalidateRequest { items: names.into_iter().map(item).collect(), ..Default::default() }
}

async fn set_all(replica: &Replica, request: pb::BatchSetRequest) -> Result<pb::BatchSetResponse, Status> {
    replica.client.clone().batch_set(request).await.map(tonic::Response::into_inner)
}

async fn remove_all(
    replica: &Replica,
    request: pb::BatchInvalidateRequest,
) -> Result<pb::BatchInvalidateResponse, Status> {
    replica.client.clone().batch_invalidate(request).await.map(tonic::Response::into_inner)
}

fn outcomes(response: &pb::BatchSetResponse) -> Vec<pb::SetOutcome> {
    response.results.iter().map(pb::BatchSetResult::outcome).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key {n}")).collect()
}

async fn batches_set_read_and_remove_many_keys(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let names = names(300);
    let stored = set_all(&replica, sets(names.iter().map(|name| (name.as_str(), name.as_str())))).await.unwrap();
    assert_eq!(outcomes(&stored), vec![pb::SetOutcome::Stored; 300]);
    assert!(stored.results.iter().all(|result| !result.version.is_empty() && result.error.is_none()));
    let (values, token) = found(&replica, keys(names.iter().map(String::as_str).chain(["absent"]))).await;
    assert_eq!(values[..300], names[..]);
    assert_eq!(values[300], "absent");
    assert!(!token.is_empty() && !stored.token.is_empty());
    let removed = remove_all(&replica, removals([names[7].as_str(), "absent", "key 8"])).await.unwrap();
    assert_eq!(removed.results.iter().map(|result| result.removed).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(found(&replica, keys(["key 6", "key 7"])).await.0, ["key 6", "absent"]);
    let counts = replica.counts("default").await;
    assert_eq!((counts.sets_stored, counts.misses, counts.invalidations), (300, 2, 1));
    let rows = replica.stats().await.latencies;
    let counted = |operation: &str| rows.iter().find(|row| row.operation == operation).map(|row| row.count);
    assert_eq!([counted("batch_get"), counted("batch_set"), counted("batch_invalidate")], [Some(2), Some(1), Some(1)]);
}

async fn a_key_that_is_named_twice_is_answered_twice(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "1").await;
    assert_eq!(found(&replica, keys(["k", "none", "k", "none"])).await.0, ["1", "absent", "1", "absent"]);
}

async fn a_batch_that_names_a_key_twice_is_refused_with_both_places(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let refused = set_all(&replica, sets([("a", "1"), ("b", "1"), ("a", "2")])).await.unwrap_err();
    refused.assert_violations(&[("items[2].key", "items[0]")]);
    let refused = remove_all(&replica, removals(["a", "b", "b"])).await.unwrap_err();
    refused.assert_violations(&[("items[2].key", "items[1]")]);
    assert_eq!(found(&replica, keys(["a", "b"])).await.0, ["absent", "absent"]);
}

async fn each_item_of_a_batch_has_its_own_condition(mode: Mode) {
    use pb::set_request::Condition;
    let replica = mode.replica(&[]).await;
    let version = replica.set("present", "1").await.version;
    let with = |key: &str, condition| pb::SetRequest { condition: Some(condition), ..set_request(key, "2") };
    let items = vec![
        with("present", Condition::IfAbsent(pb::IfAbsent {})),
        with("absent", Condition::IfPresent(pb::IfPresent {})),
        with("other", Condition::IfVersion(version.clone())),
        with("new", Condition::IfAbsent(pb::IfAbsent {})),
        pb::SetRequest {
            content: Some(pb::set_request::Content::KnownAbsent(pb::KnownAbsent {})),
            ..set_request("negative", "")
        },
    ];
    let stored = set_all(&replica, pb::BatchSetRequest { items, ..Default::default() }).await.unwrap();
    use pb::SetOutcome::{AlreadyPresent, NotPresent, Stored, VersionMismatch};
    assert_eq!(outcomes(&stored), [AlreadyPresent, NotPresent, VersionMismatch, Stored, Stored]);
    assert_eq!(stored.results[0].version, version);
    let (values, _) = found(&replica, keys(["present", "absent", "other", "new", "negative"])).await;
    assert_eq!(values, ["1", "absent", "absent", "2", "negative"]);
}

async fn a_batch_is_one_message_for_each_partition(mode: Mode) {
    let replica = mode.replica(&[("coherence.partitions", "2")]).await;
    let mut watcher = Watcher::open_proven(&replica).await;
    let names = names(50);
    set_all(&replica, sets(names.iter().map(|name| (name.as_str(), "1")))).await.unwrap();
    let mut changed = Vec::new();
    for _ in 0..2 {
        let WatchEvent::Keys(pb::ChangeKind::Set, keys) = watcher.next_change().await else { panic!("a write") };
        changed.extend(keys);
    }
    changed.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(changed, expected);
    remove_all(&replica, removals(names.iter().map(String::as_str))).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(watcher.next_change().await, WatchEvent::Keys(pb::ChangeKind::Removed, _)));
    }
}

async fn large_values_come_in_several_messages(mode: Mode) {
    let replica = mode.replica(&[("limits.value_size", "2MiB"), ("server.max_bytes_in_flight", "16MiB")]).await;
    let (large, half) = ("x".repeat(2 << 20), "y".repeat(500 << 10));
    let names = names(12);
    for (n, name) in names.iter().enumerate() {
        replica.set(name, if n == 5 { &large } else { &half }).await;
    }
    let messages = read(&replica, keys(names.iter().map(String::as_str))).await.unwrap();
    let sizes: Vec<usize> = messages.iter().map(|message| message.items.len()).collect();
    assert_eq!(sizes, [2, 2, 1, 1, 2, 2, 2]);
    let (values, _) = found(&replica, keys(names.iter().map(String::as_str))).await;
    assert!(values.iter().enumerate().all(|(n, value)| *value == if n == 5 { large.clone() } else { half.clone() }));
    let metadata_only = true;
    let request = pb::BatchGetRequest { metadata_only, ..keys(names.iter().map(String::as_str)) };
    let messages = read(&replica, request).await.unwrap();
    assert_eq!(messages.len(), 1, "without values all fit into one");
    assert!(messages[0].items.iter().all(|item| words(item).is_empty()));
}

async fn all_violations_of_a_batch_are_reported_at_once(mode: Mode) {
    let replica = mode.replica(&[("limits.keys", "3")]).await;
    let items = vec![
        pb::SetRequest { namespace: "default".into(), content: None, ..set_request("a", "") },
        pb::SetRequest { tokens: vec!["t".into()], barrier: pb::Barrier::None.into(), ..set_request("", "1") },
        set_request("c", "1"),
        set_request("d", "1"),
    ];
    let request = pb::BatchSetRequest { namespace: "Not a name".into(), items, barrier: 9, ..Default::default() };
    set_all(&replica, request).await.unwrap_err().assert_violations(&[
        ("namespace", "[a-z0-9._-]"),
        ("items", "at most 3 items"),
        ("items[0].namespace", "on the batch"),
        ("items[0].content", "must be given"),
        ("items[1].tokens", "on the batch"),
        ("items[1].barrier", "on the batch"),
        ("items[1].key", "empty"),
        ("barrier", "Barrier"),
    ]);
    let none = set_all(&replica, pb::BatchSetRequest::default()).await.unwrap_err();
    none.assert_violations(&[("items", "at least one")]);
    let request = pb::BatchInvalidateRequest { mode: 9, ..removals([""]) };
    remove_all(&replica, request).await.unwrap_err().assert_violations(&[("items[0].key", "empty"), ("mode", "Mode")]);
    let request = pb::BatchGetRequest { consistency: 9, ..keys(["a", "", "c", "d"]) };
    let refused = read(&replica, request).await.unwrap_err();
    refused.assert_violations(&[("keys", "at most 3 keys"), ("keys[1]", "empty"), ("consistency", "Consistency")]);
}

async fn a_disabled_cache_reports_itself_for_each_item(mode: Mode) {
    let replica = mode.replica(&[("cache.enabled", "false")]).await;
    let stored = set_all(&replica, sets([("a", "1"), ("b", "1")])).await.unwrap();
    assert_eq!(outcomes(&stored), [pb::SetOutcome::Disabled; 2]);
    assert_eq!(found(&replica, keys(["a", "b"])).await.0, ["disabled"; 2]);
}

async fn each_item_of_a_batch_counts_as_a_request(mode: Mode) {
    let settings = [("namespaces.slow.max_requests_per_second", "100")];
    let replica = mode.replica(&settings).await;
    let names = names(60);
    let request = || pb::BatchGetRequest { namespace: "slow".into(), ..keys(names.iter().map(String::as_str)) };
    // The limit admits ten requests but not 600 items. All start at once, because a slow machine
    // would spread a sequence over seconds.
    let answers = futures_util::future::join_all((0..10).map(|_| read(&replica, request()))).await;
    assert!(answers.iter().any(Result::is_ok));
    let refused = answers.into_iter().find_map(Result::err).expect("one is refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_requests_per_second") && refused.retry_delay().is_some(), "{refused:?}");
}

async fn a_batch_keeps_existing_entries_of_an_immutable_namespace(mode: Mode) {
    let replica = mode.replica(&[("namespaces.fixed.immutable", "true")]).await;
    let set = |items| pb::BatchSetRequest { namespace: "fixed".into(), ..sets(items) };
    let stored = set_all(&replica, set([("a", "1"), ("b", "1")])).await.unwrap();
    assert_eq!(outcomes(&stored), [pb::SetOutcome::Stored; 2]);
    let kept = set_all(&replica, set([("a", "2"), ("c", "2")])).await.unwrap();
    assert_eq!(outcomes(&kept), [pb::SetOutcome::AlreadyPresent, pb::SetOutcome::Stored]);
    let request = pb::BatchGetRequest { namespace: "fixed".into(), ..keys(["a", "b", "c"]) };
    assert_eq!(found(&replica, request).await.0, ["1", "1", "2"]);
}

async fn a_batch_get_misses_entries_invalidated_by_selector(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let (red, other) = (vec!["red".to_owned()], Vec::new());
    let item = |key: &str, tags: &Vec<String>| pb::SetRequest { tags: tags.clone(), ..set_request(key, "1") };
    let items = vec![item("user:1:a", &other), item("user:2:a", &red), item("user:2:b", &other), item("x", &other)];
    set_all(&replica, pb::BatchSetRequest { items, ..Default::default() }).await.unwrap();
    for selector in [
        pb::invalidate_request::Selector::Prefix("user:1".into()),
        pb::invalidate_request::Selector::Tags(pb::Tags { tags: red.clone() }),
        pb::invalidate_request::Selector::Pattern("x*".into()),
    ] {
        replica.remove(pb::InvalidateRequest { selector: Some(selector), ..Default::default() }).await.unwrap();
    }
    let request = || keys(["user:1:a", "user:2:a", "user:2:b", "x"]);
    assert_eq!(found(&replica, request()).await.0, ["absent", "absent", "1", "absent"]);
    let strong = pb::BatchGetRequest { consistency: pb::Consistency::Strong.into(), ..request() };
    assert_eq!(found(&replica, strong).await.0, ["absent", "absent", "1", "absent"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_names_some_of_very_many_wrong_items() {
    let replica = Replica::start(&[]).await;
    let refused = remove_all(&replica, removals(std::iter::repeat_n("", 1000))).await.unwrap_err();
    let violations = refused.violations();
    let (last, named) = violations.split_last().unwrap();
    assert!(named.len() > 10, "{violations:?}");
    assert_eq!(last.1, format!("… and {} more", 1000 - named.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_visible_at_another_replica_with_its_token() {
    let fleet = Fleet::start(2, &[]).await;
    let names = names(40);
    for round in ["1", "2", "3"] {
        let stored = set_all(&fleet[0], sets(names.iter().map(|name| (name.as_str(), round)))).await.unwrap();
        let tokens = vec![stored.token];
        let request = pb::BatchGetRequest { tokens, ..keys(names.iter().map(String::as_str)) };
        let (values, token) = found(&fleet[1], request).await;
        assert_eq!(values, vec![round; 40]);
        assert!(fleet[0].get_with(&names[0], &[&token]).await.is(round));
    }
    let barrier = pb::Barrier::Fleet.into();
    let request = pb::BatchSetRequest { barrier, ..sets(names.iter().map(|name| (name.as_str(), "4"))) };
    set_all(&fleet[0], request).await.unwrap();
    assert_eq!(found(&fleet[1], keys(names.iter().map(String::as_str))).await.0, vec!["4"; 40]);
    let request = pb::BatchInvalidateRequest { barrier, ..removals(names.iter().map(String::as_str)) };
    remove_all(&fleet[0], request).await.unwrap();
    assert_eq!(found(&fleet[1], keys(names.iter().map(String::as_str))).await.0, vec!["absent"; 40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misses_of_a_batch_take_one_round_trip_and_fill_memory() {
    let redis = Redis::start().await;
    let (writer, reader) = (Replica::on(&redis, &[]).await, Replica::on(&redis, &[]).await);
    let names = names(100);
    set_all(&writer, sets(names.iter().map(|name| (name.as_str(), "1")))).await.unwrap();
    assert_eq!(found(&reader, keys(names.iter().map(String::as_str))).await.0, vec!["1"; 100]);
    let reads = async || {
        let rows = reader.stats().await.latencies;
        rows.iter().find(|row| row.operation == "l2_read").map(|row| row.count)
    };
    assert_eq!(reads().await, Some(1), "one trip");
    let memory = || async { reader.counts("default").await.l1_hits };
    assert_eq!(memory().await, 0);
    assert_eq!(found(&reader, keys(names.iter().map(String::as_str))).await.0, vec!["1"; 100]);
    assert_eq!((memory().await, reads().await), (100, Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_answered_in_part_without_redis() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let settings =
        &[("coherence.max_staleness", "500ms"), ("cache.stale_window", "1m"), ("redis.read_timeout", "200ms")];
    let replica = Replica::connected_to(&proxy.url(), settings).await;
    replica.wait_until_proven().await;
    replica.set("known", "1").await;
    replica.wait_until_cached("known", "1").await;
    proxy.refuse();
    eventually("memory is not proven any more", async || replica.get("known").await.stale().is_some()).await;
    let messages = read(&replica, keys(["known", "unknown"])).await.unwrap();
    let items = &messages[0].items;
    assert_eq!([words(&items[0]), words(&items[1])], ["1STALE_REASON_UNPROVEN", "unavailable"]);
    assert!(items.iter().all(|item| item.degraded));
    let strong = pb::BatchGetRequest { consistency: pb::Consistency::Strong.into(), ..keys(["known", "unknown"]) };
    assert_eq!(found(&replica, strong).await.0, ["Unavailable", "Unavailable"]);
    let failed = set_all(&replica, sets([("a", "1"), ("b", "1")])).await.unwrap();
    for result in &failed.results {
        let error = result.error.as_ref().unwrap();
        assert_eq!((result.outcome(), Code::from(error.code)), (pb::SetOutcome::Unspecified, Code::Unavailable));
        assert!(error.retry_delay.is_some() && !error.message.is_empty());
    }
    let failed = remove_all(&replica, removals(["a", "b"])).await.unwrap();
    assert!(failed.results.iter().all(|result| result.error.is_some() && !result.removed));
    proxy.accept_again();
    eventually("the replica serves again", async || {
        set_all(&replica, sets([("a", "1"), ("b", "1")])).await.unwrap().results.iter().all(|one| one.error.is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_down_fails_its_items_only() {
    let mut cluster = Cluster::start(&[]).await;
    let replica = Replica::connected_to(&cluster.url(), &[]).await;
    replica.wait_until_proven().await;
    let names = names(100);
    let all = || sets(names.iter().map(|name| (name.as_str(), "1")));
    assert_eq!(outcomes(&set_all(&replica, all()).await.unwrap()), vec![pb::SetOutcome::Stored; 100]);
    let strong = || {
        let consistency = pb::Consistency::Strong.into();
        pb::BatchGetRequest { consistency, ..keys(names.iter().map(String::as_str)) }
    };
    assert_eq!(found(&replica, strong()).await.0, vec!["1"; 100]);
    // The replica of the third primary is the sixth node.
    cluster.nodes[5].kill9();
    cluster.nodes[2].kill9();
    let mut parts = (0, 0);
    eventually("some items fail and the others do not", async || {
        let done = set_all(&replica, all()).await.unwrap();
        let failed = done.results.iter().filter(|result| result.error.is_some()).count();
        let stored = done.results.iter().filter(|result| result.outcome() == pb::SetOutcome::Stored).count();
        assert_eq!(failed + stored, 100);
        parts = (failed, stored);
        failed > 0 && stored > 0
    })
    .await;
    assert!(parts.0 < 60 && parts.1 < 90, "{parts:?}");
    let (values, _) = found(&replica, strong()).await;
    assert!(values.iter().any(|value| value == "1") && values.iter().any(|value| value == "Unavailable"));
    let removed = remove_all(&replica, removals(names.iter().map(String::as_str))).await.unwrap();
    assert!(removed.results.iter().any(|one| one.removed) && removed.results.iter().any(|one| one.error.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_limit_is_refused_with_the_limit() {
    let replica = Replica::start(&[]).await;
    let value = "x".repeat(1 << 20);
    let fits = sets([("a", value.as_str()), ("b", value.as_str()), ("c", value.as_str())]);
    assert_eq!(outcomes(&set_all(&replica, fits).await.unwrap()), [pb::SetOutcome::Stored; 3]);
    let names = names(6);
    let refused = set_all(&replica, sets(names.iter().map(|name| (name.as_str(), value.as_str())))).await.unwrap_err();
    assert_eq!((refused.code(), refused.reason().as_str()), (Code::ResourceExhausted, "LIMIT_REACHED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_buffers_few_values_for_a_slow_caller() {
    let replica = Replica::start(&[("server.max_bytes_in_flight", "8MiB"), ("l1.size", "256MiB")]).await;
    let value = "x".repeat(1 << 20);
    let names = names(60);
    for name in &names {
        replica.set(name, &value).await;
    }
    let mut slow = replica.client.clone().batch_get(keys(names.iter().map(String::as_str))).await.unwrap().into_inner();
    // The batch buffers one slice only, so that other calls are served.
    replica.set("k", "1").await;
    assert!(replica.get("k").await.is("1"));
    let mut count = 0;
    let all = async {
        while let Some(message) = slow.message().await.unwrap() {
            count += message.items.len();
        }
    };
    within(Duration::from_secs(10), all).await;
    assert_eq!(count, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_completed_when_its_caller_disconnects() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let replica =
        Replica::connected_to(&proxy.url(), &[("redis.write_timeout", "5s"), ("redis.unresponsive_after", "5s")]).await;
    replica.wait_until_proven().await;
    proxy.stall(Class::Commands, Direction::ToServer);
    let names = names(64);
    let mut client = replica.client.clone();
    let request = sets(names.iter().map(|name| (name.as_str(), "1")));
    let call = tokio::spawn(async move { client.batch_set(request).await });
    eventually("the batch is in flight", async || replica.stats().await.replica.unwrap().in_flight == 2).await;
    call.abort();
    proxy.resume(Class::Commands, Direction::ToServer);
    let other = Replica::on(&redis, &[]).await;
    eventually("all entries are stored", async || {
        found(&other, keys(names.iter().map(String::as_str))).await.0 == vec!["1"; 64]
    })
    .await;
}
