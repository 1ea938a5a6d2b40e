//! Conformance of L2: expiry, immutable entries, repeated requests, versions of sources.

use std::time::Duration;

use bytes::Bytes;
use twintier::backend::boot_clock::BootClock;
use twintier::cache::clock::{Clock, Moment};
use twintier::cache::entry::{Content, NewEntry, Tags};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::lifetime::Lifetime;
use twintier::cache::policy::{Compression, PolicyPatch};
use twintier::cache::tier::{
    Acquired, Condition, ConditionFailure, LeaseClaim, LeaseId, Mode, Removal, RequestId, Touch, TouchMode, Touched,
    TtlChange, Write, WriteResult,
};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Fixture, HOUR, refused, version};

const SECOND: Duration = Duration::from_secs(1);

fn value(text: &str) -> Content {
    Content::Value(Bytes::copy_from_slice(text.as_bytes()))
}

fn entry(text: &str, lifetime: Lifetime) -> NewEntry {
    NewEntry::new(value(text), lifetime)
}

fn of_source(text: &str, source: u64) -> NewEntry {
    NewEntry { source_version: Some(source), ..entry(text, Lifetime::of(HOUR)) }
}

fn why(written: WriteResult) -> ConditionFailure {
    match written {
        WriteResult::Refused { why, .. } => why,
        stored => panic!("stored: {stored:?}"),
    }
}

fn repeated(written: WriteResult) -> Version {
    match written {
        WriteResult::Repeated { version, .. } => version,
        other => panic!("not repeated: {other:?}"),
    }
}

impl Fixture {
    async fn touch(&self, key: &Key, ttl: Option<Duration>, mode: TouchMode) -> Touched {
        self.l2.touch(key, Touch { ttl, mode }, self.until()).await.unwrap()
    }

    async fn position(&self, key: &Key) -> Version {
        self.l2.read(key, self.until().into()).await.unwrap().position
    }

    async fn left(&self, key: &Key) -> Duration {
        self.read(key).await.unwrap().expires_at.since(BootClock.now())
    }

    async fn mark(&self, key: &Key) -> bool {
        let removal = Removal { key: key.clone(), source_version: None };
        let until = self.until();
        self.l2.remove(self.partition(key), &[removal], Mode::MarkStale, until.into()).await.unwrap().removed[0]
    }

    fn change(&self, namespace: &str, patch: PolicyPatch) {
        self.namespaces.change_policy(namespace, patch).unwrap();
    }
}

