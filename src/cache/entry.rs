//! Entries: what was set, and what memory keeps of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::clock::Moment;
use super::namespace::Namespace;
use super::version::Version;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A value.
    Value(Bytes),
    /// The thing is known not to exist.
    KnownAbsent,
}

impl Content {
    /// Bytes of the value; none for a negative entry.
    pub fn len(&self) -> usize {
        match self {
            Content::Value(value) => value.len(),
            Content::KnownAbsent => 0,
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tags of an entry. Most have none, and that costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[Bytes]>>);

impl Tags {
    /// These tags, each named once.
    pub fn new(tags: Vec<Bytes>) -> Tags {
        Tags((!tags.is_empty()).then(|| tags.into()))
    }

    /// Not known: there may have been any.
    pub fn unknown() -> Tags {
        Tags::new(vec![Bytes::new()])
    }

    /// These and those of `other`, each named once.
    pub fn and(&self, other: &Tags) -> Tags {
        let mut all: Vec<Bytes> = self.iter().cloned().collect();
        all.extend(other.iter().filter(|tag| !self.iter().any(|own| own == *tag)).cloned());
        Tags::new(all)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.as_slice().iter()
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Bytes] {
        self.0.as_deref().unwrap_or_default()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The same in memory of their own: as they came they are slices of a larger buffer, which they would keep alive.
    pub fn compact(&self) -> Tags {
        Tags::new(self.iter().map(|tag| Bytes::copy_from_slice(tag)).collect())
    }
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Time to live; none: until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// When it is due for refresh; none: never.
    pub soft_ttl: Option<Duration>,
    /// How long past its time to live it is kept, to be answered flagged stale.
    pub stale_window: Duration,
    /// It lives for another `ttl` whenever it is read, but no longer than this; none: reading prolongs nothing.
    pub sliding: Option<Duration>,
}

impl Lifetime {
    /// A time to live and nothing else.
    pub fn of(ttl: Duration) -> Lifetime {
        Lifetime { ttl: Some(ttl), ..Lifetime::default() }
    }
}

/// What a Set asks to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What it says.
    pub content: Content,
    /// Content type; empty when none was given.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// How long it lives.
    pub lifetime: Lifetime,
}

impl NewEntry {
    /// An entry with nothing but what it says and how long it lives.
    pub fn new(content: Content, lifetime: Lifetime) -> NewEntry {
        NewEntry { content, content_type: "".into(), tags: Tags::default(), source_version: None, lifetime }
    }
}

/// An entry as a tier answered it: one that lives, or one that is kept beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The write that made it.
    pub version: Version,
    /// What it says.
    pub content: Content,
    /// Content type; empty when none was given.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// What it cost to make, as far as that is known: from the grant of a lease to the Set that filled it.
    pub cost: Duration,
    /// When it was written, as far as this machine's clock can say. Only to be shown.
    pub written_at: Moment,
    /// From when on it is due for refresh.
    pub due_at: Moment,
    /// When it ends. Never later than in the shared tier.
    pub expires_at: Moment,
    /// Until when it is kept, to be answered flagged stale.
    pub kept_until: Moment,
    /// How long past its end, or past a mark, it is kept.
    pub stale_window: Duration,
    /// Reading it prolongs its life.
    pub sliding: Option<Sliding>,
    /// When it was marked stale.
    pub marked_at: Option<Moment>,
}

/// How reading prolongs the life of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// By how much, from the read on.
    pub idle: Duration,
    /// Not beyond this.
    pub until: Moment,
}

impl Entry {
    /// An entry as it was just written.
    pub fn written(new: &NewEntry, version: Version, cost: Duration, at: Moment) -> Entry {
        let Lifetime { ttl, soft_ttl, stale_window, sliding } = new.lifetime;
        let expires_at = ttl.map_or(Moment::FOREVER, |ttl| at.plus(ttl));
        Entry {
            version,
            content: new.content.clone(),
            content_type: new.content_type.clone(),
            tags: new.tags.clone(),
            source_version: new.source_version,
            cost,
            written_at: at,
            due_at: soft_ttl.map_or(Moment::FOREVER, |soft| at.plus(soft)),
            expires_at,
            kept_until: expires_at.plus(stale_window),
            stale_window,
            sliding: sliding.zip(ttl).map(|(longest, idle)| Sliding { idle, until: at.plus(longest) }),
            marked_at: None,
        }
    }

    /// The same, marked stale since then, if at all: kept no longer than stale entries are.
    pub fn marked_since(self, marked_at: Option<Moment>) -> Entry {
        let kept_until = marked_at.map_or(Moment::FOREVER, |at| at.plus(self.stale_window)).min(self.kept_until);
        Entry { marked_at, kept_until, ..self }
    }

    /// Whether it may be answered without a flag, as far as time and marks go.
    pub fn lives(&self, now: Moment) -> bool {
        now < self.expires_at && self.marked_at.is_none()
    }
}

/// An entry with what its freshness is judged by.
pub struct CachedEntry {
    /// The entry.
    pub entry: Entry,
    /// Position of the partition when the entry was known to be current.
    pub position: Version,
    /// The partition's generation when the making of this began; once it has moved on, the entry is suspect.
    pub generation: u64,
    /// When the entry was known to be current.
    pub known_at: Moment,
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// What was found when it was looked for among what was invalidated.
    pub covered: CoverageMemo,
}

impl CachedEntry {
    /// When it was marked stale, itself or with what selects it.
    pub fn marked_at(&self) -> Option<Moment> {
        self.entry.marked_at.into_iter().chain(self.covered.marked_at()).min()
    }
}

/// What is remembered of looking for an entry among what was invalidated, so that the next reader need not.
#[derive(Debug, Default)]
pub struct CoverageMemo {
    changes: AtomicU64,
    marked_at: AtomicU64,
    gone: AtomicBool,
}

impl CoverageMemo {
    /// Whether the first `changes` changes of what was invalidated have been looked through.
    pub fn is_known(&self, changes: u64) -> bool {
        self.changes.load(Ordering::Acquire) == changes
    }

    /// The first `changes` changes have been looked through; the entry was marked stale then, if at all.
    pub fn know(&self, changes: u64, marked_at: Option<Moment>) {
        if let Some(Moment(at)) = marked_at {
            // The first one stays: it is the earlier one.
            let _ = self.marked_at.compare_exchange(0, at.max(1), Ordering::AcqRel, Ordering::Acquire);
        }
        self.changes.fetch_max(changes, Ordering::AcqRel);
    }

    /// It was found to be gone. What it was found by may be forgotten.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether it was found to be gone.
    pub fn has_ended(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn marked_at(&self) -> Option<Moment> {
        Some(Moment(self.marked_at.load(Ordering::Acquire))).filter(|at| *at != Moment(0))
    }
}

impl CachedEntry {
    /// The position of an entry that only this replica knows.
    pub const LOCAL_ONLY: Version = Version::ZERO;

    /// Only this replica knows it: no promise holds for it.
    pub fn is_local_only(&self) -> bool {
        self.position == CachedEntry::LOCAL_ONLY
    }
}
