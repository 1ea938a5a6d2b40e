//! Invalidation by prefix, pattern, tag, namespace and event.

mod events;
mod faults;
mod namespaces;

use std::time::Duration;

use tonic::Code;
use twintier::pb;
use twintier::pb::invalidate_request::Selector;

use crate::harness::{
    Answer as _, Cluster, Fleet, Mode, Redis, Refusal as _, Replica, Reply, Sentinels, WAIT_TIMEOUT, eventually,
    in_both_modes, set_request, whole_namespace, within,
};

in_both_modes! {
    a_prefix_invalidates_the_keys_below_it,
    a_pattern_invalidates_the_keys_that_match,
    a_tag_invalidates_the_entries_that_have_it,
    a_marked_entry_is_only_answered_as_stale,
    many_successive_patterns_leave_no_records,
    an_invalid_selector_is_refused,
    a_selector_leaves_other_namespaces_unchanged,
    no_get_after_the_acknowledgement_returns_the_old_value,
}

pub fn prefix(prefix: &str) -> pb::InvalidateRequest {
    select(Selector::Prefix(prefix.to_owned()))
}

pub fn pattern(pattern: &str) -> pb::InvalidateRequest {
    select(Selector::Pattern(pattern.to_owned()))
}

pub fn tags(tags: &[&str]) -> pb::InvalidateRequest {
    select(Selector::Tags(pb::Tags { tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }))
}

pub fn select(selector: Selector) -> pb::InvalidateRequest {
    pb::InvalidateRequest { selector: Some(selector), ..Default::default() }
}

impl Replica {
    /// Sets an entry with tags, and asserts that it is stored.
    pub async fn set_tagged(&self, key: &str, value: &str, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let response = self.store(pb::SetRequest { tags, ..set_request(key, value) }).await.unwrap();
        assert_eq!(response.outcome(), pb::SetOutcome::Stored);
    }

    /// True if the entry exists. Memory and Redis must agree.
    pub async fn has(&self, key: &str) -> bool {
        let (bounded, strong) = (self.get(key).await.miss(), self.get_strong(key).await.unwrap().miss());
        assert_eq!(bounded, strong, "{key}");
        bounded.is_none()
    }
}

const KEYS: [&str; 7] = ["user", "user:42", "user:42:posts", "user:42/a/b", "user:421", "users", "42:user"];

/// Sets all keys, invalidates, and asserts that exactly the keys of `gone` are missing.
async fn assert_invalidates(replica: &Replica, request: pb::InvalidateRequest, gone: &[&str]) {
    for key in KEYS {
        replica.set(key, "v").await;
    }
    let answer = replica.remove(request.clone()).await.unwrap();
    assert!(answer.removed.is_none() && !answer.token.is_empty());
    for key in KEYS {
        assert_eq!(replica.has(key).await, !gone.contains(&key), "{key} after {request:?}");
        let seen = replica.get_with(key, &[&answer.token]).await.miss();
        assert_eq!(seen.is_none(), !gone.contains(&key), "{key} with the token of {request:?}");
    }
}

async fn a_prefix_invalidates_the_keys_below_it(mode: Mode) {
    let replica = mode.replica(&[]).await;
    assert_invalidates(&replica, prefix("user:42"), &["user:42", "user:42:posts", "user:42/a/b"]).await;
    assert_invalidates(&replica, prefix("user:42:"), &["user:42", "user:42:posts", "user:42/a/b"]).await;
    assert_invalidates(&replica, prefix("user:42/a"), &["user:42/a/b"]).await;
    assert_invalidates(&replica, prefix("user"), &["user", "user:42", "user:42:posts", "user:42/a/b", "user:421"])
        .await;
    assert_invalidates(&replica, prefix("nothing"), &[]).await;
}

async fn a_pattern_invalidates_the_keys_that_match(mode: Mode) {
    let replica = mode.replica(&[]).await;
    assert_invalidates(&replica, pattern("user:42*"), &["user:42", "user:42:posts", "user:42/a/b", "user:421"]).await;
    assert_invalidates(&replica, pattern("user:??"), &["user:42"]).await;
    assert_invalidates(&replica, pattern("*user"), &["user", "42:user"]).await;
    assert_invalidates(&replica, pattern("user\\*"), &[]).await;
    assert_invalidates(&replica, pattern("*"), &KEYS).await;
}