pub async fn an_older_source_version_is_refused(fixture: &Fixture) {
    let key = fixture.key("one", "source");
    let write = async |source| fixture.write_entry(&key, of_source("x", source), Condition::None).await;
    // Beyond the exact integers of Lua.
    let newest = u64::MAX - 1;
    version(write(newest).await);
    assert_eq!(why(write(newest - 1).await), ConditionFailure::SourceVersionOlder);
    version(write(newest).await);
    assert_eq!(fixture.read(&key).await.unwrap().source_version, Some(newest));
    // The rule also holds after a removal, with the namespace or of the key alone.
    fixture.invalidate(fixture.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(fixture.read(&key).await, None);
    assert_eq!(why(write(7).await), ConditionFailure::SourceVersionOlder);
    fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(why(write(newest - 1).await), ConditionFailure::SourceVersionOlder);
    assert_eq!(refused(fixture.write(&key, "x", Condition::Present).await), None, "a recorded version is no entry");
    assert_eq!(fixture.read(&key).await, None);
    version(write(newest).await);
    // A Set without a source version is stored and does not change the recorded one.
    fixture.store(&key, "y").await;
    assert_eq!(why(write(7).await), ConditionFailure::SourceVersionOlder);
}

pub async fn an_older_source_version_is_refused_after_a_selector(fixture: &Fixture) {
    for (number, selector) in [
        Selector::Namespace,
        Selector::Tag(Bytes::from_static(b"t")),
        Selector::Prefix(Bytes::from_static(b"sourced")),
        Selector::Pattern(Bytes::from_static(b"sourced:*")),
    ]
    .into_iter()
    .enumerate()
    {
        for (touched, lifetime) in
            [(false, Lifetime::of(SECOND / 5)), (true, Lifetime::of(SECOND / 5)), (false, Lifetime::default())]
        {
            let key = fixture.key("sourced", &format!("sourced:{number}:{touched}:{}", lifetime.ttl.is_some()));
            let tags = Tags::new(vec![Bytes::from_static(b"t")]);
            let write = async |source| {
                let entry = NewEntry { tags: tags.clone(), source_version: Some(source), ..entry("x", lifetime) };
                fixture.write_entry(&key, entry, Condition::None).await
            };
            version(write(9).await);
            if touched {
                fixture.touch(&key, Some(SECOND / 4), TouchMode::Overwrite).await;
            }
            fixture.invalidate(fixture.partition(&key), key.namespace(), std::slice::from_ref(&selector)).await;
            let is_gone = async || match &fixture.redis {
                Some(redis) => {
                    // The service uses another database than commands of the test.
                    let script = "redis.call('SELECT', 3) return #redis.call('KEYS', ARGV[1])";
                    let names = format!("*:v:sourced:sourced:{number}:*");
                    redis.cli(&["EVAL", script, "0", &names]).await.number() == 0
                }
                None => true,
            };
            let reclaimed = matches!(selector, Selector::Pattern(_));
            if lifetime.ttl.is_some() || reclaimed {
                eventually("the record expired or was reclaimed", is_gone).await;
            }
            assert_eq!(why(write(8).await), ConditionFailure::SourceVersionOlder, "{selector:?}, {lifetime:?}");
            version(write(9).await);
            fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
        }
    }
}

pub async fn a_removal_can_record_a_newer_source_version(fixture: &Fixture) {
    let key = fixture.key("one", "source of a removal");
    let removal = Removal { key: key.clone(), source_version: Some(20) };
    fixture.l2.remove(fixture.partition(&key), &[removal], Mode::Remove, fixture.until().into()).await.unwrap();
    assert_eq!(
        why(fixture.write_entry(&key, of_source("x", 19), Condition::None).await),
        ConditionFailure::SourceVersionOlder
    );
    version(fixture.write_entry(&key, of_source("x", 20), Condition::None).await);
}

pub async fn a_repeated_request_takes_effect_once(fixture: &Fixture) {
    let key = fixture.key("one", "request");
    let request = |id: &str, condition| Write {
        key: key.clone(),
        entry: entry(id, Lifetime::of(HOUR)),
        condition,
        request: Some(RequestId(Bytes::copy_from_slice(id.as_bytes()))),
    };
    let first = version(fixture.request(request("a", Condition::Absent)).await);
    assert_eq!(repeated(fixture.request(request("a", Condition::Absent)).await), first);
    let refused = why(fixture.request(request("b", Condition::Absent)).await);
    assert_eq!(refused, ConditionFailure::AlreadyPresent);
    let second = fixture.store(&key, "another").await;
    let position = fixture.position(&key).await;
    // A repeated request neither restores a replaced value nor succeeds after a failure.
    assert_eq!(repeated(fixture.request(request("a", Condition::Absent)).await), first);
    assert_eq!(fixture.read(&key).await.unwrap().version, second);
    fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(repeated(fixture.request(request("a", Condition::Absent)).await), first);
    assert_eq!(why(fixture.request(request("b", Condition::Absent)).await), ConditionFailure::AlreadyPresent);
    assert_eq!(fixture.read(&key).await, None);
    assert_eq!(fixture.position(&key).await.sequence, position.sequence + 1, "only the removal took a position");
    // Another namespace has its own requests.
    let other = (0..)
        .map(|n| fixture.key("two", &n.to_string()))
        .find(|other| fixture.partition(other) == fixture.partition(&key));
    let other = Write { key: other.unwrap(), ..request("a", Condition::None) };
    version(fixture.request(other).await);
}

pub async fn a_touch_changes_the_expiry(fixture: &Fixture) {
    let key = fixture.key("one", "touched");
    assert_eq!(fixture.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    let version = fixture.store(&key, "x").await;
    let position = fixture.position(&key).await;
    let change = async |ttl, mode| {
        let touched = fixture.touch(&key, ttl, mode).await;
        let entry = touched.entry.unwrap();
        assert_eq!(entry.version, version, "a Touch changes nothing else");
        (entry.change, touched.position.sequence - position.sequence, entry.expires_at)
    };
    let (set, sequence, ends) = change(Some(3 * HOUR), TouchMode::Overwrite).await;
    assert_eq!((set, sequence), (TtlChange::Set, 0), "an extension sends no message");
    assert!(fixture.left(&key).await > 2 * HOUR && ends > BootClock.now().plus(2 * HOUR));
    assert_eq!(change(Some(2 * HOUR), TouchMode::Extend).await.0, TtlChange::Unchanged);
    assert_eq!(change(Some(4 * HOUR), TouchMode::Shorten).await.0, TtlChange::Unchanged);
    let (shortened, sequence, _) = change(Some(2 * HOUR), TouchMode::Shorten).await;
    assert_eq!((shortened, sequence), (TtlChange::Shortened, 1), "a shortening sends a message");
    assert!(fixture.left(&key).await <= 2 * HOUR);
    assert_eq!(change(None, TouchMode::Extend).await, (TtlChange::Set, 1, Moment::FOREVER));
    assert_eq!(fixture.read(&key).await.unwrap().expires_at, Moment::FOREVER);
    assert_eq!(change(Some(9 * HOUR), TouchMode::Extend).await.0, TtlChange::Unchanged);
    let (shortened, sequence, _) = change(Some(30 * SECOND / 1000), TouchMode::Overwrite).await;
    assert_eq!((shortened, sequence), (TtlChange::Shortened, 2));
    // Waits for the tier's expiry, which is a little later than the last moment at which the entry
    // may be answered.
    eventually("it ends", async || fixture.read(&key).await.is_none()).await;
    assert_eq!(fixture.touch(&key, None, TouchMode::Overwrite).await.entry, None, "an expired entry does not return");
}

pub async fn an_entry_may_have_no_expiry(fixture: &Fixture) {
    let key = fixture.key("one", "for ever");
    version(fixture.write_entry(&key, entry("x", Lifetime::default()), Condition::None).await);
    assert_eq!(fixture.read(&key).await.unwrap().expires_at, Moment::FOREVER);
    version(fixture.write_entry(&key, entry("x", Lifetime::default()), Condition::Present).await);
    fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(fixture.read(&key).await, None);
}

pub async fn a_sliding_entry_expires_at_its_limit(fixture: &Fixture) {
    let key = fixture.key("one", "sliding");
    let lifetime = Lifetime { sliding: Some(10 * SECOND), ..Lifetime::of(4 * SECOND) };
    version(fixture.write_entry(&key, entry("x", lifetime), Condition::None).await);
    let read = fixture.read(&key).await.unwrap();
    let sliding = read.sliding.unwrap();
    assert_eq!(sliding.idle, 4 * SECOND);
    let end = sliding.until.since(BootClock.now());
    assert!(end <= 10 * SECOND + SECOND / 10 && end > 8 * SECOND, "{end:?}");
    assert!(fixture.left(&key).await <= 4 * SECOND);
    let touched = fixture.touch(&key, Some(5 * SECOND), TouchMode::Extend).await.entry.unwrap();
    assert_eq!(touched.change, TtlChange::Set);
    assert!(fixture.left(&key).await > 4 * SECOND);
    let read = fixture.read(&key).await.unwrap();
    assert_eq!(read.sliding.unwrap().idle, 4 * SECOND, "the idle time stays");
    for ttl in [Some(HOUR), None] {
        let touched = fixture.touch(&key, ttl, TouchMode::Overwrite).await.entry.unwrap();
        assert_eq!(touched.change, TtlChange::Capped);
        assert!(fixture.left(&key).await <= 10 * SECOND);
    }
    let shorter = fixture.touch(&key, Some(3 * SECOND), TouchMode::Shorten).await.entry.unwrap();
    assert_eq!(shorter.change, TtlChange::Shortened);
    assert!(fixture.left(&key).await <= 3 * SECOND);
    assert_eq!(fixture.read(&key).await.unwrap().sliding.unwrap().idle, 4 * SECOND);
    let later = fixture.touch(&key, Some(HOUR), TouchMode::Extend).await.entry.unwrap();
    assert!(later.expires_at <= BootClock.now().plus(10 * SECOND));
}

pub async fn an_expired_entry_is_kept_for_its_window_and_counts_as_absent(fixture: &Fixture) {
    let key = fixture.key("one", "kept");
    let lifetime = Lifetime { stale_window: HOUR, ..Lifetime::of(50 * SECOND / 1000) };
    let store = async || version(fixture.write_entry(&key, entry("x", lifetime), Condition::None).await);
    let stored = store().await;
    eventually("it ends", async || !fixture.read(&key).await.unwrap().lives(BootClock.now())).await;
    let kept = fixture.read(&key).await.unwrap();
    assert_eq!((kept.version, kept.content), (stored, value("x")));
    assert!(kept.kept_until > BootClock.now().plus(HOUR / 2));
    assert_eq!(refused(fixture.write(&key, "y", Condition::Present).await), None);
    assert_eq!(refused(fixture.write(&key, "y", Condition::Version(stored)).await), None);
    assert_eq!(fixture.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    version(fixture.write_entry(&key, entry("z", Lifetime::of(HOUR)), Condition::Absent).await);
}

pub async fn a_marked_entry_is_kept_and_counts_as_absent(fixture: &Fixture) {
    let (key, brief) = (fixture.key("one", "marked"), fixture.key("one", "marked without a window"));
    let lifetime = Lifetime { stale_window: HOUR, ..Lifetime::of(HOUR) };
    let stored = version(fixture.write_entry(&key, entry("x", lifetime), Condition::None).await);
    fixture.store(&brief, "x").await;
    assert!(fixture.mark(&key).await && fixture.mark(&brief).await);
    let marked = fixture.read(&key).await.unwrap();
    assert_eq!((marked.version, marked.lives(BootClock.now())), (stored, false));
    let since = BootClock.now().since(marked.marked_at.unwrap());
    assert!(since < 5 * SECOND, "{since:?}");
    assert_eq!(fixture.read(&brief).await, None, "without a window no entry is kept");
    assert!(!fixture.mark(&key).await, "the entry is no longer live");
    assert_eq!(refused(fixture.write(&key, "y", Condition::Present).await), None);
    assert_eq!(fixture.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    version(fixture.write(&key, "y", Condition::Absent).await);
    assert!(fixture.read(&key).await.unwrap().lives(BootClock.now()));
}

pub async fn an_immutable_entry_is_written_once_without_a_message(fixture: &Fixture) {
    fixture.change("fixed", PolicyPatch { immutable: Some(true), ..PolicyPatch::default() });
    let key = fixture.key("fixed", "k");
    let before = fixture.position(&key).await;
    let first = fixture.store(&key, "1").await;
    assert_eq!(fixture.position(&key).await.sequence, before.sequence, "no message is sent");
    for condition in [Condition::None, Condition::Absent, Condition::Present, Condition::Version(first)] {
        let again = fixture.write(&key, "2", condition).await;
        assert!(
            matches!(again, WriteResult::Refused { why: ConditionFailure::AlreadyPresent, current, .. } if current == Some(first))
        );
    }
    assert_eq!(fixture.read(&key).await.unwrap().content, value("1"));
    // An Invalidate removes it as usual, and a later Set stores it again.
    let removed = fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!((removed.removed, removed.version.sequence), (vec![true], before.sequence + 1));
    assert_eq!(fixture.read(&key).await, None);
    fixture.store(&key, "3").await;
    let dead = fixture.invalidate(fixture.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(fixture.read(&key).await, None);
    assert_eq!(fixture.store(&key, "4").await, dead, "the position is that of the previous step");
    assert_eq!(fixture.read(&key).await.unwrap().content, value("4"));
    assert_eq!(fixture.position(&key).await, dead);
}

pub async fn a_waiter_for_an_immutable_entry_is_notified(fixture: &Fixture) {
    fixture.change("fixed", PolicyPatch { immutable: Some(true), ..PolicyPatch::default() });
    let key = fixture.key("fixed", "awaited");
    let before = fixture.position(&key).await;
    let lease = LeaseId(1);
    let claim = LeaseClaim { lease, duration: 10 * SECOND, seen: None };
    assert_eq!(fixture.l2.acquire(&key, claim, fixture.until()).await, Ok(Acquired::Granted));
    let stored = version(fixture.write(&key, "1", Condition::Lease(lease)).await);
    assert_eq!(stored.sequence, before.sequence + 1);
}

pub async fn values_are_readable_in_every_compression(fixture: &Fixture) {
    let (large, small) = ("abc".repeat(100_000), "abc".repeat(10));
    for (n, compression) in [Compression::Zstd, Compression::None, Compression::Lz4].into_iter().enumerate() {
        let threshold = Some(100);
        let patch =
            PolicyPatch { compression: Some(compression), compression_threshold: threshold, ..Default::default() };
        fixture.change("packed", patch);
        fixture.store(&fixture.key("packed", &format!("large {n}")), &large).await;
        fixture.store(&fixture.key("packed", &format!("small {n}")), &small).await;
    }
    for n in 0..3 {
        for (name, text) in [("large", &large), ("small", &small)] {
            let read = fixture.read(&fixture.key("packed", &format!("{name} {n}"))).await.unwrap();
            assert!(read.content == value(text), "{name} {n}");
        }
    }
}

pub async fn tags_and_the_soft_ttl_are_stored(fixture: &Fixture) {
    let key = fixture.key("one", "tagged");
    let tags = Tags::new(vec!["a".into(), "b".into()]);
    let lifetime = Lifetime { soft_ttl: Some(60 * SECOND), ..Lifetime::of(HOUR) };
    let new = NewEntry { tags: tags.clone(), ..entry("x", lifetime) };
    version(fixture.write_entry(&key, new, Condition::None).await);
    let read = fixture.read(&key).await.unwrap();
    assert_eq!(read.tags, tags);
    let due = read.due_at.since(BootClock.now());
    assert!(due <= 61 * SECOND && due > 30 * SECOND, "{due:?}");
}
