//! Conformance of L2: expiry, immutable entries, repeated requests, versions of sources.

use std::time::Duration;

use bytes::Bytes;
use twintier::backend::boot_clock::BootClock;
use twintier::cache::clock::{Clock, Moment};
use twintier::cache::entry::{Content, Lifetime, NewEntry, Tags};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::policy::{Compression, PolicyPatch};
use twintier::cache::tier::{
    Acquired, Condition, ConditionFailure, LeaseClaim, LeaseId, Mode, Removal, RequestId, Touch, TouchMode, Touched,
    TtlChange, Write, WriteResult,
};
use twintier::cache::version::Version;

use super::harness::eventually;
use super::{Bench, HOUR, refused, version};

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

impl Bench {
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

pub async fn an_older_version_of_the_source_does_not_come_back(bench: &Bench) {
    let key = bench.key("one", "source");
    let write = async |source| bench.write_entry(&key, of_source("x", source), Condition::None).await;
    // Beyond what Lua's numbers hold.
    let newest = u64::MAX - 1;
    version(write(newest).await);
    assert_eq!(why(write(newest - 1).await), ConditionFailure::SourceVersionOlder);
    version(write(newest).await);
    assert_eq!(bench.read(&key).await.unwrap().source_version, Some(newest));
    // Also not after it was removed, with every other entry or by itself.
    bench.invalidate(bench.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(bench.read(&key).await, None);
    assert_eq!(why(write(7).await), ConditionFailure::SourceVersionOlder);
    bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(why(write(newest - 1).await), ConditionFailure::SourceVersionOlder);
    assert_eq!(refused(bench.write(&key, "x", Condition::Present).await), None, "what is remembered is no entry");
    assert_eq!(bench.read(&key).await, None);
    version(write(newest).await);
    // A Set that names no version is not held back, and changes nothing of that.
    bench.store(&key, "y").await;
    assert_eq!(why(write(7).await), ConditionFailure::SourceVersionOlder);
}

pub async fn an_older_version_of_the_source_does_not_come_back_after_a_selector(bench: &Bench) {
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
            let key = bench.key("sourced", &format!("sourced:{number}:{touched}:{}", lifetime.ttl.is_some()));
            let tags = Tags::new(vec![Bytes::from_static(b"t")]);
            let write = async |source| {
                let entry = NewEntry { tags: tags.clone(), source_version: Some(source), ..entry("x", lifetime) };
                bench.write_entry(&key, entry, Condition::None).await
            };
            version(write(9).await);
            if touched {
                bench.touch(&key, Some(SECOND / 4), TouchMode::Overwrite).await;
            }
            bench.invalidate(bench.partition(&key), key.namespace(), std::slice::from_ref(&selector)).await;
            let is_gone = async || match &bench.redis {
                Some(redis) => {
                    // The service is in another database than a command of the test.
                    let script = "redis.call('SELECT', 3) return #redis.call('KEYS', ARGV[1])";
                    let names = format!("*:v:sourced:sourced:{number}:*");
                    redis.cli(&["EVAL", script, "0", &names]).await.number() == 0
                }
                None => true,
            };
            let reclaimed = matches!(selector, Selector::Pattern(_));
            if lifetime.ttl.is_some() || reclaimed {
                eventually("its own life is over, or it was reclaimed", is_gone).await;
            }
            assert_eq!(why(write(8).await), ConditionFailure::SourceVersionOlder, "{selector:?}, {lifetime:?}");
            version(write(9).await);
            bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
        }
    }
}

pub async fn a_removal_may_know_a_newer_source(bench: &Bench) {
    let key = bench.key("one", "source of a removal");
    let removal = Removal { key: key.clone(), source_version: Some(20) };
    bench.l2.remove(bench.partition(&key), &[removal], Mode::Remove, bench.until().into()).await.unwrap();
    assert_eq!(
        why(bench.write_entry(&key, of_source("x", 19), Condition::None).await),
        ConditionFailure::SourceVersionOlder
    );
    version(bench.write_entry(&key, of_source("x", 20), Condition::None).await);
}

