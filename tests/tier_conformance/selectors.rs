//! Conformance of L2: effect of selectors on reads, conditions, leases and touches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use twintier::cache::clock::Clock as _;
use twintier::cache::entry::{Content, Entry, NewEntry, Tags};
use twintier::cache::invalidation::selector::{Pattern, Selector, prefixes};
use twintier::cache::key::Key;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::tier::{
    Acquired, Condition, ConditionFailure, L2Error, LeaseClaim, LeaseId, Mode, Touch, TouchMode, WriteResult,
};
use twintier::cache::version::Version;

use super::{BootClock, Fixture, HOUR, PARTITIONS, TOMBSTONES, eventually, version};

/// Size of the record of a namespace without active patterns, in bytes.
const RECORD: i64 = 152;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn prefix(text: &str) -> Selector {
    Selector::Prefix(bytes(text))
}

fn tag(text: &str) -> Selector {
    Selector::Tag(bytes(text))
}

fn pattern(text: &str) -> Selector {
    Selector::Pattern(bytes(text))
}

fn tagged(tags: &[&str], stale_window: Duration) -> NewEntry {
    let lifetime = Lifetime { stale_window, ..Lifetime::of(HOUR) };
    let tags = Tags::new(tags.iter().map(|tag| bytes(tag)).collect());
    NewEntry { tags, ..NewEntry::new(Content::Value("x".into()), lifetime) }
}

impl Fixture {
    async fn tag(&self, key: &Key, tags: &[&str]) -> Version {
        version(self.write_entry(key, tagged(tags, Duration::ZERO), Condition::None).await)
    }

    /// Invalidates in every partition, like the core.
    async fn select(&self, namespace: &str, selectors: &[Selector], mode: Mode) -> Result<(), L2Error> {
        let namespace = self.namespaces.get("namespace", namespace).unwrap();
        for partition in 0..PARTITIONS {
            self.l2.invalidate(partition, &namespace, selectors, mode, self.until().into()).await?;
        }
        Ok(())
    }

    async fn drop_selected(&self, namespace: &str, selectors: &[Selector]) {
        self.select(namespace, selectors, Mode::Remove).await.unwrap();
    }

    async fn exists(&self, key: &Key) -> bool {
        self.read(key).await.is_some()
    }

    /// True if a pattern is active in the partition.
    async fn has_active_pattern(&self, namespace: &str, partition: u16) -> bool {
        let Some(redis) = &self.redis else {
            return !self.namespaces.get("namespace", namespace).unwrap().invalidation_log().patterns().is_empty();
        };
        // The service uses another database than commands of the test.
        let script = "redis.call('SELECT', 3) return redis.call('HSTRLEN', KEYS[1], ARGV[1])";
        let (counter, field) = (format!("conformance:{{{partition}}}:c"), format!("n:{namespace}"));
        redis.cli(&["EVAL", script, "1", &counter, &field]).await.number() > RECORD
    }

    async fn lease(&self, key: &Key, refresh: bool) -> (LeaseId, Acquired) {
        let seen = if refresh { self.read(key).await.map(|entry| entry.version) } else { None };
        let claim = LeaseClaim { lease: LeaseId(rand::random()), duration: Duration::from_secs(60), seen };
        (claim.lease, self.l2.acquire(key, claim, self.until()).await.unwrap())
    }

    async fn granted(&self, key: &Key) -> LeaseId {
        match self.lease(key, true).await {
            (lease, Acquired::Granted) => lease,
            (_, other) => panic!("not granted: {other:?}"),
        }
    }

    /// Sets an entry with these tags under the lease. Returns true if it is stored.
    async fn fills(&self, key: &Key, lease: LeaseId, tags: &[&str]) -> bool {
        match self.write_entry(key, tagged(tags, Duration::ZERO), Condition::Lease(lease)).await {
            WriteResult::Stored(_) => true,
            WriteResult::Refused { why: ConditionFailure::LeaseVoid, .. } => false,
            other => panic!("{other:?}"),
        }
    }

    /// True if the key has no live entry. Reads, conditions, a touch, a removal and the self-audit
    /// must agree. Removes the entry.
    async fn counts_as_absent(&self, key: &Key) -> bool {
        let alive = self.read(key).await.is_some_and(|entry| entry.marked_at.is_none());
        let touch = Touch { ttl: Some(HOUR), mode: TouchMode::Overwrite };
        let touched = self.l2.touch(key, touch, self.until()).await.unwrap().entry.is_some();
        let present = matches!(self.write(key, "y", Condition::Present).await, WriteResult::Stored(_));
        let removed = self.remove(self.partition(key), std::slice::from_ref(key)).await.removed == [true];
        assert_eq!([touched, present, removed], [alive; 3], "{key:?}");
        !alive
    }
}

