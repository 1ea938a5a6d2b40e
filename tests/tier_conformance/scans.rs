//! Searches for keys: what is there throughout is found, and a position counts for its servers only.

use std::collections::BTreeSet;

use twintier::cache::tier::{KeyScan, ScanPosition};

use super::Fixture;

/// Searches to the end in small steps. Returns the namespace and key of each entry.
async fn found(fixture: &Fixture, namespace: Option<&str>, begin: &str, from: ScanPosition) -> BTreeSet<String> {
    let (mut found, mut next) = (BTreeSet::new(), Some(from));
    while let Some(at) = next {
        let scan = KeyScan { namespace, begin, at: &at, count: 10 };
        let step = fixture.l2.scan_keys(scan, fixture.until()).await.unwrap();
        let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        found.extend(step.keys.iter().map(|scanned| format!("{}/{}", scanned.namespace, name(&scanned.key))));
        next = step.next;
    }
    found
}

pub async fn every_key_of_a_namespace_is_found(fixture: &Fixture) {
    let mut expected = BTreeSet::new();
    for n in 0..60 {
        let key = fixture.key("scanned", &format!("a*[b]:{n}"));
        fixture.store(&key, "x").await;
        expected.insert(format!("scanned/a*[b]:{n}"));
    }
    fixture.store(&fixture.key("scanned", "other"), "x").await;
    let start = ScanPosition::default;
    assert_eq!(found(fixture, Some("scanned"), "a*[b]:", start()).await, expected);
    expected.insert("scanned/other".to_owned());
    assert_eq!(found(fixture, Some("scanned"), "", start()).await, expected);
    let all = found(fixture, None, "", start()).await;
    assert!(all.is_superset(&expected) && all.len() > expected.len(), "{} keys", all.len());
    let foreign = ScanPosition { generation: 1, part: 1 << 20, cursor: 7 };
    assert_eq!(found(fixture, Some("scanned"), "", foreign).await, expected, "the search begins again");
}