pub async fn a_repeated_request_takes_effect_once(bench: &Bench) {
    let key = bench.key("one", "request");
    let request = |id: &str, condition| Write {
        key: key.clone(),
        entry: entry(id, Lifetime::of(HOUR)),
        condition,
        request: Some(RequestId(Bytes::copy_from_slice(id.as_bytes()))),
    };
    let first = version(bench.request(request("a", Condition::Absent)).await);
    assert_eq!(repeated(bench.request(request("a", Condition::Absent)).await), first);
    let refused = why(bench.request(request("b", Condition::Absent)).await);
    assert_eq!(refused, ConditionFailure::AlreadyPresent);
    let second = bench.store(&key, "another").await;
    let position = bench.position(&key).await;
    // It does not bring back what was replaced, nor succeed where it failed.
    assert_eq!(repeated(bench.request(request("a", Condition::Absent)).await), first);
    assert_eq!(bench.read(&key).await.unwrap().version, second);
    bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(repeated(bench.request(request("a", Condition::Absent)).await), first);
    assert_eq!(why(bench.request(request("b", Condition::Absent)).await), ConditionFailure::AlreadyPresent);
    assert_eq!(bench.read(&key).await, None);
    assert_eq!(bench.position(&key).await.sequence, position.sequence + 1, "only the removal took a position");
    // Another namespace has requests of its own.
    let other =
        (0..).map(|n| bench.key("two", &n.to_string())).find(|other| bench.partition(other) == bench.partition(&key));
    let other = Write { key: other.unwrap(), ..request("a", Condition::None) };
    version(bench.request(other).await);
}

