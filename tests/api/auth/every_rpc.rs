//! Every RPC of the contract needs a credential and a grant.

use prost_types::FileDescriptorSet;
use tonic::Code;

use super::*;
use crate::harness::Refusal as _;

const ELSEWHERE: &str =
    r#"[{"namespaces": ["elsewhere"], "verbs": ["read", "write", "invalidate", "watch", "admin"]}]"#;

/// Paths of all methods of the contract.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).unwrap().file;
    let methods: Vec<_> = files
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| {
            let name = format!("/{package}.{}", service.name());
            service.method.iter().map(move |method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
        })
        .collect();
    assert!(methods.len() >= 18, "{methods:?}");
    methods
}

const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

#[tokio::test]
async fn a_call_without_a_credential_or_with_a_wrong_one_is_unauthenticated() {
    let replica = start(&teams(&[])).await;
    let mut wire = Wire::connect(replica.address).await;
    let reflection = REFLECTION.map(str::to_owned);
    for path in methods().iter().chain(&reflection) {
        let none = call(&mut wire, path, &[], &[]).await.status;
        assert_eq!((none.code(), none.reason()), (Code::Unauthenticated, "NO_CREDENTIAL".to_owned()), "{path}");
        for wrong in ["Bearer wrong", "Bearer ", "Basic cm9vdDpyb290LXRva2Vu", "root-token", "Bearer a.b.c", ""] {
            let refused = call(&mut wire, path, &[("authorization", wrong)], &[]).await.status;
            let seen = (refused.code(), refused.reason(), refused.message().to_owned());
            let expected = "the credential is not accepted".to_owned();
            assert_eq!(seen, (Code::Unauthenticated, "BAD_CREDENTIAL".to_owned(), expected), "{path} {wrong}");
        }
        let root = bearer(ROOT);
        let two = [("authorization", root.as_str()), ("authorization", root.as_str())];
        assert_eq!(call(&mut wire, path, &two, &[]).await.status.reason(), "BAD_CREDENTIAL", "{path}");
    }
}

#[tokio::test]
async fn a_call_with_a_grant_for_another_namespace_is_denied() {
    let replica = start(&teams(&[("other", "other-token", ELSEWHERE), ("none", "none-token", "[]")])).await;
    let mut wire = Wire::connect(replica.address).await;
    for path in methods() {
        for token in ["other-token", "none-token"] {
            let refused = call(&mut wire, &path, &[("authorization", &bearer(token))], &[]).await.status;
            assert_eq!((refused.code(), refused.reason()), (Code::PermissionDenied, "NOT_GRANTED".into()), "{path}");
        }
        // The watch has no end.
        if !path.ends_with("/Watch") {
            let granted = call(&mut wire, &path, &[("authorization", &bearer(ROOT))], &[]).await.status;
            let denials = [Code::PermissionDenied, Code::Unauthenticated];
            assert!(!denials.contains(&granted.code()), "{path}: {granted:?}");
        }
    }
    let health = call(&mut wire, "/grpc.health.v1.Health/Check", &[], &[]).await.status;
    assert_eq!(health.code(), Code::Ok);
}

#[tokio::test]
async fn a_denied_call_gets_the_same_bytes_whether_the_entry_exists() {
    let replica = start(&teams(&[("other", "other-token", ELSEWHERE)])).await;
    let mut wire = Wire::connect(replica.address).await;
    let token = bearer("other-token");
    let denied = async |wire: &mut Wire, path: &str, message: Vec<u8>| {
        let reply = call(wire, path, &[("authorization", &token)], &message).await;
        assert_eq!(reply.status.code(), Code::PermissionDenied, "{path}");
        (reply.headers, reply.body)
    };
    let requests = [
        ("/twintier.v1.CacheService/Get", get("secret", "k").encode_to_vec()),
        ("/twintier.v1.CacheService/Set", set("secret", "k", "v").encode_to_vec()),
        (
            "/twintier.v1.AdminService/Inspect",
            pb::InspectRequest { namespace: "secret".into(), key: "k".into() }.encode_to_vec(),
        ),
        (
            "/twintier.v1.CacheService/Stats",
            pb::StatsRequest { namespace: "secret".into(), ..Default::default() }.encode_to_vec(),
        ),
    ];
    let mut before = Vec::new();
    for (path, message) in &requests {
        before.push(denied(&mut wire, path, message.clone()).await);
    }
    replica.set_as(ROOT, "secret", "k", "v").await.unwrap();
    replica.get_as(ROOT, "secret", "k").await.unwrap();
    for ((path, message), before) in requests.iter().zip(before) {
        assert_eq!(denied(&mut wire, path, message.clone()).await, before, "{path}");
    }
    // A denied namespace is not made known, and neither is its name checked.
    let known = replica.client.clone().stats(bearing(ROOT, pb::StatsRequest::default())).await.unwrap().into_inner();
    assert!(known.namespaces.iter().all(|stats| stats.namespace != "elsewhere"));
    let odd = replica.get_as("other-token", "No Name!\n", "k").await.unwrap_err();
    assert_eq!(
        (odd.code(), odd.message()),
        (Code::PermissionDenied, r#"read is not granted in namespace "No Name!\n""#)
    );
}

#[tokio::test]
async fn nothing_is_decided_while_the_mode_is_off_and_nothing_denied_while_it_is_shadow() {
    for mode in ["off", "shadow"] {
        let mut settings = teams(&[("none", "none-token", "[]")]);
        settings[0].1 = mode.to_owned();
        let replica = start(&settings).await;
        replica.set("k", "v").await;
        for token in ["wrong", "none-token", ROOT] {
            assert!(replica.get_as(token, "", "k").await.is_ok(), "{mode}");
            assert!(replica.set_as(token, "", "k", "v").await.is_ok(), "{mode}");
        }
        let stats = replica.stats().await;
        assert!(stats.replica.is_some() && stats.namespaces.len() == 1, "{mode}");
        let reflection = call(&mut Wire::connect(replica.address).await, REFLECTION[0], &[], &[]).await.status;
        assert_eq!(reflection.code(), Code::Ok, "{mode}");
    }
}
