//! Limits of an identity.

use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::harness::{Refusal as _, Unfinished, Watcher, eventually, with_short_heartbeats};

const ALL: &str = r#"[{"namespaces": ["*"], "verbs": ["read", "write", "watch"]}]"#;

async fn limited(setting: &str, value: &str) -> Replica {
    let path = format!("identities.a.{setting}");
    // A stream of reflection lasts until its deadline.
    let others = [("namespaces.known.max_ttl", "1h"), ("server.max_deadline", "10s")];
    start(&with(teams(&[("a", "a", ALL), ("b", "b", ALL)]), &[&others[..], &[(path.as_str(), value)]].concat())).await
}

#[track_caller]
fn assert_reached(refused: &Status, setting: &str, value: &str) {
    assert_eq!((refused.code(), refused.reason()), (Code::ResourceExhausted, "LIMIT_REACHED".to_owned()));
    let details = refused.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((metadata["setting"].as_str(), metadata["value"].as_str()), (setting, value));
    assert!(refused.retry_delay().is_some(), "{refused:?}");
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, setting);
}

#[tokio::test]
async fn watches_of_an_identity_are_limited() {
    let replica = limited("max_watches", "1").await;
    let open =
        async |token: &str| Watcher::open(&replica, bearing(token, with_short_heartbeats(Default::default()))).await;
    let first = open("a").await.unwrap();
    let refused = open("a").await.err().expect("a limit");
    assert_reached(&refused, "identities.a.max_watches", "1");
    let _other = open("b").await.expect("another identity has its own");
    drop(first);
    eventually("the place is free", async || open("a").await.is_ok()).await;
}

#[tokio::test]
async fn connections_of_an_identity_are_limited() {
    let replica = limited("max_connections", "1").await;
    let get = async |wire: &Wire, token: &str| wire.client().get(bearing(token, get("", "k"))).await;
    let (one, two) = (Wire::connect(replica.address).await, Wire::connect(replica.address).await);
    get(&one, "a").await.unwrap();
    assert_reached(&get(&two, "a").await.unwrap_err(), "identities.a.max_connections", "1");
    get(&two, "b").await.expect("another identity has its own");
    get(&one, "a").await.expect("the first one is not affected");
    drop(one);
    eventually("the place is free", async || get(&two, "a").await.is_ok()).await;
}

#[tokio::test]
async fn requests_of_an_identity_in_flight_are_limited() {
    let replica = limited("max_in_flight", "1").await;
    // A stream that its caller does not end is in flight.
    let mut wire = Wire::connect(replica.address).await;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let request = HttpRequest::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.header("authorization", bearer("a"));
    let open = wire.call(request.body(tonic::body::Body::new(Unfinished(None))).unwrap());
    let open = tokio::spawn(open);
    let get = async |token: &str| replica.get_as(token, "", "k").await;
    eventually("the stream is in flight", async || get("a").await.is_err()).await;
    assert_reached(&get("a").await.unwrap_err(), "identities.a.max_in_flight", "1");
    get("b").await.expect("another identity has its own");
    open.abort();
    drop((open.await, wire));
    eventually("the place is free", async || get("a").await.is_ok()).await;
}

#[tokio::test]
async fn namespaces_that_an_identity_makes_known_are_limited() {
    let replica = limited("max_namespaces", "2").await;
    let set = async |token: &str, namespace: &str| replica.set_as(token, namespace, "k", "v").await;
    for known in ["known", "", "default"] {
        set("a", known).await.expect("known namespaces do not count");
    }
    set("b", "of-b").await.unwrap();
    set("a", "of-b").await.expect("known by another");
    set("a", "Invalid Name").await.expect_err("no name");
    set("a", "one").await.unwrap();
    set("a", "two").await.unwrap();
    assert_reached(&set("a", "three").await.unwrap_err(), "identities.a.max_namespaces", "2");
    replica.get_as("a", "three", "k").await.expect("a read makes nothing known");
    set("a", "one").await.expect("its own");
    set("b", "three").await.unwrap();
    set("a", "three").await.expect("known by another now");
}
