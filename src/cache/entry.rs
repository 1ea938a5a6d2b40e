//! Entries: the content of a Set, and the form in which L1 keeps it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::clock::Moment;
use super::lifetime::Lifetime;
use super::namespace::Namespace;
use super::version::Version;

/// Content of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A value.
    Value(Bytes),
    /// The thing is known not to exist.
    KnownAbsent,
}

impl Content {
    /// Returns the size of the value in bytes, or 0 for a negative entry.
    pub fn len(&self) -> usize {
        match self {
            Content::Value(value) => value.len(),
            Content::KnownAbsent => 0,
        }
    }

    /// Returns true if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tags of an entry. Most entries have none, which costs no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[Bytes]>>);

impl Tags {
    /// Creates tags. Each has to be listed once.
    pub fn new(tags: Vec<Bytes>) -> Tags {
        Tags((!tags.is_empty()).then(|| tags.into()))
    }

    /// Stands for tags that are not known: there may have been any.
    pub fn unknown() -> Tags {
        Tags::new(vec![Bytes::new()])
    }

    /// Returns the union with `other`.
    pub fn and(&self, other: &Tags) -> Tags {
        let mut all: Vec<Bytes> = self.iter().cloned().collect();
        all.extend(other.iter().filter(|tag| !self.iter().any(|own| own == *tag)).cloned());
        Tags::new(all)
    }

    /// Iterates over the tags.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.as_slice().iter()
    }

    /// Returns the tags as a slice.
    pub fn as_slice(&self) -> &[Bytes] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns true if there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Copies the tags into memory of their own. As slices of a larger buffer they would keep it
    /// alive.
    pub fn compact(&self) -> Tags {
        Tags::new(self.iter().map(|tag| Bytes::copy_from_slice(tag)).collect())
    }
}

/// Entry as a Set stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Content.
    pub content: Content,
    /// Content type. Empty if the Set gave none.
    pub content_type: Box<str>,
    /// Tags.
    pub tags: Tags,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// Lifetime.
    pub lifetime: Lifetime,
}

impl NewEntry {
    /// Creates an entry that has only content and a lifetime.
    pub fn new(content: Content, lifetime: Lifetime) -> NewEntry {
        NewEntry { content, content_type: "".into(), tags: Tags::default(), source_version: None, lifetime }
    }
}

/// Entry as a tier returns it: live, or kept beyond its life.
///
/// Dereferences to its [`Details`], which most entries do not have: so they cost one pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Version of the write that stored it.
    pub version: Version,
    /// Content.
    pub content: Content,
    /// Content type. Empty if the Set gave none.
    pub content_type: Box<str>,
    /// Estimate of when it was written, by this machine's clock. For display only.
    pub written_at: Moment,
    /// Time at which it expires. Never later than in the shared tier.
    pub expires_at: Moment,
    /// Time until which it is kept, to be answered flagged stale.
    pub kept_until: Moment,
    /// Time past its expiry, or past a stale mark, for which it is kept.
    pub stale_window: Duration,
    /// Tags, source version, sliding expiry and other rare facts.
    pub details: RareDetails,
}

/// Facts that few entries have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Tags.
    pub tags: Tags,
    /// Version of its source.
    pub source_version: Option<u64>,
    /// Cost of filling it, if known: the time from the grant of a lease to the Set that used it.
    pub cost: Duration,
    /// Time from which it is due for refresh.
    pub due_at: Moment,
    /// Sliding expiry. `None` if reads do not extend it.
    pub sliding: Option<Sliding>,
    /// Time at which it was marked stale.
    pub marked_at: Option<Moment>,
}

/// Details in memory of their own, if there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RareDetails(Option<Box<Details>>);

/// Sliding expiry: how a read extends the time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Time to live from the read on.
    pub idle: Duration,
    /// Latest expiry.
    pub until: Moment,
}

impl Entry {
    /// Creates an entry as it is just after a write.
    pub fn written(new: &NewEntry, version: Version, cost: Duration, at: Moment) -> Entry {
        let Lifetime { ttl, soft_ttl, stale_window, sliding } = new.lifetime;
        let expires_at = ttl.map_or(Moment::FOREVER, |ttl| at.plus(ttl));
        let details = Details {
            tags: new.tags.clone(),
            source_version: new.source_version,
            cost,
            due_at: soft_ttl.map_or(Moment::FOREVER, |soft| at.plus(soft)),
            sliding: sliding.zip(ttl).map(|(longest, idle)| Sliding { idle, until: at.plus(longest) }),
            marked_at: None,
        };
        Entry {
            version,
            content: new.content.clone(),
            content_type: new.content_type.clone(),
            written_at: at,
            expires_at,
            kept_until: expires_at.plus(stale_window),
            stale_window,
            details: details.into(),
        }
    }