async fn each_selector_hides_its_entries(fixture: &Fixture) {
    let names =
        ["user", "user:", "user:42", "user:42:a", "user:42/b/c", "user:421", "/user", "a*b", "é:ü", "x:user:42"];
    let selectors = ["user", "user:42", "user:42/b", "user:42/b/c", "é", "user:", "nothing", "/user"].map(prefix);
    let patterns = ["user*", "user:??", "*:42*", "a\\*b", "?:*", "*"].map(pattern);
    for selector in selectors.iter().chain(&patterns) {
        let selects = |name: &str| match selector {
            Selector::Prefix(prefix) => prefixes(name.as_bytes()).any(|candidate| candidate == prefix),
            Selector::Pattern(text) => Pattern::new(text).unwrap().matches(name.as_bytes()),
            _ => unreachable!(),
        };
        let keys = names.map(|name| (name, fixture.key("two", name)));
        for (_, key) in &keys {
            fixture.store(key, "x").await;
        }
        fixture.drop_selected("two", std::slice::from_ref(selector)).await;
        for (name, key) in &keys {
            assert_eq!(fixture.exists(key).await, !selects(name), "{selector:?} and {name}");
            let current = fixture.l2.current(key, fixture.until()).await.unwrap();
            assert_eq!(current.is_none(), selects(name), "{selector:?} and {name}");
            assert_eq!(fixture.counts_as_absent(key).await, selects(name), "{selector:?} and {name}");
            fixture.store(key, "new").await;
        }
        for (name, key) in &keys {
            assert!(fixture.exists(key).await, "{name} was written after {selector:?}");
        }
        assert!(!fixture.exists(&fixture.key("one", "user")).await);
    }
    fixture.drop_selected("two", &[Selector::Namespace]).await;
}

async fn a_tag_hides_the_entries_that_have_it(fixture: &Fixture) {
    let [one, both, none] = ["tag one", "tag both", "tag none"].map(|name| fixture.key("one", name));
    let apart = fixture.key("two", "tag one");
    fixture.tag(&one, &["a"]).await;
    fixture.tag(&both, &["b", "a", "c"]).await;
    fixture.tag(&none, &[]).await;
    fixture.tag(&apart, &["a"]).await;
    fixture.drop_selected("one", &[tag("b")]).await;
    assert!(fixture.exists(&one).await && !fixture.exists(&both).await && fixture.exists(&none).await);
    fixture.tag(&both, &["a"]).await;
    fixture.drop_selected("one", &[tag("b"), tag("c")]).await;
    assert!(fixture.exists(&both).await, "the entry has other tags now");
    fixture.drop_selected("one", &[tag("a"), prefix("nothing")]).await;
    for gone in [&one, &both] {
        assert!(!fixture.exists(gone).await && fixture.counts_as_absent(gone).await);
    }
    assert!(fixture.exists(&none).await && fixture.exists(&apart).await);
}

async fn marked_entries_are_kept_if_stale_entries_are(fixture: &Fixture) {
    let selectors = [Selector::Namespace, prefix("mark"), tag("mark"), pattern("mar*:?")];
    for (number, selector) in selectors.into_iter().enumerate() {
        let [kept, dropped, later] =
            ["kept", "dropped", "later"].map(|name| fixture.key("one", &format!("mark:{number}{name}")));
        let [kept, dropped, later] = match selector {
            Selector::Pattern(_) => ["mark:a", "mark:b", "mark:c"].map(|name| fixture.key("one", name)),
            _ => [kept, dropped, later],
        };
        let stored = version(fixture.write_entry(&kept, tagged(&["mark"], HOUR), Condition::None).await);
        fixture.tag(&dropped, &["mark"]).await;
        let before = BootClock.now();
        fixture.select("one", std::slice::from_ref(&selector), Mode::MarkStale).await.unwrap();
        version(fixture.write_entry(&later, tagged(&["mark"], HOUR), Condition::None).await);
        let entry = fixture.read(&kept).await.unwrap();
        let since = before.since(entry.marked_at.unwrap());
        assert!(entry.version == stored && since < Duration::from_secs(1), "{selector:?}: {since:?}");
        assert!(!fixture.exists(&dropped).await, "{selector:?}");
        assert_eq!(fixture.read(&later).await.unwrap().marked_at, None, "{selector:?}");
        assert_eq!(fixture.lease(&kept, false).await.1, Acquired::Granted, "{selector:?}");
        // Marks it again: the time of the first mark stays.
        fixture.select("one", std::slice::from_ref(&selector), Mode::MarkStale).await.unwrap();
        let marked_at = |entry: Option<Entry>| entry.unwrap().marked_at.unwrap();
        assert!(marked_at(fixture.read(&kept).await) <= entry.marked_at.unwrap().plus(Duration::from_millis(20)));
        assert!(fixture.counts_as_absent(&kept).await, "{selector:?}");
        version(fixture.write_entry(&kept, tagged(&[], HOUR), Condition::None).await);
        assert_eq!(fixture.read(&kept).await.unwrap().marked_at, None, "{selector:?}");
        fixture.drop_selected("one", &[selector]).await;
    }
}

