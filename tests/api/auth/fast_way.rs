//! Gets that memory answers at once: the caller is decided for each of them.

use tonic::Code;

use super::*;
use crate::harness::Answer as _;

const GET: &str = "/twintier.v1.CacheService/Get";

fn grants(namespace: &str) -> String {
    format!(r#"[{{"namespaces": ["{namespace}"], "verbs": ["read", "write"]}}]"#)
}

/// A replica with an entry in the namespace of each of two teams, in memory.
async fn two_teams() -> Replica {
    let (a, b) = (grants("ns-a"), grants("ns-b"));
    let replica = start(&teams(&[("a", "token-a", &a), ("b", "token-b", &b)])).await;
    for (token, namespace) in [("token-a", "ns-a"), ("token-b", "ns-b")] {
        replica.set_as(token, namespace, "k", namespace).await.unwrap();
        assert!(replica.get_as(token, namespace, "k").await.unwrap().is(namespace));
    }
    replica
}

async fn read(wire: &mut Wire, token: &str, namespace: &str) -> Code {
    let headers = [("authorization", &*bearer(token))];
    let reply = call(wire, GET, &headers, &get(namespace, "k").encode_to_vec()).await;
    if reply.status.code() == Code::Ok {
        assert!(reply.message::<pb::GetResponse>().is(namespace), "the value of another namespace");
    }
    reply.status.code()
}

#[tokio::test]
async fn two_connections_with_different_tokens_are_never_mixed_up() {
    let replica = two_teams().await;
    let (mut one, mut other) = (Wire::connect(replica.address).await, Wire::connect(replica.address).await);
    for _ in 0..50 {
        assert_eq!(read(&mut one, "token-a", "ns-a").await, Code::Ok);
        assert_eq!(read(&mut other, "token-b", "ns-b").await, Code::Ok);
        assert_eq!(read(&mut one, "token-a", "ns-b").await, Code::PermissionDenied);
        assert_eq!(read(&mut other, "token-b", "ns-a").await, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn one_connection_may_change_its_token_with_each_request() {
    let replica = two_teams().await;
    let mut wire = Wire::connect(replica.address).await;
    for _ in 0..50 {
        assert_eq!(read(&mut wire, "token-a", "ns-a").await, Code::Ok);
        assert_eq!(read(&mut wire, "token-b", "ns-a").await, Code::PermissionDenied);
        assert_eq!(read(&mut wire, "token-b", "ns-b").await, Code::Ok);
        assert_eq!(read(&mut wire, "token-a", "ns-b").await, Code::PermissionDenied);
        assert_eq!(read(&mut wire, "token-", "ns-a").await, Code::Unauthenticated);
        let none = call(&mut wire, GET, &[], &get("ns-a", "k").encode_to_vec()).await;
        assert_eq!(none.status.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn concurrent_requests_of_one_connection_keep_their_callers() {
    let replica = two_teams().await;
    let wire = Wire::connect(replica.address).await;
    let calls = (0..200).map(|n| {
        let mut wire = wire.clone();
        async move {
            let (token, own, other) =
                if n % 2 == 0 { ("token-a", "ns-a", "ns-b") } else { ("token-b", "ns-b", "ns-a") };
            assert_eq!(read(&mut wire, token, own).await, Code::Ok);
            assert_eq!(read(&mut wire, token, other).await, Code::PermissionDenied);
        }
    });
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn both_ways_of_a_get_decide_alike() {
    let replica = two_teams().await;
    let mut wire = Wire::connect(replica.address).await;
    for token in ["Bearer token-a", "Bearer token-b", "Bearer wrong", "bearer token-a", ""] {
        let message = get("ns-a", "k").encode_to_vec();
        let fast = call(&mut wire, GET, &[("authorization", token)], &message).await;
        // An encoding that changes nothing makes the request go the general way.
        let headers = [("authorization", token), ("grpc-encoding", "identity")];
        let general = call(&mut wire, GET, &headers, &message).await;
        assert_eq!(fast.headers, general.headers, "{token}");
        assert_eq!(fast.status.code(), general.status.code(), "{token}");
    }
}

#[tokio::test]
async fn a_token_that_is_withdrawn_fails_at_the_next_request() {
    let replica = two_teams().await;
    let mut wire = Wire::connect(replica.address).await;
    assert_eq!(read(&mut wire, "token-a", "ns-a").await, Code::Ok);
    let (a, b) = (grants("ns-a"), grants("ns-b"));
    replica.reload_auth(&borrowed(&teams(&[("a", "token-new", &a), ("b", "token-b", &b)])));
    assert_eq!(read(&mut wire, "token-a", "ns-a").await, Code::Unauthenticated);
    assert_eq!(read(&mut wire, "token-new", "ns-a").await, Code::Ok);
    replica.reload_auth(&borrowed(&teams(&[("a", "token-new", &b), ("b", "token-b", &b)])));
    assert_eq!(read(&mut wire, "token-new", "ns-a").await, Code::PermissionDenied);
}
