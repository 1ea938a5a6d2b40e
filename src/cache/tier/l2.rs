//! The two tiers, as the core needs them.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, ready};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::bus::Effect;
use super::inspect::Inspected;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Entry, NewEntry};
use crate::cache::error::CacheError;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::stats::keyspace::KeyspaceSample;
use crate::cache::stats::{LabeledHistograms, Snapshot};
use crate::cache::version::Version;

/// A future of a tier.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The memory of this replica.
///
/// A dumb map with a byte limit: it decides what to evict and nothing else. It may forget any entry at any time. The caller orders
/// inserts and removals of one key; `get` runs beside them and takes no lock that all keys share.
pub trait L1: Send + Sync + 'static {
    /// The entry of `key`, whatever its freshness.
    fn get(&self, key: KeyRef<'_>) -> Option<Arc<CachedEntry>>;
    /// Puts an entry, until it has expired and its namespace's stale window has passed, or memory is short. When it is not taken any earlier
    /// entry is gone all the same.
    fn insert(&self, key: Key, held: Arc<CachedEntry>) -> Result<(), NotTaken>;
    /// Removes the entry of `key`.
    fn remove(&self, key: KeyRef<'_>);
    /// Shows every entry that is there all the while, and of others some, until `visit` breaks off.
    fn each(&self, visit: &mut dyn FnMut(&Key, &Arc<CachedEntry>) -> ControlFlow<()>);
    /// What is held.
    fn usage(&self) -> L1Usage;
}

/// Why memory did not take an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is too large.
    TooLarge,
    /// Its namespace has no room left, of this many bytes.
    OverQuota(u64),
}

/// What the memory tier holds and has let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L1Usage {
    /// Entries now; may lag by housekeeping.
    pub entries: u64,
    /// Bytes now, with overhead.
    pub bytes: u64,
    /// Limit of bytes.
    pub max_bytes: u64,
    /// Entries evicted for want of room.
    pub evicted_size: u64,
    /// Entries dropped after their time.
    pub evicted_expired: u64,
    /// Entries removed.
    pub removed: u64,
    /// Entries replaced.
    pub replaced: u64,
    /// Entries too large to be taken.
    pub rejected: u64,
}

/// When a Set stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// When no live entry is present.
    Absent,
    /// When a live entry is present.
    Present,
    /// When the live entry has this version.
    Version(Version),
    /// While this lease holds.
    Lease(LeaseId),
}

/// Names a lease. Hard to guess: who knows it holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u128);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LeaseId {
    /// Without what makes it hard to guess: this may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({:08x}..)", self.0 >> 96)
    }
}

/// Not a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a lease as a response gave it")]
pub struct NotALease;

impl FromStr for LeaseId {
    type Err = NotALease;

    fn from_str(text: &str) -> Result<Self, NotALease> {
        let digits = text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        // Zero stands for nobody.
        number.filter(|number| *number != 0).map(LeaseId).ok_or(NotALease)
    }
}

/// Tells a request from any other, so that it takes effect once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub Bytes);

/// A write of one entry.
#[derive(Clone, Debug)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// What to store.
    pub entry: NewEntry,
    /// When to store it.
    pub condition: Condition,
    /// Under which it is remembered for a while, not to be done twice.
    pub request: Option<RequestId>,
}

/// The removal of one key.
#[derive(Clone, Debug)]
pub struct Removal {
    /// The key.
    pub key: Key,
    /// The version of the source that made it necessary: an older one does not come back for a while.
    pub source_version: Option<u64>,
}

/// What an invalidation does to the entries it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are gone.
    #[default]
    Remove,
    /// They may be answered only flagged stale.
    MarkStale,
}

impl Mode {
    /// What that is to the entries.
    pub fn effect(self) -> Effect {
        match self {
            Mode::Remove => Effect::Removed,
            Mode::MarkStale => Effect::Marked,
        }
    }
}

/// A change of an entry's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The time to live from now on; none: until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// When to change it.
    pub mode: TouchMode,
}

impl Touch {
    /// What it makes of the life of `entry`, and when that ends then.
    pub fn of(self, entry: &Entry, now: Moment) -> (TtlChange, Moment) {
        let asked = self.ttl.map_or(Moment::FOREVER, |ttl| now.plus(ttl));
        let ends = entry.sliding.map_or(asked, |sliding| asked.min(sliding.until));
        let before = entry.expires_at;
        match self.mode {
            TouchMode::Extend if ends <= before => (TtlChange::Unchanged, before),
            TouchMode::Shorten if ends >= before => (TtlChange::Unchanged, before),
            _ if ends < before => (TtlChange::Shortened, ends),
            _ if ends < asked => (TtlChange::Capped, ends),
            _ => (TtlChange::Set, ends),
        }
    }
}

