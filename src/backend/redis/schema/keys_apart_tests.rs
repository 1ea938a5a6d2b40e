//! Names of one namespace are never names of another, whatever its keys are.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cache::namespace::{Namespace, NamespaceRules, Namespaces};

const PREFIX: &str = "twintier";
const PARTITIONS: u16 = 4;

/// Names of namespaces, many of them parts of one another or of names in Redis.
fn name() -> impl Strategy<Value = String> {
    let known = ["shop", "sho", "shop.b", "shop-v", "v", "l", "x", "q", "t", "o", "c", "0", "1", "b", "n", "s", "4"];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        "[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?",
    ]
}

/// Keys, many of which look like names in Redis, patterns or names of namespaces.
fn key() -> impl Strategy<Value = String> {
    let parts = [
        "shop",
        "sho",
        "v",
        "l",
        "q",
        "x",
        "t",
        "o",
        "c",
        ":",
        "{",
        "}",
        "{0}",
        "}:v:shop:",
        "twintier",
        "*",
        "?",
        "[",
        "\\",
        "\0",
        "n:",
        "0",
        "4",
        "k",
        "é",
        "ｋ",
        "\r\n",
    ];
    let text = proptest::collection::vec(proptest::sample::select(parts.to_vec()), 1..8);
    prop_oneof![text.prop_map(|parts| parts.concat()), any::<String>()]
        .prop_filter("within the limit", |key| !key.is_empty() && key.len() <= 1024)
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        key().prop_map(|key| key.into_bytes()[..].iter().copied().take(64).collect()),
        any::<[u8; 4]>().prop_map(Vec::from)
    ]
}

/// All names in Redis that belong to a key.
fn names_of(keys: &KeySchema, namespace: &Arc<Namespace>, key: &str, request: &[u8]) -> [Bytes; 4] {
    let key = KeyRef::new(namespace, key.as_bytes());
    let request = RequestId(request.to_vec().into());
    [keys.entry(key), keys.lease(key), keys.source(key), keys.request(key, &request)]
}

/// All names in Redis that belong to no key.
fn other_names(keys: &KeySchema) -> Vec<Bytes> {
    let of_partition = |partition: u16| {
        let names = [
            keys.counter(partition),
            keys.channel(partition),
            keys.replica_channel(partition, 7),
            keys.note(partition, 7),
            keys.hot_keys(partition),
            keys.settings(partition),
            keys.keyspace(partition),
            keys.keyspace_claim(partition),
        ];
        names.map(Bytes::from)
    };
    (0..PARTITIONS).flat_map(of_partition).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_key_of_a_namespace_has_a_name_of_another(
        names in [name(), name()],
        keys_of in [key(), key()],
        requests in [request(), request()],
    ) {
        let rules = NamespaceRules { limit: 4, ..NamespaceRules::default() };
        let namespaces = Namespaces::new(rules, PARTITIONS);
        let schema = KeySchema::new(PREFIX, PARTITIONS, false);
        let [one, other] = names.clone().map(|name| namespaces.get("namespace", &name).expect("a name"));
        let mine = names_of(&schema, &one, &keys_of[0], &requests[0]);
        let theirs = names_of(&schema, &other, &keys_of[1], &requests[1]);
        let of_none = other_names(&schema);
        for name in &mine {
            prop_assert!(!of_none.contains(name));
            prop_assert_eq!(schema.namespace_in(name), Some(names[0].as_str()));
            let is_same = names[0] == names[1] && keys_of[0] == keys_of[1];
            prop_assert!(is_same || !theirs.contains(name), "{:?}", name);
        }
        for name in &mine[..2] {
            // The scan of a namespace filters by this the names that its glob matches.
            prop_assert_eq!(schema.key_in(name, &names[0]), Some(keys_of[0].as_bytes()));
            prop_assert!(names[0] == names[1] || schema.key_in(name, &names[1]).is_none(), "{:?}", name);
        }
        let hashes = [&one, &other].map(|namespace| schema.invalidation_hashes(0, namespace.name()));
        prop_assert!(names[0] == names[1] || hashes[0].iter().all(|hash| !hashes[1].contains(hash)));
        prop_assert!(hashes[0].iter().all(|hash| !theirs.contains(hash) && !of_none.contains(hash)));
    }

    #[test]
    fn a_name_of_a_namespace_cannot_be_mistaken(name in any::<String>()) {
        let namespaces = Namespaces::new(NamespaceRules { limit: 4, ..NamespaceRules::default() }, PARTITIONS);
        let found = namespaces.get("namespace", &name);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        prop_assert!(name.is_empty() || found.is_err() || name.bytes().all(plain), "{:?}", name);
    }
}