async fn a_lease_is_void_after_a_selector_covers_its_key(fixture: &Fixture) {
    for mode in [Mode::Remove, Mode::MarkStale] {
        for selector in [Selector::Namespace, prefix("lease"), pattern("lease:*"), tag("mine")] {
            let key = fixture.key("one", "lease:k");
            let selectors = std::slice::from_ref(&selector);
            let lease = fixture.granted(&key).await;
            assert!(matches!(fixture.lease(&key, true).await.1, Acquired::Held(_)));
            fixture.select("one", selectors, mode).await.unwrap();
            assert!(!fixture.fills(&key, lease, &["mine", "other"]).await, "{selector:?} {mode:?}");
            let partition = fixture.partition(&key);
            fixture.remove(partition, std::slice::from_ref(&key)).await;
            let lease = fixture.granted(&key).await;
            assert!(fixture.fills(&key, lease, &["mine"]).await, "{selector:?}, granted after it");
        }
    }
    let key = fixture.key("one", "lease:k");
    let lease = fixture.granted(&key).await;
    fixture.drop_selected("one", &[tag("others"), prefix("lease:k:deeper"), pattern("lease")]).await;
    assert!(fixture.fills(&key, lease, &["mine"]).await, "no selector covers the key");
    let lease = fixture.granted(&key).await;
    fixture.drop_selected("one", &[tag("mine")]).await;
    assert!(!fixture.fills(&key, lease, &["other"]).await, "the entry to be refreshed had the tag");
    let key = fixture.key("one", "lease:again");
    let first = fixture.granted(&key).await;
    fixture.drop_selected("one", &[prefix("lease")]).await;
    let second = fixture.granted(&key).await;
    assert!(first != second && !fixture.fills(&key, first, &[]).await && fixture.fills(&key, second, &[]).await);
}

/// Patterns are reclaimed in the background and then forgotten. A read at that moment must see one
/// or the other.
async fn a_pattern_holds_while_it_is_reclaimed(fixture: &Fixture) {
    let keys: Vec<Key> = (0..8).map(|number| fixture.key("two", &format!("seen {number}"))).collect();
    for round in 0..150 {
        let lease = fixture.granted(&keys[0]).await;
        for key in &keys[1..] {
            fixture.store(key, "x").await;
        }
        let patterns = ["seen*", "*n ?", "?*"].map(pattern);
        while let Err(error) = fixture.select("two", &patterns[round % 3..=round % 3], Mode::Remove).await {
            assert!(matches!(error, L2Error::TooMany { .. }), "{error:?}");
        }
        for key in &keys[1..] {
            assert!(!fixture.exists(key).await, "{key:?} in round {round}");
        }
        if round % 10 == 0 {
            eventually("the pattern is forgotten", async || {
                !fixture.has_active_pattern("two", fixture.partition(&keys[0])).await
            })
            .await;
        }
        assert!(!fixture.fills(&keys[0], lease, &[]).await, "round {round}");
    }
}

async fn a_forgotten_record_leaves_a_floor(fixture: &Fixture) {
    let [early, late, tagged] = ["early", "late", "tagged"].map(|name| fixture.key("one", &format!("floor {name}")));
    fixture.drop_selected("one", &[Selector::Namespace]).await;
    fixture.store(&early, "x").await;
    let (partition, namespace) = (fixture.partition(&late), late.namespace().clone());
    fixture.tag(&tagged, &["floor 190"]).await;
    for number in 0..2 * TOMBSTONES + 10 {
        if number == 2 * TOMBSTONES - 30 {
            assert!(fixture.exists(&early).await, "not yet");
            fixture.store(&late, "x").await;
            fixture.tag(&tagged, &["floor 5"]).await;
        }
        fixture.drop_selected("one", &[tag(&format!("floor {number}"))]).await;
    }
    assert!(!fixture.exists(&early).await && fixture.counts_as_absent(&early).await);
    assert!(fixture.exists(&late).await && fixture.exists(&tagged).await);
    fixture.tag(&tagged, &["floor again"]).await;
    fixture.drop_selected("one", &[tag("floor again")]).await;
    for number in 0..TOMBSTONES {
        fixture.invalidate(partition, &namespace, &[prefix(&format!("folded {number}"))]).await;
    }
    assert!(!fixture.exists(&tagged).await, "the record is in the old generation");
    fixture.drop_selected("one", &[Selector::Namespace]).await;
}

pub async fn conform(fixture: &Fixture) {
    each_selector_hides_its_entries(fixture).await;
    a_tag_hides_the_entries_that_have_it(fixture).await;
    marked_entries_are_kept_if_stale_entries_are(fixture).await;
    a_lease_is_void_after_a_selector_covers_its_key(fixture).await;
    a_pattern_holds_while_it_is_reclaimed(fixture).await;
    a_forgotten_record_leaves_a_floor(fixture).await;
}