/// When a Touch changes the time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TouchMode {
    /// Always.
    #[default]
    Overwrite,
    /// Only to make it longer.
    Extend,
    /// Only to make it shorter.
    Shorten,
}

/// What the shared tier answered to a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Position of the partition after it.
    pub position: Version,
    /// The live entry; none: there is none.
    pub entry: Option<TouchedEntry>,
}

/// A live entry after a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchedEntry {
    /// The write that made it.
    pub version: Version,
    /// What became of its time to live.
    pub change: TtlChange,
    /// When it ends now.
    pub expires_at: Moment,
}

/// What became of a time to live that was to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlChange {
    /// Nothing: it was longer or shorter already.
    Unchanged,
    /// It is as asked for, and not shorter than before.
    Set,
    /// It is as asked for, and shorter than before: who holds the entry was told.
    Shortened,
    /// It is as long as a sliding entry may live, which is less than was asked for; but not shorter than before.
    Capped,
}

/// What is asked of the shared tier by who wants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// What the lease is to be called. Chosen before, so that it is known also when the answer is lost.
    pub lease: LeaseId,
    /// For how long it is wanted.
    pub duration: Duration,
    /// The live entry that is to be made anew; none: it is wanted only when there is no live entry.
    pub seen: Option<Version>,
}

/// What the shared tier answered to who wants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is granted, for as long as was asked.
    Granted,
    /// Another has it, for this long at most.
    Held(Duration),
    /// It was given back because the entry could not be made, and nobody may have it for this long.
    Paused(Duration),
    /// There is a live entry that is not to be made anew.
    Present,
}

/// The return of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRelease {
    /// The lease.
    pub lease: LeaseId,
    /// The entry could not be made.
    pub failed: bool,
    /// For how long nobody gets it.
    pub pause: Duration,
}

/// What the shared tier answered to a read.
#[derive(Clone, Debug)]
pub struct ReadResult {
    /// Position of the partition, read before the entry: never newer than it.
    pub position: Version,
    /// The entry: one that lives, or one that is kept beyond that.
    pub entry: Option<Entry>,
}

/// What the shared tier knows of a live entry beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The write that made it.
    pub version: Version,
    /// When, on this machine's clock.
    pub written_at: Moment,
    /// How far off that may be.
    pub uncertainty: Duration,
}

/// What the shared tier answered to a Set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// Stored, with this version.
    Stored(Entry),
    /// Nothing was done: the same request was stored before, with this version.
    Repeated {
        /// Version of the entry stored then.
        version: Version,
        /// Position of the partition.
        position: Version,
    },
    /// A condition failed.
    Refused {
        /// Which.
        why: ConditionFailure,
        /// Version of the live entry.
        current: Option<Version>,
        /// Position of the partition.
        position: Version,
    },
    /// It was not taken, and will not be.
    Failed(L2Error),
}

/// Why an entry was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionFailure {
    /// There is a live entry.
    AlreadyPresent,
    /// There is none.
    NotPresent,
    /// The live entry has another version.
    VersionMismatch,
    /// The lease does not hold any more.
    LeaseVoid,
    /// An entry of a newer version of the source is or was there.
    SourceVersionOlder,
}

/// What the shared tier answered to an invalidation of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveResult {
    /// Position of the invalidation.
    pub version: Version,
    /// For each key, whether it had an entry.
    pub removed: Vec<bool>,
}

/// The time for which a call may move values. What is large takes longer than what is small, and is not given up while it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// When the call ends if nothing of it moves.
    pub deadline: Moment,
    /// When it ends even if something does. Not before `until`.
    pub latest: Moment,
}

impl From<Moment> for Timeout {
    /// Ends at `until` in any case.
    fn from(until: Moment) -> Timeout {
        Timeout { deadline: until, latest: until }
    }
}

impl Timeout {
    /// The same time for the next part of a call that began at `begun`, from `now` on.
    pub fn renewed(self, begun: Moment, now: Moment) -> Timeout {
        Timeout { deadline: now.plus(self.deadline.since(begun)).min(self.latest), ..self }
    }
}

