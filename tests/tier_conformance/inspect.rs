//! Conformance of L2: inspection of a key, dead or alive, and its lease.

use std::time::Duration;

use twintier::cache::entry::{Content, NewEntry, Tags};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::tier::inspect::{InvalidationCause, NotServed};
use twintier::cache::tier::{Acquired, Condition, LeaseClaim, LeaseId, LeaseRelease};

use super::Fixture;

const SECOND: Duration = Duration::from_secs(1);

pub async fn a_lease_is_reported_while_it_is_held(fixture: &Fixture) {
    let key = fixture.key("looks", "leased");
    let lease = async || fixture.l2.inspect(&key, fixture.until()).await.unwrap().lease;
    assert_eq!(lease().await, None);
    let claim = LeaseClaim { lease: LeaseId(7), duration: 10 * SECOND, seen: None };
    assert_eq!(fixture.l2.acquire(&key, claim, fixture.until()).await.unwrap(), Acquired::Granted);
    let left = lease().await.unwrap();
    assert!(left <= 10 * SECOND && left > 5 * SECOND, "{left:?}");
    let back = LeaseRelease { lease: claim.lease, failed: true, pause: 10 * SECOND };
    fixture.l2.release(&key, back, fixture.until()).await.unwrap();
    assert_eq!(lease().await, None, "the pause refuses the lease, but no caller holds it");
    let other = fixture.key("looks", "filled");
    fixture.l2.acquire(&other, claim, fixture.until()).await.unwrap();
    fixture.store(&other, "x").await;
    assert_eq!(fixture.l2.inspect(&other, fixture.until()).await.unwrap().lease, None, "a write voids the lease");
}

pub async fn a_stored_entry_is_reported_live_or_expired(fixture: &Fixture) {
    let key = fixture.key("looks", "stored");
    let look = async || fixture.l2.inspect(&key, fixture.until()).await.unwrap().stored;
    assert_eq!(look().await, None);
    let version = fixture.store(&key, "value").await;
    if fixture.redis.is_none() {
        // This implementation keeps entries in memory only, where Inspect reads them.
        return assert_eq!(look().await, None);
    }
    let stored = look().await.unwrap();
    let is_protected = fixture.config.as_ref().is_some_and(|config| !config.protection.mac_keys.is_empty());
    // An encrypted value has an envelope, a signed one a seal.
    let stored_size = if is_protected { 5 + 32 + 28 } else { 5 };
    assert_eq!((stored.size, stored.stored_size, stored.not_served), (5, stored_size, None));
    assert_eq!(stored.entry.unwrap().version, version);
    fixture.invalidate(fixture.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(fixture.read(&key).await, None);
    assert_eq!(look().await.unwrap().not_served, Some(NotServed::Invalidated(InvalidationCause::Namespace)));
}

pub async fn the_selector_that_invalidated_an_entry_is_reported(fixture: &Fixture) {
    if fixture.redis.is_none() {
        return;
    }
    let key = fixture.key("looks", "user:42/posts");
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
        fixture.write_entry(&key, entry, Condition::None).await;
        assert_eq!(fixture.l2.inspect(&key, fixture.until()).await.unwrap().stored.unwrap().not_served, None);
        fixture.invalidate(fixture.partition(&key), key.namespace(), &[selector]).await;
        // A pattern may already have been reclaimed.
        let stored = fixture.l2.inspect(&key, fixture.until()).await.unwrap().stored;
        if let Some(stored) = stored.filter(|_| !matches!(cause, InvalidationCause::Pattern(_))) {
            assert_eq!(stored.not_served, Some(NotServed::Invalidated(cause)));
        }
    }
}
