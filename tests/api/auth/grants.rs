//! Grants: verbs, namespaces, keys, events and batches.

use pb::invalidate_request::Selector;
use tonic::Code;

use super::*;
use crate::harness::{Answer as _, Refusal as _};

const SHOP: &str = r#"[
    {"namespaces": ["cart", "price-*"], "verbs": ["read", "write", "invalidate", "watch"]},
    {"namespaces": ["users"], "keys": ["user:", "team:"], "verbs": ["read", "write", "invalidate"]},
    {"namespaces": ["default"], "verbs": ["read"]}
]"#;

async fn shop(more: &[(&str, &str)]) -> Replica {
    start(&with(teams(&[("shop", "t", SHOP)]), more)).await
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn namespaces_are_literal_or_begin_so() {
    let replica = shop(&[]).await;
    for (namespace, expected) in [
        ("cart", Code::Ok),
        ("carts", Code::PermissionDenied),
        ("car", Code::PermissionDenied),
        ("price-eu", Code::Ok),
        ("price-", Code::InvalidArgument),
        ("price", Code::PermissionDenied),
        ("xprice-eu", Code::PermissionDenied),
        ("Cart", Code::PermissionDenied),
        ("cart\0", Code::PermissionDenied),
        ("", Code::PermissionDenied),
        ("default", Code::PermissionDenied),
    ] {
        assert_eq!(code(replica.set_as("t", namespace, "k", "v").await), expected, "{namespace:?}");
    }
    assert_eq!(code(replica.get_as("t", "", "k").await), Code::Ok);
    let denied = replica.set_as("t", "", "k", "v").await.unwrap_err();
    assert_eq!(
        (denied.message(), denied.reason().as_str()),
        (r#"write is not granted in namespace """#, "NOT_GRANTED")
    );
    assert_eq!(denied.retry_delay(), None);
}

#[tokio::test]
async fn keys_of_a_grant_are_prefixes() {
    let replica = shop(&[]).await;
    for (key, expected) in [
        ("user:1", Code::Ok),
        ("user:", Code::Ok),
        ("team:1", Code::Ok),
        ("user", Code::PermissionDenied),
        ("user/1", Code::PermissionDenied),
        ("User:1", Code::PermissionDenied),
        (" user:1", Code::PermissionDenied),
        ("", Code::PermissionDenied),
        ("us\u{435}r:1", Code::PermissionDenied),
    ] {
        assert_eq!(code(replica.set_as("t", "users", key, "v").await), expected, "{key:?}");
        assert_eq!(code(replica.get_as("t", "users", key).await), expected, "{key:?}");
    }
}

#[tokio::test]
async fn a_batch_is_granted_or_denied_whole() {
    let replica = shop(&[]).await;
    replica.set_as(ROOT, "users", "user:1", "before").await.unwrap();
    let mut client = replica.client.clone();
    let batch = |keys: &[&str]| pb::BatchSetRequest {
        namespace: "users".into(),
        items: keys.iter().map(|key| set_request(key, "after")).collect(),
        ..Default::default()
    };
    assert_eq!(code(client.batch_set(bearing("t", batch(&["user:1", "secret"]))).await), Code::PermissionDenied);
    assert!(replica.get_as(ROOT, "users", "user:1").await.unwrap().is("before"), "nothing was written");
    assert_eq!(code(client.batch_set(bearing("t", batch(&["user:1", "team:2"]))).await), Code::Ok);
    // An item with a namespace of its own is refused, and not decided by the batch's.
    let mut sneaky = batch(&["user:1"]);
    sneaky.items[0].namespace = "secret".into();
    assert_eq!(code(client.batch_set(bearing("t", sneaky)).await), Code::InvalidArgument);
    let reads = |keys: &[&str]| pb::BatchGetRequest {
        namespace: "users".into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(code(client.batch_get(bearing("t", reads(&["user:1", "user"]))).await), Code::PermissionDenied);
    assert_eq!(code(client.batch_get(bearing("t", reads(&["user:1", "team:2"]))).await), Code::Ok);
    let removals = |keys: &[&str]| pb::BatchInvalidateRequest {
        namespace: "users".into(),
        items: keys
            .iter()
            .map(|key| pb::BatchInvalidateItem { key: (*key).to_owned(), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    assert_eq!(code(client.batch_invalidate(bearing("t", removals(&["user:1", "x"]))).await), Code::PermissionDenied);
    assert!(replica.get_as(ROOT, "users", "user:1").await.unwrap().is("after"), "nothing was removed");
    assert_eq!(code(client.batch_invalidate(bearing("t", removals(&["user:1"]))).await), Code::Ok);
}

#[tokio::test]
async fn a_get_that_requests_a_lease_needs_the_right_to_write() {
    let replica = shop(&[]).await;
    let leases = |namespace: &str| pb::GetRequest { lease: Some(Default::default()), ..get(namespace, "k") };
    let mut client = replica.client.clone();
    assert_eq!(code(client.get(bearing("t", leases("cart"))).await), Code::Ok);
    let denied = client.get(bearing("t", leases(""))).await.unwrap_err();
    assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, r#"write is not granted in namespace """#));
}

#[tokio::test]
async fn an_invalidation_reaches_only_what_the_grant_covers() {
    let replica = shop(&[]).await;
    let tags = pb::Tags { tags: vec!["t".into()] };
    let keys = |keys: &[&str]| Selector::Keys(pb::Keys { keys: keys.iter().map(|key| (*key).to_owned()).collect() });
    for (namespace, selector, expected) in [
        ("cart", Selector::WholeNamespace(pb::WholeNamespace {}), Code::Ok),
        ("cart", Selector::Pattern("*".into()), Code::Ok),
        ("cart", Selector::Tags(tags.clone()), Code::Ok),
        ("users", Selector::Key("user:1".into()), Code::Ok),
        ("users", Selector::Key("log:1".into()), Code::PermissionDenied),
        ("users", keys(&["user:1", "team:1"]), Code::Ok),
        ("users", keys(&["user:1", "log:1"]), Code::PermissionDenied),
        ("users", Selector::Prefix("user:1".into()), Code::Ok),
        ("users", Selector::Prefix("user:1/posts".into()), Code::Ok),
        ("users", Selector::Prefix("user".into()), Code::PermissionDenied),
        ("users", Selector::Prefix("user/".into()), Code::PermissionDenied),
        ("users", Selector::Prefix("u".into()), Code::PermissionDenied),
        ("users", Selector::Prefix("".into()), Code::PermissionDenied),
        ("users", Selector::Pattern("user:1*".into()), Code::PermissionDenied),
        ("users", Selector::Tags(tags), Code::PermissionDenied),
        ("users", Selector::WholeNamespace(pb::WholeNamespace {}), Code::PermissionDenied),
        ("other", Selector::Key("user:1".into()), Code::PermissionDenied),
    ] {
        assert_eq!(code(replica.invalidate_as("t", namespace, selector.clone()).await), expected, "{selector:?}");
    }
    let mut client = replica.client.clone();
    let several = |namespaces: &[&str]| pb::InvalidateRequest {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        selector: Some(Selector::Key("k".into())),
        ..Default::default()
    };
    assert_eq!(code(client.invalidate(bearing("t", several(&["cart", "price-a"]))).await), Code::Ok);
    assert_eq!(code(client.invalidate(bearing("t", several(&["cart", "secret"]))).await), Code::PermissionDenied);
    let all = pb::InvalidateRequest { all_namespaces: true, ..several(&[]) };
    assert_eq!(code(client.invalidate(bearing("t", all.clone())).await), Code::PermissionDenied);
    assert_eq!(code(client.invalidate(bearing(ROOT, all)).await), Code::Ok);
}

#[tokio::test]
async fn a_prefix_at_the_edge_of_a_grant_removes_nothing_beside_it() {
    let replica = shop(&[]).await;
    let keys = ["user", "user/1", "users", "user:", "user:1", "user:1/a", "team:1"];
    for key in keys {
        replica.set_as(ROOT, "users", key, "v").await.unwrap();
    }
    replica.invalidate_as("t", "users", Selector::Prefix("user:".into())).await.unwrap();
    for (key, left) in keys.iter().zip([true, true, true, false, false, false, true]) {
        assert_eq!(replica.get_as(ROOT, "users", key).await.unwrap().is("v"), left, "{key}");
    }
    // A caller that may reach all of it does.
    replica.invalidate_as(ROOT, "users", Selector::Prefix("user:".into())).await.unwrap();
    assert!(!replica.get_as(ROOT, "users", "user").await.unwrap().is("v"));
}

#[tokio::test]
async fn an_event_needs_its_name_only() {
    let rules = r#"[{"namespace": "orders", "keys": ["order:{id}"]}]"#;
    let events = [("identities.shop.events", r#"["paid"]"#), ("events.paid", rules), ("events.refunded", rules)];
    let replica = shop(&events).await;
    replica.set_as(ROOT, "orders", "order:1", "v").await.unwrap();
    let event = |name: &str| {
        let parameters = [("id".to_owned(), "1".to_owned())].into();
        Selector::Event(pb::Event { name: name.into(), parameters })
    };
    let denied = replica.invalidate_as("t", "", event("refunded")).await.unwrap_err();
    assert_eq!(
        (denied.code(), denied.message()),
        (Code::PermissionDenied, r#"invalidate is not granted for event "refunded""#)
    );
    assert_eq!(code(replica.invalidate_as("t", "", event("unknown")).await), Code::PermissionDenied);
    assert_eq!(
        code(replica.invalidate_as(ROOT, "", event("paid")).await),
        Code::PermissionDenied,
        "no grant of events"
    );
    assert!(replica.get_as(ROOT, "orders", "order:1").await.unwrap().is("v"));
    replica.invalidate_as("t", "", event("paid")).await.unwrap();
    assert!(replica.get_as(ROOT, "orders", "order:1").await.unwrap().miss().is_some());
}