/// The shared tier: the number line of each partition, and the entries on it.
///
/// Each write and invalidation is one atomic step that takes the next sequence of its partition, takes effect, and is announced on the bus.
/// Every call ends by `until`, or as its `timeout` says, about; an `Err` of a write says for how long it may still take effect.
pub trait L2: Send + Sync + 'static {
    /// Reads the live entry of `key`.
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>>;
    /// Reads many different keys of one namespace at once. Answers in their order, each for itself.
    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(join_all(keys.iter().map(move |key| self.read(key, timeout))))
    }
    /// Makes `writes`, of different keys, all of one namespace and of `partition`, in one step: each succeeds or is refused for itself. The
    /// ticket of a barrier, if not 0, has every replica confirm.
    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        ticket: u64,
        timeout: Timeout,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>>;
    /// Removes different keys, all of one namespace and of `partition`, or marks them stale.
    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>>;
    /// Removes what `selectors` select of what `namespace` has in `partition`, or marks it stale.
    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        ticket: u64,
        until: Moment,
    ) -> BoxFuture<'a, Result<Version, L2Error>>;
    /// Lists the namespaces of which anything was stored or leased, by any replica. It may list more. Empty for a tier that only this replica
    /// writes to.
    fn namespaces(&self, _until: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(ready(Ok(BTreeSet::new())))
    }
    /// Changes the time to live of the live entry of `key`.
    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, until: Moment) -> BoxFuture<'a, Result<Touched, L2Error>>;
    /// Asks for the lease of `key`.
    fn acquire<'a>(
        &'a self,
        key: &'a Key,
        claim: LeaseClaim,
        until: Moment,
    ) -> BoxFuture<'a, Result<Acquired, L2Error>>;
    /// Gives a lease back. False: it did not hold any more.
    fn release<'a>(&'a self, key: &'a Key, back: LeaseRelease, until: Moment) -> BoxFuture<'a, Result<bool, L2Error>>;
    /// Opens a barrier, before the change that is to pass it is made.
    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(NoFleet)
    }
    /// How the number line of `partition` came to its `epoch`.
    fn takeover(&self, _partition: u16, _epoch: u64, _until: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(ready(Ok(Takeover::Anew)))
    }
    /// This replica has seen to the takeover that began `epoch`. Returns whether every other replica has, too, or is not waited for any more.
    fn settle(
        &self,
        _partition: u16,
        _epoch: u64,
        _settlement: Settlement,
        _until: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(ready(Ok(true)))
    }
    /// What is current of `key`, without its value: for the self-audit. None: no live entry, or a tier that cannot say.
    fn current<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// What is stored under `key`, whether it may be answered or not. It tells what it knows of why not; time and marks are the caller's.
    fn inspect<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(ready(Ok(Inspected::default())))
    }
    /// True when the entries live in this replica's L1, and nowhere else: then a miss there is a miss.
    fn shares_l1(&self) -> bool {
        false
    }
    /// It answered with less of `partition` than it had announced: the server asked is not the one that announces.
    fn is_behind(&self, _partition: u16) {}
    /// What is known of it.
    fn report(&self) -> L2Report;
    /// How long its commands take, by name and by what became of them.
    fn operations(&self) -> Option<&LabeledHistograms> {
        None
    }
    /// Why this replica must not serve, if so: its configuration contradicts that of the deployment.
    fn halted(&self) -> Option<String> {
        None
    }
    /// Ends its tasks and connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// How a number line came to its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Nothing is left of what was before.
    Anew,
    /// On a server that may lack what came after its position then.
    From {
        /// That position, of an earlier epoch.
        prior: Version,
        /// The epoch from which on its entries are to count.
        trusted_from: u64,
    },
}

/// What a replica says at the end of a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// What may be lost of what it knows was invalidated again.
    Repaired,
    /// More may be lost than it remembers: nothing from before may count.
    Forgotten,
    /// It remembers nothing: nothing from before may count, unless that is decided already.
    Cold,
}

/// A change that is not acknowledged before the fleet has applied it.
pub trait FleetBarrier: Send + Sync {
    /// What the change has to carry.
    fn ticket(&self) -> u64;
    /// Waits until every other replica has applied the change in `partitions`, or has lost its right to answer with what was before. Called
    /// after the change has taken effect.
    fn passed<'a>(&'a self, partitions: &'a [u16], until: Moment) -> BoxFuture<'a, Result<(), L2Error>>;
}

/// The barrier of a replica that is the whole fleet.
struct NoFleet;

impl FleetBarrier for NoFleet {
    fn ticket(&self) -> u64 {
        0
    }

    fn passed<'a>(&'a self, _: &'a [u16], _: Moment) -> BoxFuture<'a, Result<(), L2Error>> {
        Box::pin(ready(Ok(())))
    }
}

/// State of the shared tier as this replica sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L2State {
    /// There is none: memory is all there is.
    #[default]
    Disabled,
    /// Commands and subscription work.
    Healthy,
    /// Commands work, but the subscription is not proven; or only reads do.
    Degraded,
    /// Commands do not work.
    Unavailable,
}

