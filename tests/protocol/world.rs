//! State of the model: one partition, two replicas, one Redis, and the history.
//!
//! Two keys of a partition share its sequence only, so that one of them is modelled, and a change
//! of both counts as a change of it. Replicas share Redis only: the model follows the memory of one
//! replica while both write; a smaller run follows both.
//!
//! Values that are only compared are stored as the result of the comparison, to keep the number of
//! states small: a moment as its age up to the bound; a generation as valid or not; the highest
//! applied position as having overtaken a fill or not. Steps that cannot be interleaved, or that
//! only widen the window of another step, are merged.

/// Replicas of the service.
pub const REPLICAS: usize = 2;
/// The staleness bound, in ticks. Ticks are not limited.
pub const BOUND: Age = 1;
/// Age beyond the bound. Larger ages are equal to it.
pub const OLD: Age = BOUND + 1;
/// The first epoch. It is not the lowest, so that a clock can go back.
pub const FIRST_EPOCH: u8 = 2;

/// Ticks since an event, up to `OLD`.
pub type Age = u8;

/// A position in the partition's sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub epoch: u8,
    pub sequence: u8,
}

impl Version {
    pub fn next(self) -> Version {
        Version { sequence: self.sequence + 1, ..self }
    }
}

/// Number of a write or invalidation, in the order in which Redis first executed them.
pub type Change = usize;

/// Effect of a change on the modelled key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Set,
    Invalidate,
    /// A change of the partition's other key, which only takes a position.
    Other,
}

/// Observations of a change from outside. The protocol does not use them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub version: Version,
    pub operation: Operation,
    pub by: Option<usize>,
    pub acknowledged: Option<Age>,
    /// Replicas that answered a Get with it. Used when a failover may lose the change.
    pub read: [bool; REPLICAS],
    /// The first position at which it was answered.
    pub read_at: Option<Version>,
    /// True if Redis lost it in a failover.
    pub lost: bool,
}

/// A value, named by the change that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub version: Version,
    pub value: Change,
}

/// Content of a message on the bus. `change` is for the promises only and is `None` for a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announced {
    pub version: Version,
    pub operation: Operation,
    pub by: usize,
    pub change: Option<Change>,
}

/// A message in flight to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    Changed(Announced),
    Echo { age: Age, position: Version },
}

/// The primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    pub position: Version,
    pub entry: Option<Entry>,
    /// A change that is announced and not yet written. `None` with the safeguard that prevents it.
    pub landing: Option<Option<Entry>>,
    /// The position of this primary when it took over.
    pub prior: Version,
    pub took_over: bool,
    /// Replicas that have repaired the loss of the failover, or are gone.
    pub repaired: [bool; REPLICAS],
    /// True if the settlement no longer waits for replicas that have not repaired.
    pub given_up: bool,
    /// True if it was the primary before another one, and no replica has greeted it since.
    pub returned: bool,
}

/// A replaced primary that has not learned of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replaced {
    pub redis: Redis,
    /// Number of changes until then.
    pub changes: usize,
}

/// A replica's subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Link {
    #[default]
    Up,
    /// The subscription receives nothing more, and the replica does not know it.
    Dead,
    Down,
}

/// An entry in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    pub entry: Entry,
    pub position: Version,
    pub suspect: bool,
}

/// State before Redis was read, compared with the present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FillGuard {
    /// True if the generation is still the same.
    pub stands: bool,
    /// True if a newer change than the answer of Redis was applied since.
    pub overtaken: bool,
}

impl FillGuard {
    pub const NEW: FillGuard = FillGuard { stands: true, overtaken: false };
}

/// A fetch that Redis has answered and whose answer has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    pub position: Version,
    pub entry: Entry,
    pub guard: FillGuard,
    /// `OLD` if later Gets may not join it.
    pub age: Age,
    /// The oldest change that the latest Get which waits for it may see.
    pub owed: Option<Change>,
}

