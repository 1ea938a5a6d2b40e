//! Conformance of L2: effect of selectors on reads, conditions, leases and touches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use twintier::cache::clock::Clock as _;
use twintier::cache::entry::{Content, Entry, Lifetime, NewEntry, Tags};
use twintier::cache::invalidation::selector::{Pattern, Selector, prefixes};
use twintier::cache::key::Key;
use twintier::cache::tier::{
    Acquired, Condition, ConditionFailure, L2Error, LeaseClaim, LeaseId, Mode, Touch, TouchMode, WriteResult,
};
use twintier::cache::version::Version;

use super::{Bench, BootClock, HOUR, PARTITIONS, TOMBSTONES, eventually, version};

/// Bytes of what Redis keeps of a namespace without patterns at work.
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

impl Bench {
    async fn tag(&self, key: &Key, tags: &[&str]) -> Version {
        version(self.write_entry(key, tagged(tags, Duration::ZERO), Condition::None).await)
    }

    /// Invalidates in every partition, as the core does.
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

    async fn is_there(&self, key: &Key) -> bool {
        self.read(key).await.is_some()
    }

    /// Asks for a lease under a name of its own; `anew`: whatever is there.
    /// Whether a pattern is at work in the partition.
    async fn is_at_work(&self, namespace: &str, partition: u16) -> bool {
        let Some(redis) = &self.redis else {
            return !self.namespaces.get("namespace", namespace).unwrap().invalidation_log().patterns().is_empty();
        };
        // The service is in another database than a command of the test.
        let script = "redis.call('SELECT', 3) return redis.call('HSTRLEN', KEYS[1], ARGV[1])";
        let (counter, field) = (format!("conformance:{{{partition}}}:c"), format!("n:{namespace}"));
        redis.cli(&["EVAL", script, "1", &counter, &field]).await.number() > RECORD
    }

    async fn lease(&self, key: &Key, anew: bool) -> (LeaseId, Acquired) {
        let seen = if anew { self.read(key).await.map(|entry| entry.version) } else { None };
        let claim = LeaseClaim { lease: LeaseId(rand::random()), duration: Duration::from_secs(60), seen };
        (claim.lease, self.l2.acquire(key, claim, self.until()).await.unwrap())
    }

    async fn granted(&self, key: &Key) -> LeaseId {
        match self.lease(key, true).await {
            (lease, Acquired::Granted) => lease,
            (_, other) => panic!("not granted: {other:?}"),
        }
    }