async fn a_tag_invalidates_the_entries_that_have_it(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let store = async || {
        replica.set_tagged("one", "v", &["a"]).await;
        replica.set_tagged("both", "v", &["a", "b"]).await;
        replica.set_tagged("none", "v", &[]).await;
    };
    store().await;
    replica.remove(tags(&["b"])).await.unwrap();
    assert!(replica.has("one").await && !replica.has("both").await && replica.has("none").await);
    store().await;
    assert!(replica.has("both").await, "the entry was set after the mark");
    replica.remove(tags(&["b", "a", "b"])).await.unwrap();
    assert!(!replica.has("one").await && !replica.has("both").await && replica.has("none").await);
}

async fn a_marked_entry_is_only_answered_as_stale(mode: Mode) {
    let replica = mode.replica(&[("cache.stale_window", "1h")]).await;
    let welcome = |key: &str| pb::GetRequest {
        key: key.to_owned(),
        max_staleness: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..Default::default()
    };
    for (number, selector) in [
        Selector::WholeNamespace(pb::WholeNamespace {}),
        Selector::Prefix("k".to_owned()),
        Selector::Pattern("k?*".to_owned()),
        Selector::Tags(pb::Tags { tags: vec!["t".to_owned()] }),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k:{number}");
        replica.set_tagged(&key, "v", &["t"]).await;
        let request = pb::InvalidateRequest { mode: pb::Mode::MarkStale.into(), ..select(selector) };
        replica.remove(request.clone()).await.unwrap();
        assert!(!replica.has(&key).await, "{request:?}");
        let answer = replica.try_get(welcome(&key)).await.unwrap();
        let stale = answer.stale().unwrap_or_else(|| panic!("{request:?}: {answer:?}"));
        assert!(answer.is("v") && stale.reason() == pb::StaleReason::Marked, "{request:?}: {answer:?}");
        assert!(stale.staleness.is_some_and(|staleness| staleness.seconds < 30), "{stale:?}");
        let condition = Some(pb::set_request::Condition::IfAbsent(pb::IfAbsent {}));
        let absent = pb::SetRequest { condition, ..set_request(&key, "new") };
        assert_eq!(replica.store(absent).await.unwrap().outcome(), pb::SetOutcome::Stored, "{request:?}");
        assert!(replica.get(&key).await.is("new"));
        replica.remove(whole_namespace("")).await.unwrap();
        assert!(replica.try_get(welcome(&key)).await.unwrap().miss().is_some());
    }
}

/// Invalidates more patterns than may be active at once, each when there is room.
async fn many_successive_patterns_leave_no_records(mode: Mode) {
    let replica = mode.replica(&[("coherence.partitions", "4")]).await;
    replica.set("stays", "v").await;
    for number in 0..40 {
        let (gone, other) = (format!("{number}:a"), format!("x:{number}"));
        replica.set(&gone, "v").await;
        replica.set(&other, "v").await;
        eventually("there is room for the pattern", async || {
            match replica.remove(pattern(&format!("{number}:*"))).await {
                Ok(_) => true,
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                    assert!(status.retry_delay().is_some(), "{status:?}");
                    false
                }
            }
        })
        .await;
        assert!(!replica.has(&gone).await && replica.has(&other).await);
    }
    assert!(replica.has("stays").await && replica.has("x:0").await, "entries that match no pattern stay");
}

async fn an_invalid_selector_is_refused(mode: Mode) {
    let replica = mode.replica(&[("limits.tags", "2"), ("limits.tag_size", "4"), ("limits.pattern_size", "8")]).await;
    let refused = async |request: pb::InvalidateRequest| replica.remove(request).await.unwrap_err();
    refused(prefix("")).await.assert_violations(&[("prefix", "1 to 16 segments")]);
    refused(prefix(":")).await.assert_violations(&[("prefix", "1 to 16 segments")]);
    refused(prefix(&"a:".repeat(17))).await.assert_violations(&[("prefix", "1 to 16 segments")]);
    refused(prefix(&"a".repeat(2000))).await.assert_violations(&[("prefix", "at most 1024 bytes; was 2000")]);
    refused(pattern("")).await.assert_violations(&[("pattern", "must not be empty")]);
    refused(pattern("a\\")).await.assert_violations(&[("pattern", "must not end with")]);
    refused(pattern("123456789")).await.assert_violations(&[("pattern", "at most 8 bytes; was 9")]);
    refused(tags(&[])).await.assert_violations(&[("tags.tags", "at least one tag")]);
    refused(tags(&["a", "b", "c"])).await.assert_violations(&[("tags.tags", "at most 2 tags; was 3")]);
    refused(tags(&["", "12345"]))
        .await
        .assert_violations(&[("tags.tags[0]", "must not be empty"), ("tags.tags[1]", "at most 4 bytes")]);
    let odd = pb::InvalidateRequest { mode: 9, source_version: Some(1), ..prefix("") };
    refused(odd).await.assert_violations(&[
        ("mode", "was 9"),
        ("source_version", "without key"),
        ("prefix", "segments"),
    ]);
    refused(pb::InvalidateRequest::default()).await.assert_violations(&[("selector", "prefix")]);
}

