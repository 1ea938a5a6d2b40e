//! Responses that show only what is granted: Stats, hot keys, policies, watches.

use tonic::Code;
use twintier::pb::admin_service_client::AdminServiceClient;
use twintier::pb::watch_request::Selector;
use twintier::pb::watch_response::Event;

use super::*;
use crate::harness::{Refusal as _, WatchEvent, Watcher, eventually, with_short_heartbeats};

const SHOP: &str = r#"[
    {"namespaces": ["cart"], "verbs": ["read", "write", "watch", "stats", "admin"]},
    {"namespaces": ["users"], "keys": ["user:"], "verbs": ["read", "watch", "stats"]},
    {"namespaces": ["orders"], "verbs": ["admin"]}
]"#;

async fn shop() -> Replica {
    let replica = start(&teams(&[("shop", "t", SHOP)])).await;
    for namespace in ["cart", "users", "orders", "secret"] {
        replica.set_as(ROOT, namespace, "k", "v").await.unwrap();
    }
    replica
}

async fn stats(replica: &Replica, token: &str, request: pb::StatsRequest) -> Result<pb::StatsResponse, Status> {
    Ok(replica.client.clone().stats(bearing(token, request)).await?.into_inner())
}

#[tokio::test]
async fn stats_show_granted_namespaces_only() {
    let replica = shop().await;
    for scope in [pb::StatsScope::Replica, pb::StatsScope::Fleet] {
        let request = pb::StatsRequest { scope: scope.into(), ..Default::default() };
        let seen = stats(&replica, "t", request.clone()).await.unwrap();
        let names: Vec<_> = seen.namespaces.iter().map(|stats| stats.namespace.as_str()).collect();
        assert_eq!(names, ["cart", "users"], "{scope:?}");
        assert_eq!(pb::StatsResponse { namespaces: Vec::new(), ..seen }, pb::StatsResponse::default(), "{scope:?}");
        let all = stats(&replica, ROOT, request).await.unwrap();
        assert!(all.replica.is_some() && all.l1.is_some() && all.redis.is_some(), "{scope:?}");
        assert_eq!(all.namespaces.iter().filter(|stats| stats.sets_stored > 0).count(), 4, "{scope:?}");
    }
    let one = |name: &str| pb::StatsRequest { namespace: name.into(), ..Default::default() };
    assert_eq!(stats(&replica, "t", one("cart")).await.unwrap().namespaces.len(), 1);
    for other in ["secret", "orders", "unknown", "default"] {
        assert_eq!(stats(&replica, "t", one(other)).await.unwrap_err().code(), Code::PermissionDenied, "{other}");
    }
}

#[tokio::test]
async fn hot_keys_have_names_only_for_those_who_may_read_them() {
    let replica = shop().await;
    let mut admin = AdminServiceClient::new(replica.channel.clone());
    let mut hot = async |token: &str, namespace: &str| -> Result<Vec<String>, Status> {
        let request = pb::HotKeysRequest { namespace: namespace.into(), ..Default::default() };
        let keys = admin.hot_keys(bearing(token, request)).await?.into_inner().keys;
        Ok(keys.into_iter().map(|hot| hot.key).collect())
    };
    for namespace in ["cart", "orders"] {
        eventually("the key is hot", async || {
            replica.get_as(ROOT, namespace, "k").await.unwrap();
            hot(ROOT, namespace).await.unwrap() == ["k"]
        })
        .await;
    }
    assert_eq!(hot("t", "cart").await.unwrap(), ["k"]);
    let hashed = hot("t", "orders").await.unwrap();
    assert!(hashed.len() == 1 && hashed[0].starts_with('#') && hashed[0].len() == 17, "{hashed:?}");
    for denied in ["", "secret", "users"] {
        assert_eq!(hot("t", denied).await.unwrap_err().code(), Code::PermissionDenied, "{denied}");
    }
}

#[tokio::test]
async fn an_export_has_only_the_keys_that_the_caller_may_read() {
    let grants = r#"[
        {"namespaces": ["cart"], "verbs": ["read", "admin"]},
        {"namespaces": ["users"], "keys": ["user:"], "verbs": ["read", "admin"]},
        {"namespaces": ["orders"], "verbs": ["admin"]},
        {"namespaces": ["secret"], "verbs": ["read"]}
    ]"#;
    let replica = start(&teams(&[("shop", "t", grants)])).await;
    for namespace in ["cart", "users", "orders", "secret"] {
        for key in ["k", "user:1"] {
            replica.set_as(ROOT, namespace, key, "v").await.unwrap();
        }
    }
    let mut admin = AdminServiceClient::new(replica.channel.clone());
    let mut export = async |token: &str, names: &[&str]| -> Result<(Vec<String>, u64), Status> {
        let namespaces = names.iter().map(|name| (*name).to_owned()).collect();
        let request = pb::ExportEntriesRequest { namespaces, ..Default::default() };
        let mut stream = admin.export_entries(bearing(token, request)).await?.into_inner();
        let (mut keys, mut withheld) = (Vec::new(), 0);
        while let Some(response) = stream.message().await? {
            keys.extend(response.entries.into_iter().map(|entry| format!("{}/{}", entry.namespace, entry.key)));
            withheld += response.withheld;
        }
        keys.sort();
        Ok((keys, withheld))
    };
    let owned = |keys: &[&str]| -> Vec<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
    assert_eq!(export("t", &["cart"]).await.unwrap(), (owned(&["cart/k", "cart/user:1"]), 0));
    let both = export("t", &["cart", "users"]).await.unwrap();
    assert_eq!(both, (owned(&["cart/k", "cart/user:1", "users/user:1"]), 1));
    for denied in [&[][..], &["orders"], &["secret"], &["cart", "secret"], &["unknown"]] {
        assert_eq!(export("t", denied).await.unwrap_err().code(), Code::PermissionDenied, "{denied:?}");
    }
    assert_eq!(export(ROOT, &[]).await.unwrap().0.len(), 8);
}