    /// Sets the time of the stale mark, and keeps the entry no longer than stale entries are kept.
    pub fn marked_since(self, marked_at: Option<Moment>) -> Entry {
        let kept_until = marked_at.map_or(Moment::FOREVER, |at| at.plus(self.stale_window)).min(self.kept_until);
        Entry { kept_until, ..self }.with(|details| details.marked_at = marked_at)
    }

    /// Changes details.
    pub fn with(self, change: impl FnOnce(&mut Details)) -> Entry {
        let mut details = self.details.0.map_or(Details::NONE, |details| *details);
        change(&mut details);
        Entry { details: details.into(), ..self }
    }

    /// Returns true if it may be answered without a stale flag, as far as expiry and marks decide.
    pub fn lives(&self, now: Moment) -> bool {
        now < self.expires_at && self.marked_at.is_none()
    }
}

impl Deref for Entry {
    type Target = Details;

    fn deref(&self) -> &Details {
        self.details.0.as_deref().unwrap_or(&Details::NONE)
    }
}

// === impl Details ===

impl Details {
    /// The details of an entry that has none.
    pub const NONE: Details = Details {
        tags: Tags(None),
        source_version: None,
        cost: Duration::ZERO,
        due_at: Moment::FOREVER,
        sliding: None,
        marked_at: None,
    };
}

impl From<Details> for RareDetails {
    fn from(details: Details) -> RareDetails {
        RareDetails((details != Details::NONE).then(|| Box::new(details)))
    }
}

impl RareDetails {
    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Entry in L1, with the facts that decide about its freshness.
pub struct CachedEntry {
    /// The entry.
    pub entry: Entry,
    /// Position of the partition when the entry was known to be current.
    pub position: Version,
    /// Generation of the partition when its fetch began. A later generation makes the entry
    /// unproven.
    pub generation: u64,
    /// Time at which the entry was known to be current.
    pub known_at: Moment,
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Result of the last lookup in the invalidation log.
    pub covered: CoverageMemo,
}

impl CachedEntry {
    /// Returns the time until which L1 keeps it: after its end and stale window, but no later than
    /// the `l1_ttl` of its namespace. Reads do not extend it.
    pub fn kept_until(&self) -> Moment {
        self.entry.kept_until.min(self.known_at.plus(self.namespace.policy().l1_ttl))
    }

    /// Returns when it was marked stale, by its key or by a selector.
    pub fn marked_at(&self) -> Option<Moment> {
        self.entry.marked_at.into_iter().chain(self.covered.marked_at()).min()
    }
}

/// Cached result of a lookup in the invalidation log, which saves the next reader the lookup.
#[derive(Debug, Default)]
pub struct CoverageMemo {
    /// Number of changes of the log, or `ENDED`.
    changes: AtomicU64,
    marked_at: AtomicU64,
}

/// Number of changes that an invalidated entry has taken into account: all there may ever be.
const ENDED: u64 = u64::MAX;

impl CoverageMemo {
    /// Returns true if the first `changes` changes of the log are already taken into account.
    pub fn is_known(&self, changes: u64) -> bool {
        self.changes.load(Ordering::Acquire) == changes
    }

    /// Records that the first `changes` changes are taken into account, and the stale mark that
    /// they contain.
    pub fn know(&self, changes: u64, marked_at: Option<Moment>) {
        if let Some(Moment(at)) = marked_at {
            // The first mark stays, because it is the earlier one.
            let _ = self.marked_at.compare_exchange(0, at.max(1), Ordering::AcqRel, Ordering::Acquire);
        }
        self.changes.fetch_max(changes, Ordering::AcqRel);
    }

    /// Records that the entry was invalidated. The log may forget the cause.
    pub fn end(&self) {
        self.changes.store(ENDED, Ordering::Release);
    }

    /// Returns true if the entry was found to be invalidated.
    pub fn has_ended(&self) -> bool {
        self.changes.load(Ordering::Acquire) == ENDED
    }

    fn marked_at(&self) -> Option<Moment> {
        Some(Moment(self.marked_at.load(Ordering::Acquire))).filter(|at| *at != Moment(0))
    }
}

impl CachedEntry {
    /// Position of an entry that only this replica knows.
    pub const LOCAL_ONLY: Version = Version::ZERO;

    /// Returns true if only this replica knows it: no freshness promise applies.
    pub fn is_local_only(&self) -> bool {
        self.position == CachedEntry::LOCAL_ONLY
    }
}