/// What is known of the shared tier; the contract's RedisStats says what each means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct L2Report {
    pub state: L2State,
    pub reason: String,
    pub state_age: Duration,
    pub round_trip: Option<Duration>,
    pub reconnects: u64,
    pub commands: u64,
    pub errors: u64,
    pub undecodable: u64,
    /// Messages of another deployment on the channels of this one.
    pub foreign_messages: u64,
    pub bus_lag: Snapshot,
    /// Keys evicted and keys expired while this replica has watched, which never goes back as the server's own counts do.
    pub keys_gone: [u64; 2],
    /// Connections for commands that may be used now.
    pub connections_up: u64,
    /// Connections for commands that are lost, or left alone until their server answers again.
    pub connections_down: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
    pub server: ServerReport,
    /// The latest estimate of what namespaces hold; `sampled` returns it if it counts.
    pub keyspace: Option<Arc<KeyspaceSample>>,
}

impl L2Report {
    /// Returns the latest estimate of what namespaces hold, while the shared tier can be asked.
    pub fn sampled(&self) -> Option<&KeyspaceSample> {
        self.keyspace.as_deref().filter(|_| self.can_be_asked())
    }

    /// Whether the shared tier can be asked now. If not, what it said of itself last says nothing of now.
    pub fn can_be_asked(&self) -> bool {
        matches!(self.state, L2State::Healthy | L2State::Degraded)
    }
}

/// What the server of the shared tier says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ServerReport {
    pub version: String,
    pub used_memory: u64,
    pub used_memory_peak: u64,
    pub maxmemory: u64,
    pub keys: u64,
    pub evicted_keys: u64,
    pub expired_keys: u64,
    pub commands_processed: u64,
    pub maxmemory_policy: String,
    pub warnings: BTreeSet<String>,
}

/// Why the shared tier did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L2Error {
    /// It could not be asked, did not answer in time, or its answer was lost.
    Unavailable {
        /// Why.
        reason: &'static str,
        /// A write: for how long from now it may still take effect. None: it has not and will not.
        outcome_unknown_for: Option<Duration>,
    },
    /// It has no room.
    Full,
    /// The namespace has no room left, of this many bytes.
    OverQuota(u64),
    /// This replica's limit of requests to it was reached.
    Busy {
        /// The limit.
        limit: usize,
    },
    /// It has as many of something in a namespace as it takes.
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// This replica must not use it.
    Halted(String),
}

impl L2Error {
    /// It could not be asked: nothing has happened.
    pub fn unavailable(reason: &'static str) -> Self {
        L2Error::Unavailable { reason, outcome_unknown_for: None }
    }
}

/// Writes the words of the log.
impl fmt::Display for L2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            L2Error::Unavailable { reason, .. } => write!(f, "unavailable: {reason}"),
            L2Error::Full => f.write_str("full"),
            L2Error::OverQuota(bytes) => write!(f, "over_quota: {bytes} bytes"),
            L2Error::Busy { limit } => write!(f, "busy: {limit} requests in flight"),
            L2Error::TooMany { what, limit } => write!(f, "too_many: {limit} {what}"),
            L2Error::Halted(why) => write!(f, "halted: {why}"),
        }
    }
}

/// Where memory is the shared tier.
impl From<NotTaken> for L2Error {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::TooLarge => L2Error::Full,
            NotTaken::OverQuota(bytes) => L2Error::OverQuota(bytes),
        }
    }
}

/// When to try again after the shared tier was unavailable.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

impl From<L2Error> for CacheError {
    fn from(error: L2Error) -> Self {
        match error {
            L2Error::Unavailable { reason, outcome_unknown_for } => {
                // Not before the lost write can no longer take effect: it must not bury its own repetition.
                let retry_after = RETRY_AFTER.max(outcome_unknown_for.unwrap_or_default());
                CacheError::Unavailable { reason, retry_after, outcome_unknown_for }
            }
            L2Error::Full => CacheError::Full,
            L2Error::OverQuota(bytes) => {
                CacheError::Exhausted { what: "max_bytes", limit: bytes as usize, retry_after: None }
            }
            L2Error::Busy { limit } => {
                CacheError::Exhausted { what: "redis.max_in_flight", limit, retry_after: Some(RETRY_AFTER) }
            }
            L2Error::TooMany { what, limit } => CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) },
            L2Error::Halted(why) => CacheError::Halted(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        for id in [1, 0xfeed << 100, u128::MAX] {
            assert_eq!(LeaseId(id).to_string().parse(), Ok(LeaseId(id)));
        }
        for bad in ["", "0", &"0".repeat(32), &"0".repeat(33), &"F".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert_eq!(bad.parse::<LeaseId>(), Err(NotALease), "{bad}");
        }
    }
}