    /// Whether a Set with the lease, of an entry with these tags, is stored.
    async fn fills(&self, key: &Key, lease: LeaseId, tags: &[&str]) -> bool {
        match self.write_entry(key, tagged(tags, Duration::ZERO), Condition::Lease(lease)).await {
            WriteResult::Stored(_) => true,
            WriteResult::Refused { why: ConditionFailure::LeaseVoid, .. } => false,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the key has no live entry; reads, conditions, a touch, a removal and the self-audit
    /// agree. Afterwards it has none.
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

async fn each_selector_hides_what_it_selects(bench: &Bench) {
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
        let keys = names.map(|name| (name, bench.key("two", name)));
        for (_, key) in &keys {
            bench.store(key, "x").await;
        }
        bench.drop_selected("two", std::slice::from_ref(selector)).await;
        for (name, key) in &keys {
            assert_eq!(bench.is_there(key).await, !selects(name), "{selector:?} and {name}");
            let current = bench.l2.current(key, bench.until()).await.unwrap();
            assert_eq!(current.is_none(), selects(name), "{selector:?} and {name}");
            assert_eq!(bench.counts_as_absent(key).await, selects(name), "{selector:?} and {name}");
            bench.store(key, "new").await;
        }
        for (name, key) in &keys {
            assert!(bench.is_there(key).await, "{name} was written after {selector:?}");
        }
        assert!(!bench.is_there(&bench.key("one", "user")).await);
    }
    bench.drop_selected("two", &[Selector::Namespace]).await;
}

async fn a_tag_hides_the_entries_that_have_it(bench: &Bench) {
    let [one, both, none] = ["tag one", "tag both", "tag none"].map(|name| bench.key("one", name));
    let apart = bench.key("two", "tag one");
    bench.tag(&one, &["a"]).await;
    bench.tag(&both, &["b", "a", "c"]).await;
    bench.tag(&none, &[]).await;
    bench.tag(&apart, &["a"]).await;
    bench.drop_selected("one", &[tag("b")]).await;
    assert!(bench.is_there(&one).await && !bench.is_there(&both).await && bench.is_there(&none).await);
    bench.tag(&both, &["a"]).await;
    bench.drop_selected("one", &[tag("b"), tag("c")]).await;
    assert!(bench.is_there(&both).await, "it has other tags now");
    bench.drop_selected("one", &[tag("a"), prefix("nothing")]).await;
    for gone in [&one, &both] {
        assert!(!bench.is_there(gone).await && bench.counts_as_absent(gone).await);
    }
    assert!(bench.is_there(&none).await && bench.is_there(&apart).await);
}

async fn what_is_marked_is_kept_where_stale_entries_are(bench: &Bench) {
    let selectors = [Selector::Namespace, prefix("mark"), tag("mark"), pattern("mar*:?")];
    for (number, selector) in selectors.into_iter().enumerate() {
        let [kept, dropped, later] =
            ["kept", "dropped", "later"].map(|name| bench.key("one", &format!("mark:{number}{name}")));
        let [kept, dropped, later] = match selector {
            Selector::Pattern(_) => ["mark:a", "mark:b", "mark:c"].map(|name| bench.key("one", name)),
            _ => [kept, dropped, later],
        };
        let stored = version(bench.write_entry(&kept, tagged(&["mark"], HOUR), Condition::None).await);
        bench.tag(&dropped, &["mark"]).await;
        let before = BootClock.now();
        bench.select("one", std::slice::from_ref(&selector), Mode::MarkStale).await.unwrap();
        version(bench.write_entry(&later, tagged(&["mark"], HOUR), Condition::None).await);
        let entry = bench.read(&kept).await.unwrap();
        let since = before.since(entry.marked_at.unwrap());
        assert!(entry.version == stored && since < Duration::from_secs(1), "{selector:?}: {since:?}");
        assert!(!bench.is_there(&dropped).await, "{selector:?}");
        assert_eq!(bench.read(&later).await.unwrap().marked_at, None, "{selector:?}");
        assert_eq!(bench.lease(&kept, false).await.1, Acquired::Granted, "{selector:?}");
        // Once more: it is stale since the first time, at least.
        bench.select("one", std::slice::from_ref(&selector), Mode::MarkStale).await.unwrap();
        let marked_at = |entry: Option<Entry>| entry.unwrap().marked_at.unwrap();
        assert!(marked_at(bench.read(&kept).await) <= entry.marked_at.unwrap().plus(Duration::from_millis(20)));
        assert!(bench.counts_as_absent(&kept).await, "{selector:?}");
        version(bench.write_entry(&kept, tagged(&[], HOUR), Condition::None).await);
        assert_eq!(bench.read(&kept).await.unwrap().marked_at, None, "{selector:?}");
        bench.drop_selected("one", &[selector]).await;
    }
}

async fn a_lease_is_void_when_what_selects_its_key_was_invalidated(bench: &Bench) {
    for mode in [Mode::Remove, Mode::MarkStale] {
        for selector in [Selector::Namespace, prefix("lease"), pattern("lease:*"), tag("mine")] {
            let key = bench.key("one", "lease:k");
            let selectors = std::slice::from_ref(&selector);
            let lease = bench.granted(&key).await;
            assert!(matches!(bench.lease(&key, true).await.1, Acquired::Held(_)));
            bench.select("one", selectors, mode).await.unwrap();
            assert!(!bench.fills(&key, lease, &["mine", "other"]).await, "{selector:?} {mode:?}");
            let partition = bench.partition(&key);
            bench.remove(partition, std::slice::from_ref(&key)).await;
            let lease = bench.granted(&key).await;
            assert!(bench.fills(&key, lease, &["mine"]).await, "{selector:?}, granted after it");
        }
    }
    let key = bench.key("one", "lease:k");
    let lease = bench.granted(&key).await;
    bench.drop_selected("one", &[tag("others"), prefix("lease:k:deeper"), pattern("lease")]).await;
    assert!(bench.fills(&key, lease, &["mine"]).await, "none of these selects it");
    let lease = bench.granted(&key).await;
    bench.drop_selected("one", &[tag("mine")]).await;
    assert!(!bench.fills(&key, lease, &["other"]).await, "the entry that is to be made anew had the tag");
    let key = bench.key("one", "lease:again");
    let first = bench.granted(&key).await;
    bench.drop_selected("one", &[prefix("lease")]).await;
    let second = bench.granted(&key).await;
    assert!(first != second && !bench.fills(&key, first, &[]).await && bench.fills(&key, second, &[]).await);
}

/// What patterns selected is seen to in the background, and the patterns forgotten: whoever looks
/// in that moment must not miss both.
async fn a_pattern_holds_while_it_is_seen_to(bench: &Bench) {
    let keys: Vec<Key> = (0..8).map(|number| bench.key("two", &format!("seen {number}"))).collect();
    for round in 0..150 {
        let lease = bench.granted(&keys[0]).await;
        for key in &keys[1..] {
            bench.store(key, "x").await;
        }
        let patterns = ["seen*", "*n ?", "?*"].map(pattern);
        while let Err(error) = bench.select("two", &patterns[round % 3..=round % 3], Mode::Remove).await {
            assert!(matches!(error, L2Error::TooMany { .. }), "{error:?}");
        }
        for key in &keys[1..] {
            assert!(!bench.is_there(key).await, "{key:?} in round {round}");
        }
        if round % 10 == 0 {
            eventually("the pattern is forgotten", async || !bench.is_at_work("two", bench.partition(&keys[0])).await)
                .await;
        }
        assert!(!bench.fills(&keys[0], lease, &[]).await, "round {round}");
    }
}

async fn what_is_forgotten_leaves_a_floor(bench: &Bench) {
    let [early, late, tagged] = ["early", "late", "tagged"].map(|name| bench.key("one", &format!("floor {name}")));
    bench.drop_selected("one", &[Selector::Namespace]).await;
    bench.store(&early, "x").await;
    let (partition, namespace) = (bench.partition(&late), late.namespace().clone());
    bench.tag(&tagged, &["floor 190"]).await;
    for number in 0..2 * TOMBSTONES + 10 {
        if number == 2 * TOMBSTONES - 30 {
            assert!(bench.is_there(&early).await, "not yet");
            bench.store(&late, "x").await;
            bench.tag(&tagged, &["floor 5"]).await;
        }
        bench.drop_selected("one", &[tag(&format!("floor {number}"))]).await;
    }
    assert!(!bench.is_there(&early).await && bench.counts_as_absent(&early).await);
    assert!(bench.is_there(&late).await && bench.is_there(&tagged).await);
    bench.tag(&tagged, &["floor again"]).await;
    bench.drop_selected("one", &[tag("floor again")]).await;
    for number in 0..TOMBSTONES {
        bench.invalidate(partition, &namespace, &[prefix(&format!("folded {number}"))]).await;
    }
    assert!(!bench.is_there(&tagged).await, "the stone is in the old generation by now");
    bench.drop_selected("one", &[Selector::Namespace]).await;
}

pub async fn conform(bench: &Bench) {
    each_selector_hides_what_it_selects(bench).await;
    a_tag_hides_the_entries_that_have_it(bench).await;
    what_is_marked_is_kept_where_stale_entries_are(bench).await;
    a_lease_is_void_when_what_selects_its_key_was_invalidated(bench).await;
    a_pattern_holds_while_it_is_seen_to(bench).await;
    what_is_forgotten_leaves_a_floor(bench).await;
}
