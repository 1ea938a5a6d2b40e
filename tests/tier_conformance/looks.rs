//! Conformance of L2: inspection of a key, dead or alive, and its lease.

use std::time::Duration;

use twintier::cache::entry::{Content, Lifetime, NewEntry, Tags};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::tier::inspect::{InvalidationCause, NotServed};
use twintier::cache::tier::{Acquired, Condition, LeaseClaim, LeaseId, LeaseRelease};

use super::Bench;

const SECOND: Duration = Duration::from_secs(1);

pub async fn a_lease_is_seen_while_somebody_has_it(bench: &Bench) {
    let key = bench.key("looks", "leased");
    let lease = async || bench.l2.inspect(&key, bench.until()).await.unwrap().lease;
    assert_eq!(lease().await, None);
    let claim = LeaseClaim { lease: LeaseId(7), duration: 10 * SECOND, seen: None };
    assert_eq!(bench.l2.acquire(&key, claim, bench.until()).await.unwrap(), Acquired::Granted);
    let left = lease().await.unwrap();
    assert!(left <= 10 * SECOND && left > 5 * SECOND, "{left:?}");
    let release = LeaseRelease { lease: claim.lease, failed: true, pause: 10 * SECOND };
    bench.l2.release(&key, release, bench.until()).await.unwrap();
    assert_eq!(lease().await, None, "nobody has it, though nobody may have it either");
    let other = bench.key("looks", "filled");
    bench.l2.acquire(&other, claim, bench.until()).await.unwrap();
    bench.store(&other, "x").await;
    assert_eq!(bench.l2.inspect(&other, bench.until()).await.unwrap().lease, None, "a write ends it");
}

pub async fn what_is_stored_is_seen_dead_or_alive(bench: &Bench) {
    let key = bench.key("looks", "stored");
    let look = async || bench.l2.inspect(&key, bench.until()).await.unwrap().stored;
    assert_eq!(look().await, None);
    let version = bench.store(&key, "value").await;
    if bench.redis.is_none() {
        // Memory is all there is, and is looked at there.
        return assert_eq!(look().await, None);
    }
    let stored = look().await.unwrap();
    assert_eq!((stored.size, stored.stored_size, stored.not_served), (5, 5, None));
    assert_eq!(stored.entry.unwrap().version, version);
    bench.invalidate(bench.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(bench.read(&key).await, None);
    assert_eq!(look().await.unwrap().not_served, Some(NotServed::Invalidated(InvalidationCause::Namespace)));
}

pub async fn what_an_entry_was_invalidated_with_is_told(bench: &Bench) {
    if bench.redis.is_none() {
        return;
    }
    let key = bench.key("looks", "user:42/posts");
    let pattern = Selector::Pattern("*posts".into());
    let cases = [
        (Selector::Prefix("user:42".into()), InvalidationCause::Prefix(None)),
        (Selector::Tag("two".into()), InvalidationCause::Tag("two".into())),
        (pattern, InvalidationCause::Pattern("*posts".into())),
    ];
    for (selector, cause) in cases {
        let content = Content::Value("value".into());
        let tags = Tags::new(vec!["one".into(), "two".into()]);
        let entry = NewEntry { tags, ..NewEntry::new(content, Lifetime::of(60 * SECOND)) };
        bench.write_entry(&key, entry, Condition::None).await;
        assert_eq!(bench.l2.inspect(&key, bench.until()).await.unwrap().stored.unwrap().not_served, None);
        bench.invalidate(bench.partition(&key), key.namespace(), &[selector]).await;
        // A pattern may have been reclaimed already.
        let stored = bench.l2.inspect(&key, bench.until()).await.unwrap().stored;
        if let Some(stored) = stored.filter(|_| !matches!(cause, InvalidationCause::Pattern(_))) {
            assert_eq!(stored.not_served, Some(NotServed::Invalidated(cause)));
        }
    }
}