pub async fn a_touch_changes_when_an_entry_ends(bench: &Bench) {
    let key = bench.key("one", "touched");
    assert_eq!(bench.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    let version = bench.store(&key, "x").await;
    let position = bench.position(&key).await;
    let change = async |ttl, mode| {
        let touched = bench.touch(&key, ttl, mode).await;
        let entry = touched.entry.unwrap();
        assert_eq!(entry.version, version, "a Touch changes nothing else");
        (entry.change, touched.position.sequence - position.sequence, entry.expires_at)
    };
    let (set, sequence, ends) = change(Some(3 * HOUR), TouchMode::Overwrite).await;
    assert_eq!((set, sequence), (TtlChange::Set, 0), "nobody has to hear of a longer life");
    assert!(bench.left(&key).await > 2 * HOUR && ends > BootClock.now().plus(2 * HOUR));
    assert_eq!(change(Some(2 * HOUR), TouchMode::Extend).await.0, TtlChange::Unchanged);
    assert_eq!(change(Some(4 * HOUR), TouchMode::Shorten).await.0, TtlChange::Unchanged);
    let (shortened, sequence, _) = change(Some(2 * HOUR), TouchMode::Shorten).await;
    assert_eq!((shortened, sequence), (TtlChange::Shortened, 1), "of a shorter one everybody does");
    assert!(bench.left(&key).await <= 2 * HOUR);
    assert_eq!(change(None, TouchMode::Extend).await, (TtlChange::Set, 1, Moment::FOREVER));
    assert_eq!(bench.read(&key).await.unwrap().expires_at, Moment::FOREVER);
    assert_eq!(change(Some(9 * HOUR), TouchMode::Extend).await.0, TtlChange::Unchanged);
    let (shortened, sequence, _) = change(Some(30 * SECOND / 1000), TouchMode::Overwrite).await;
    assert_eq!((shortened, sequence), (TtlChange::Shortened, 2));
    // Not when it must not be answered any more: that is a little earlier than the tier lets it go.
    eventually("it ends", async || bench.read(&key).await.is_none()).await;
    assert_eq!(bench.touch(&key, None, TouchMode::Overwrite).await.entry, None, "what has ended does not come back");
}

pub async fn an_entry_may_live_for_ever(bench: &Bench) {
    let key = bench.key("one", "for ever");
    version(bench.write_entry(&key, entry("x", Lifetime::default()), Condition::None).await);
    assert_eq!(bench.read(&key).await.unwrap().expires_at, Moment::FOREVER);
    version(bench.write_entry(&key, entry("x", Lifetime::default()), Condition::Present).await);
    bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!(bench.read(&key).await, None);
}

pub async fn a_sliding_entry_has_a_hard_end(bench: &Bench) {
    let key = bench.key("one", "sliding");
    let lifetime = Lifetime { sliding: Some(10 * SECOND), ..Lifetime::of(4 * SECOND) };
    version(bench.write_entry(&key, entry("x", lifetime), Condition::None).await);
    let read = bench.read(&key).await.unwrap();
    let sliding = read.sliding.unwrap();
    assert_eq!(sliding.idle, 4 * SECOND);
    let end = sliding.until.since(BootClock.now());
    assert!(end <= 10 * SECOND + SECOND / 10 && end > 8 * SECOND, "{end:?}");
    assert!(bench.left(&key).await <= 4 * SECOND);
    let touched = bench.touch(&key, Some(5 * SECOND), TouchMode::Extend).await.entry.unwrap();
    assert_eq!(touched.change, TtlChange::Set);
    assert!(bench.left(&key).await > 4 * SECOND);
    let read = bench.read(&key).await.unwrap();
    assert_eq!(read.sliding.unwrap().idle, 4 * SECOND, "how far reading prolongs its life stays");
    for ttl in [Some(HOUR), None] {
        let touched = bench.touch(&key, ttl, TouchMode::Overwrite).await.entry.unwrap();
        assert_eq!(touched.change, TtlChange::Capped);
        assert!(bench.left(&key).await <= 10 * SECOND);
    }
    let shorter = bench.touch(&key, Some(3 * SECOND), TouchMode::Shorten).await.entry.unwrap();
    assert_eq!(shorter.change, TtlChange::Shortened);
    assert!(bench.left(&key).await <= 3 * SECOND);
    assert_eq!(bench.read(&key).await.unwrap().sliding.unwrap().idle, 4 * SECOND);
    let later = bench.touch(&key, Some(HOUR), TouchMode::Extend).await.entry.unwrap();
    assert!(later.expires_at <= BootClock.now().plus(10 * SECOND));
}

pub async fn what_has_ended_is_kept_for_its_window_and_counts_as_absent(bench: &Bench) {
    let key = bench.key("one", "kept");
    let lifetime = Lifetime { stale_window: HOUR, ..Lifetime::of(50 * SECOND / 1000) };
    let store = async || version(bench.write_entry(&key, entry("x", lifetime), Condition::None).await);
    let stored = store().await;
    eventually("it ends", async || !bench.read(&key).await.unwrap().lives(BootClock.now())).await;
    let kept = bench.read(&key).await.unwrap();
    assert_eq!((kept.version, kept.content), (stored, value("x")));
    assert!(kept.kept_until > BootClock.now().plus(HOUR / 2));
    assert_eq!(refused(bench.write(&key, "y", Condition::Present).await), None);
    assert_eq!(refused(bench.write(&key, "y", Condition::Version(stored)).await), None);
    assert_eq!(bench.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    version(bench.write_entry(&key, entry("z", Lifetime::of(HOUR)), Condition::Absent).await);
}

pub async fn what_is_marked_is_kept_and_counts_as_absent(bench: &Bench) {
    let (key, brief) = (bench.key("one", "marked"), bench.key("one", "marked without a window"));
    let lifetime = Lifetime { stale_window: HOUR, ..Lifetime::of(HOUR) };
    let stored = version(bench.write_entry(&key, entry("x", lifetime), Condition::None).await);
    bench.store(&brief, "x").await;
    assert!(bench.mark(&key).await && bench.mark(&brief).await);
    let marked = bench.read(&key).await.unwrap();
    assert_eq!((marked.version, marked.lives(BootClock.now())), (stored, false));
    let since = BootClock.now().since(marked.marked_at.unwrap());
    assert!(since < 5 * SECOND, "{since:?}");
    assert_eq!(bench.read(&brief).await, None, "without a window nothing is kept");
    assert!(!bench.mark(&key).await, "it is no live entry any more");
    assert_eq!(refused(bench.write(&key, "y", Condition::Present).await), None);
    assert_eq!(bench.touch(&key, Some(HOUR), TouchMode::Overwrite).await.entry, None);
    version(bench.write(&key, "y", Condition::Absent).await);
    assert!(bench.read(&key).await.unwrap().lives(BootClock.now()));
}

pub async fn an_immutable_entry_is_written_once_and_quietly(bench: &Bench) {
    bench.change("fixed", PolicyPatch { immutable: Some(true), ..PolicyPatch::default() });
    let key = bench.key("fixed", "k");
    let before = bench.position(&key).await;
    let first = bench.store(&key, "1").await;
    assert_eq!(bench.position(&key).await.sequence, before.sequence, "nobody is told");
    for condition in [Condition::None, Condition::Absent, Condition::Present, Condition::Version(first)] {
        let again = bench.write(&key, "2", condition).await;
        assert!(
            matches!(again, WriteResult::Refused { why: ConditionFailure::AlreadyPresent, current, .. } if current == Some(first))
        );
    }
    assert_eq!(bench.read(&key).await.unwrap().content, value("1"));
    // It is invalidated as any other, and written again after that.
    let removed = bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
    assert_eq!((removed.removed, removed.version.sequence), (vec![true], before.sequence + 1));
    assert_eq!(bench.read(&key).await, None);
    bench.store(&key, "3").await;
    let dead = bench.invalidate(bench.partition(&key), key.namespace(), &[Selector::Namespace]).await;
    assert_eq!(bench.read(&key).await, None);
    assert_eq!(bench.store(&key, "4").await, dead, "at the position of what came before");
    assert_eq!(bench.read(&key).await.unwrap().content, value("4"));
    assert_eq!(bench.position(&key).await, dead);
}

pub async fn who_waits_for_an_immutable_entry_is_told(bench: &Bench) {
    bench.change("fixed", PolicyPatch { immutable: Some(true), ..PolicyPatch::default() });
    let key = bench.key("fixed", "awaited");
    let before = bench.position(&key).await;
    let lease = LeaseId(1);
    let claim = LeaseClaim { lease, duration: 10 * SECOND, seen: None };
    assert_eq!(bench.l2.acquire(&key, claim, bench.until()).await, Ok(Acquired::Granted));
    let stored = version(bench.write(&key, "1", Condition::Lease(lease)).await);
    assert_eq!(stored.sequence, before.sequence + 1);
}

pub async fn values_are_read_whatever_they_are_packed_by(bench: &Bench) {
    let (large, small) = ("abc".repeat(100_000), "abc".repeat(10));
    for (n, compression) in [Compression::Zstd, Compression::None, Compression::Lz4].into_iter().enumerate() {
        let threshold = Some(100);
        let patch =
            PolicyPatch { compression: Some(compression), compression_threshold: threshold, ..Default::default() };
        bench.change("packed", patch);
        bench.store(&bench.key("packed", &format!("large {n}")), &large).await;
        bench.store(&bench.key("packed", &format!("small {n}")), &small).await;
    }
    for n in 0..3 {
        for (name, text) in [("large", &large), ("small", &small)] {
            let read = bench.read(&bench.key("packed", &format!("{name} {n}"))).await.unwrap();
            assert!(read.content == value(text), "{name} {n}");
        }
    }
}

pub async fn tags_and_what_is_due_are_kept(bench: &Bench) {
    let key = bench.key("one", "tagged");
    let tags = Tags::new(vec!["a".into(), "b".into()]);
    let lifetime = Lifetime { soft_ttl: Some(60 * SECOND), ..Lifetime::of(HOUR) };
    let new = NewEntry { tags: tags.clone(), ..entry("x", lifetime) };
    version(bench.write_entry(&key, new, Condition::None).await);
    let read = bench.read(&key).await.unwrap();
    assert_eq!(read.tags, tags);
    let due = read.due_at.since(BootClock.now());
    assert!(due <= 61 * SECOND && due > 30 * SECOND, "{due:?}");
}