/// An own write that Redis has executed and whose reply has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub change: Change,
    pub version: Version,
    pub guard: FillGuard,
    /// True if the reply is lost and the write will be sent again. Never with the safeguard that
    /// prevents it.
    pub again: bool,
}

/// One replica of the service. A replica that is not modelled in full only writes: the memories of
/// replicas do not affect each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    pub watched: bool,
    pub gone: bool,
    pub link: Link,
    pub queue: Vec<Message>,
    pub synced: bool,
    pub watermark: Version,
    pub proof: Age,
    /// The highest position applied to the key. The key has its own stripe, so that no other key
    /// hides an error.
    pub applied: Version,
    pub memory: Option<Held>,
    pub fetch: Option<Fetch>,
    pub sent: Option<Sent>,
    /// The latest change of the key that this replica acknowledged, received or read. Used by the
    /// repair.
    pub remembered: Version,
    /// The latest change of the key that reached this replica, with any effect.
    pub received: Change,
    /// The latest change of the key that an unflagged answer of this replica has shown.
    pub shown: Change,
    /// The highest epoch that it has seen, if the model follows primaries one after the other.
    pub known: u8,
    /// The last epoch whose start it has repaired.
    pub repaired: u8,
}

/// Number of faults that may still occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Messages, echoes and replies that may be lost.
    pub losses: u8,
    /// Subscriptions that may break.
    pub breaks: u8,
    pub failovers: u8,
    pub flushes: u8,
    pub deaths: u8,
    /// Gets that read Redis on their own, in addition to the fetch that others may join.
    pub reads: u8,
    /// Primaries that may return in their old life after a failover.
    pub returns: u8,
    /// Settlements that may stop waiting for a replica that has not repaired.
    pub abandonments: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub log: Vec<Record>,
    pub redis: Redis,
    pub replicas: [Replica; REPLICAS],
    pub left: Faults,
    /// The previous primary, if it may return.
    pub replaced: Option<Replaced>,
    /// The highest epoch so far, which stands for the clock.
    pub last_epoch: u8,
    /// Replicas that a settlement did not wait for. Changes that only they know of may be lost
    /// elsewhere.
    pub abandoned: [bool; REPLICAS],
    /// The promise that the answer of a fetch has broken.
    pub broken: Option<Promise>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    FreshHere,
    FreshEverywhere,
    NoResurrection,
    Tokens,
    NeverBackwards,
}

/// Protections of the protocol. The model shows that a promise breaks without any one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Safeguard {
    /// A fill or an own write enters memory only if nothing newer was applied meanwhile.
    Fence,
    /// A message out of sequence makes the partition suspect.
    Gap,
    /// An echo proves only the positions in its counter.
    EchoCounters,
    /// The first echo of a subscription makes all earlier entries suspect.
    FirstEcho,
    /// Own messages take effect like any other message.
    OwnMessages,
    /// A proof ends after the bound.
    Audit,
    /// A change is written before it is announced, in one atomic step.
    WriteBeforeAnnounce,
    /// A lost counter starts a new epoch.
    NewEpoch,
    /// A write is sent once.
    SentOnce,
    /// A subscription is trusted only after an echo came through it.
    EchoBeforeTrust,
    /// A change of its key closes a fetch to later Gets.
    FlightCloses,
    /// No entry from before a failover is answered until every replica has repaired.
    RepairAwaited,
    /// A reply from before a failover that this replica has repaired is neither acknowledged nor
    /// answered.
    LateReplies,
    /// A read counts as a known change.
    RememberReads,
    /// A replica answers nothing older than a read has shown.
    Monotonic,
    /// State from before a failover is valid only at a replica that has repaired.
    SettledHere,
    /// A primary behind a position that a replica has seen starts a new epoch.
    Return,
    /// A primary that was replaced and becomes primary again starts a new epoch.
    Term,
}

/// Policy for entries from before a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    Cold,
    Repair,
}
