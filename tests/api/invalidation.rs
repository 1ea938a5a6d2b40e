//! Invalidate: keys and whole namespaces.

use twintier::pb;
use twintier::pb::invalidate_request::Selector;

use crate::harness::{
    Answer as _, Fleet, Mode, eventually, in_both_modes, invalidate_key, set_request, whole_namespace,
};

in_both_modes! {
    several_keys_are_invalidated_at_once_and_counted,
    a_key_that_is_named_twice_counts_once,
    a_namespace_invalidation_leaves_other_namespaces,
    an_entry_set_after_a_namespace_invalidation_is_kept,
    an_unused_namespace_can_be_invalidated,
    a_token_of_an_invalidation_covers_all_its_keys,
}

fn keys(names: &[&str]) -> pb::InvalidateRequest {
    let keys = names.iter().map(|name| (*name).to_owned()).collect();
    pb::InvalidateRequest { selector: Some(Selector::Keys(pb::Keys { keys })), ..Default::default() }
}

async fn several_keys_are_invalidated_at_once_and_counted(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for key in ["a", "b", "c", "d"] {
        replica.set(key, key).await;
    }
    let answer = replica.remove(keys(&["a", "b", "c", "nothing", "none"])).await.unwrap();
    assert_eq!(answer.removed, Some(3));
    for key in ["a", "b", "c"] {
        assert!(replica.get(key).await.miss().is_some());
        assert!(replica.get_strong(key).await.unwrap().miss().is_some());
    }
    assert!(replica.get("d").await.is("d"));
}

async fn a_key_that_is_named_twice_counts_once(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("a", "a").await;
    assert_eq!(replica.remove(keys(&["a", "a", "b", "a", "b"])).await.unwrap().removed, Some(1));
}

/// Enough keys for every partition to have some.
const MANY: usize = 300;

async fn a_namespace_invalidation_leaves_other_namespaces(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for namespace in ["gone", "stays"] {
        for n in 0..MANY {
            replica.set_in(namespace, &n.to_string(), "v").await;
        }
    }
    let answer = replica.remove(whole_namespace("gone")).await.unwrap();
    assert_eq!(answer.removed, None);
    for n in 0..MANY {
        assert!(replica.get_from("gone", &n.to_string()).await.miss().is_some());
        assert!(replica.get_from("stays", &n.to_string()).await.is("v"));
    }
    let strong = pb::GetRequest {
        namespace: "gone".into(),
        key: "7".into(),
        consistency: pb::Consistency::Strong.into(),
        ..Default::default()
    };
    assert!(replica.try_get(strong).await.unwrap().miss().is_some());
}

async fn an_entry_set_after_a_namespace_invalidation_is_kept(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for round in 0..3 {
        replica.set("k", &round.to_string()).await;
        assert!(replica.get("k").await.is(&round.to_string()));
        replica.remove(whole_namespace("")).await.unwrap();
        assert!(replica.get("k").await.miss().is_some());
    }
    replica.set("k", "last").await;
    replica.wait_until_cached("k", "last").await;
}

async fn an_unused_namespace_can_be_invalidated(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.remove(whole_namespace("new")).await.unwrap();
    replica.set_in("new", "k", "v").await;
    assert!(replica.get_from("new", "k").await.is("v"));
}

async fn a_token_of_an_invalidation_covers_all_its_keys(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        replica.set(name, "v").await;
    }
    let token = replica.remove(keys(&names)).await.unwrap().token;
    for name in &names {
        assert_eq!(replica.get_with(name, &[&token]).await.miss(), Some(pb::MissReason::Absent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_is_visible_on_the_other_replicas() {
    let fleet = Fleet::start(3, &[]).await;
    for key in ["one", "two", "three"] {
        fleet[0].set(key, "v").await;
        for replica in &fleet.replicas {
            replica.wait_until_cached(key, "v").await;
        }
    }
    fleet[1].invalidate("one").await;
    for replica in &fleet.replicas {
        replica.assert_missing("one").await;
        assert!(replica.get("two").await.is("v"));
    }
    fleet[2].remove(keys(&["two"])).await.unwrap();
    for replica in &fleet.replicas {
        replica.assert_missing("two").await;
        assert!(replica.get("three").await.is("v"));
    }
    fleet[0].remove(whole_namespace("")).await.unwrap();
    for replica in &fleet.replicas {
        replica.assert_missing("three").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_invalidation_keeps_other_namespaces_in_memory_on_all_replicas() {
    let fleet = Fleet::start(2, &[]).await;
    for namespace in ["gone", "stays"] {
        for n in 0..MANY {
            fleet[0].set_in(namespace, &n.to_string(), "v").await;
            assert!(fleet[1].get_from(namespace, &n.to_string()).await.is("v"));
        }
    }
    fleet[0].remove(whole_namespace("gone")).await.unwrap();
    for n in 0..MANY {
        let key = n.to_string();
        eventually("the entry is gone", async || fleet[1].get_from("gone", &key).await.miss().is_some()).await;
        assert!(fleet[1].get_from("stays", &key).await.is("v"));
    }
    // An invalidated entry stays absent for every kind of read.
    let absent = pb::SetRequest {
        namespace: "gone".into(),
        condition: Some(pb::set_request::Condition::IfAbsent(pb::IfAbsent {})),
        ..set_request("7", "new")
    };
    assert_eq!(fleet[1].store(absent).await.unwrap().outcome(), pb::SetOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_holds_for_a_replica_that_starts_later() {
    let mut fleet = Fleet::start(1, &[]).await;
    fleet[0].set_in("n", "k", "v").await;
    fleet[0].set("one", "v").await;
    fleet[0].remove(whole_namespace("n")).await.unwrap();
    fleet[0].remove(invalidate_key("one")).await.unwrap();
    fleet.replicas.remove(0).stop().await;
    let later = crate::harness::Replica::on(&fleet.redis, &[]).await;
    assert!(later.get_from("n", "k").await.miss().is_some());
    assert!(later.get("one").await.miss().is_some());
}