async fn a_selector_leaves_other_namespaces_unchanged(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for namespace in ["gone", "stays"] {
        let tagged = |key: &str| pb::SetRequest {
            namespace: namespace.to_owned(),
            tags: vec!["t".to_owned()],
            ..set_request(key, "v")
        };
        for key in ["p:1", "q:1", "r:1"] {
            replica.store(tagged(key)).await.unwrap();
        }
    }
    for request in [prefix("p"), pattern("q*"), tags(&["t"])] {
        replica.remove(pb::InvalidateRequest { namespace: "gone".into(), ..request }).await.unwrap();
    }
    for key in ["p:1", "q:1", "r:1"] {
        assert!(replica.get_from("gone", key).await.miss().is_some() && replica.get_from("stays", key).await.is("v"));
    }
}

/// Other callers fetch the same keys meanwhile: a fetch that began before the invalidation must not
/// fill memory after it.
async fn no_get_after_the_acknowledgement_returns_the_old_value(mode: Mode) {
    let replica = mode.replica(&[("coherence.partitions", "4")]).await;
    let keys: Vec<String> = (0..8).map(|number| format!("hot:{number}")).collect();
    let (stop, mut readers) = (tokio_util::sync::CancellationToken::new(), tokio::task::JoinSet::new());
    for reader in 0..4 {
        let (mut client, keys, stop) = (replica.client.clone(), keys.clone(), stop.clone());
        readers.spawn(async move {
            for key in keys.iter().cycle().skip(reader) {
                if stop.is_cancelled() {
                    return;
                }
                let request = pb::GetRequest { key: key.clone(), ..Default::default() };
                client.get(request).await.unwrap();
            }
        });
    }
    for round in 0..60 {
        for key in &keys {
            replica.set_tagged(key, &round.to_string(), &["hot"]).await;
        }
        let request = match round % 3 {
            0 => prefix("hot"),
            1 => tags(&["hot"]),
            _ => whole_namespace(""),
        };
        replica.remove(request).await.unwrap();
        for key in &keys {
            let answer = replica.get(key).await;
            assert!(answer.miss().is_some(), "round {round}: {answer:?}");
        }
    }
    stop.cancel();
    within(WAIT_TIMEOUT, readers.join_all()).await;
}

/// Asserts the effect of all selectors at both replicas, for requests to either.
async fn assert_all_selectors(fleet: &[Replica; 2]) {
    for (round, request) in [prefix("k"), tags(&["t"]), pattern("k:?"), whole_namespace("")].into_iter().enumerate() {
        for key in ["k:1", "k:2"] {
            fleet[0].set_tagged(key, "v", &["t"]).await;
            for replica in fleet {
                replica.wait_until_cached(key, "v").await;
            }
        }
        fleet[0].set("other", "v").await;
        fleet[round % 2].remove(request.clone()).await.unwrap();
        for key in ["k:1", "k:2"] {
            assert!(!fleet[round % 2].has(key).await, "{request:?}");
            fleet[1 - round % 2].assert_missing(key).await;
        }
        let others = round < 3;
        assert_eq!([fleet[0].has("other").await, fleet[1].has("other").await], [others; 2], "{request:?}");
    }
}

async fn two(url: &str) -> [Replica; 2] {
    let fleet = [Replica::connected_to(url, &[]).await, Replica::connected_to(url, &[]).await];
    for replica in &fleet {
        replica.wait_until_proven().await;
    }
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_selector_reaches_every_replica() {
    let redis = Redis::start().await;
    assert_all_selectors(&two(&redis.url()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_selector_reaches_every_replica_behind_sentinels() {
    let sentinels = Sentinels::start(&[]).await;
    let fleet = two(&sentinels.url()).await;
    assert_all_selectors(&fleet).await;
    fleet[0].set_tagged("k:1", "v", &["t"]).await;
    fleet[1].remove(tags(&["t"])).await.unwrap();
    sentinels.wait_until_settled().await;
    sentinels.fail_over().await;
    for replica in &fleet {
        eventually("the new primary answers", async || {
            replica.get_strong("k:1").await.is_ok_and(|answer| answer.miss() == Some(pb::MissReason::Absent))
        })
        .await;
        replica.wait_until_proven().await;
        replica.assert_missing("k:1").await;
    }
    assert_all_selectors(&fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_selector_reaches_every_replica_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    assert_all_selectors(&two(&cluster.url()).await).await;
}