#[tokio::test]
async fn policies_are_those_of_granted_namespaces() {
    let replica = shop().await;
    let mut admin = AdminServiceClient::new(replica.channel.clone());
    let mut list = async |token: &str, namespace: &str| {
        let request = pb::ListPoliciesRequest { namespace: namespace.into() };
        admin.list_policies(bearing(token, request)).await.map(tonic::Response::into_inner)
    };
    let own = list("t", "cart").await.unwrap();
    assert!(own.service.is_none() && own.namespaces.len() == 1);
    assert!(list(ROOT, "cart").await.unwrap().service.is_some());
    for denied in ["", "users", "secret"] {
        assert_eq!(list("t", denied).await.unwrap_err().code(), Code::PermissionDenied, "{denied}");
    }
    let change = |namespace: &str| pb::SetPolicyRequest {
        namespace: namespace.into(),
        policy: Some(pb::Policy { l1: Some(false), ..Default::default() }),
    };
    let mut admin = AdminServiceClient::new(replica.channel.clone());
    assert!(admin.set_policy(bearing("t", change("cart"))).await.is_ok());
    for denied in ["", "users", "secret"] {
        let refused = admin.set_policy(bearing("t", change(denied))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{denied}");
    }
}

fn watching(namespace: &str, selector: Option<Selector>) -> pb::WatchRequest {
    with_short_heartbeats(pb::WatchRequest { namespace: namespace.into(), selector, ..Default::default() })
}

#[tokio::test]
async fn a_watch_gets_only_what_is_granted() {
    let replica = shop().await;
    let prefix = |text: &str| Some(Selector::Prefix(text.into()));
    for (namespace, selector, expected) in [
        ("cart", None, Code::Ok),
        ("cart", Some(Selector::Tag("t".into())), Code::Ok),
        ("users", prefix("user:1"), Code::Ok),
        ("users", prefix("user"), Code::PermissionDenied),
        ("users", prefix("u"), Code::PermissionDenied),
        ("users", None, Code::PermissionDenied),
        ("users", Some(Selector::Tag("user:".into())), Code::PermissionDenied),
        ("secret", None, Code::PermissionDenied),
        ("orders", None, Code::PermissionDenied),
    ] {
        let opened = Watcher::open(&replica, bearing("t", watching(namespace, selector.clone()))).await;
        let code = opened.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(code, expected, "{namespace} {selector:?}");
    }
}

#[tokio::test]
async fn a_watch_at_the_edge_of_a_grant_shows_no_key_beside_it() {
    let replica = shop().await;
    let request = watching("users", Some(Selector::Prefix("user:".into())));
    let mut watcher = Watcher::open(&replica, bearing("t", request)).await.unwrap();
    watcher.heartbeat().await;
    for key in ["user", "user/1", "user:1"] {
        replica.set_as(ROOT, "users", key, "v").await.unwrap();
    }
    assert_eq!(watcher.next_change().await, WatchEvent::Keys(pb::ChangeKind::Set, vec!["user:1".to_owned()]));
}

#[tokio::test]
async fn a_watch_is_decided_again_when_grants_change() {
    let replica = shop().await;
    let settings = |grants: &str| teams(&[("shop", "t", grants)]);
    let mut watcher = Watcher::open(&replica, bearing("t", watching("cart", None))).await.unwrap();
    watcher.heartbeat().await;
    // It stays open while it is granted.
    replica.reload_auth(&borrowed(&settings(r#"[{"namespaces": ["*"], "verbs": ["watch"]}]"#)));
    for _ in 0..3 {
        watcher.heartbeat().await;
    }
    replica.reload_auth(&borrowed(&settings(r#"[{"namespaces": ["cart"], "verbs": ["read"]}]"#)));
    let end = end_of(&mut watcher).await;
    assert_eq!((end.code(), end.reason()), (Code::PermissionDenied, "NOT_GRANTED".to_owned()));
}

#[tokio::test]
async fn a_watch_ends_when_its_token_is_withdrawn() {
    let replica = shop().await;
    let mut watcher = Watcher::open(&replica, bearing("t", watching("cart", None))).await.unwrap();
    watcher.heartbeat().await;
    replica.reload_auth(&borrowed(&teams(&[("shop", "other-token", SHOP)])));
    assert_eq!(end_of(&mut watcher).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_watch_is_decided_when_decisions_are_switched_on() {
    let settings = teams(&[("shop", "t", SHOP)]);
    let off: Vec<_> = settings.iter().filter(|(path, _)| path != "auth.mode").cloned().collect();
    let replica = start(&off).await;
    let mut granted = Watcher::open(&replica, bearing("t", watching("cart", None))).await.unwrap();
    let mut without = Watcher::open(&replica, watching("cart", None)).await.unwrap();
    for watcher in [&mut granted, &mut without] {
        watcher.heartbeat().await;
    }
    replica.reload_auth(&borrowed(&settings));
    let end = end_of(&mut without).await;
    assert_eq!((end.code(), end.reason()), (Code::PermissionDenied, "NOT_GRANTED".to_owned()));
    for _ in 0..3 {
        granted.heartbeat().await;
    }
}

async fn end_of(watcher: &mut Watcher) -> Status {
    loop {
        match watcher.event().await {
            Ok(Event::Heartbeat(_) | Event::Discontinuity(_)) => {}
            Ok(Event::Change(change)) => panic!("a change: {change:?}"),
            Err(end) => return end,
        }
    }
}
