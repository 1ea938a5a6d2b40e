//! State of the model: one partition, two replicas, one Redis, and the history.
//!
//! Keys of a partition meet on its number line only, so that it is enough to watch one of two,
//! whichever it is: to change both is to change that one. Replicas meet in Redis only: it is enough
//! to follow the memory of one while both write; a smaller run follows both. What only ever matters
//! by comparison is kept as its outcome, so that there are few states: of a moment its age, up to
//! the bound; of a generation whether it still stands; of the highest position applied whether it
//! has overtaken a fill. Steps that nothing can come between, or that only widen a window which
//! another step has already, are one.

/// Replicas of the service.
pub const REPLICAS: usize = 2;
/// The staleness bound, in ticks. There is no end of ticks.
pub const BOUND: Age = 1;
/// Older than the bound: how much older does not matter.
pub const OLD: Age = BOUND + 1;
/// The epoch at the start: not the lowest, so that a clock may go back.
pub const FIRST_EPOCH: u8 = 2;

/// Ticks since something happened, up to `OLD`.
pub type Age = u8;

/// A position on the partition's number line.
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

/// A write or invalidation, by its place in the order in which Redis carried them out first.
pub type Change = usize;

/// What a change does to the key that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Set,
    Invalidate,
    /// It changes the partition's other key, and only takes a place on the number line.
    Other,
}

/// What is known of a change from outside: nothing the protocol looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub version: Version,
    pub operation: Operation,
    pub by: Option<usize>,
    pub acknowledged: Option<Age>,
    /// Some replica answered a Get with it: looked at when a failover may lose it.
    pub read: [bool; REPLICAS],
    /// The first position at which it was answered.
    pub read_at: Option<Version>,
    /// Redis lost it in a failover.
    pub lost: bool,
}

/// A value, named by the change that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub version: Version,
    pub value: Change,
}

/// What a change carries over the bus. `change` is for the promises only; a repair's is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announced {
    pub version: Version,
    pub operation: Operation,
    pub by: usize,
    pub change: Option<Change>,
}

/// What is on its way through a subscription.
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
    /// Announced and not yet written: only without the protection that forbids it.
    pub landing: Option<Option<Entry>>,
    /// The position this primary held when it took over.
    pub prior: Version,
    pub took_over: bool,
    /// Replicas that have repaired what the failover lost, or are gone.
    pub repaired: [bool; REPLICAS],
    /// Nobody waits any more for those that have not.
    pub given_up: bool,
    /// It was the primary before another one, and nobody has greeted it since.
    pub returned: bool,
}

/// A primary that was replaced, and has not heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replaced {
    pub redis: Redis,
    /// Changes until then.
    pub changes: usize,
}

/// A replica's subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Link {
    #[default]
    Up,
    /// Nothing is published to it any more, and the replica does not know.
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

/// What was known before Redis was asked, as it compares with what is known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// It is still the same generation.
    pub stands: bool,
    /// Something newer than what Redis answered was applied since.
    pub overtaken: bool,
}

impl Note {
    pub const NEW: Note = Note { stands: true, overtaken: false };
}

/// A fetch that Redis has answered and whose answer has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    pub position: Version,
    pub entry: Entry,
    pub note: Note,
    /// `OLD` when it is closed to later Gets.
    pub age: Age,
    /// What the latest Get that waits for it must not be older than.
    pub owed: Option<Change>,
}

/// An own write that Redis has taken and whose reply has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub change: Change,
    pub version: Version,
    pub note: Note,
    /// The reply is lost, and the write will be sent again: only without the protection that
    /// forbids it.
    pub again: bool,
}

/// One replica of the service. One that is not watched only writes: no replica's memory touches
/// another's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    pub watched: bool,
    pub gone: bool,
    pub link: Link,
    pub queue: Vec<Message>,
    pub synced: bool,
    pub watermark: Version,
    pub proof: Age,
    /// The highest position applied to the key: it has a stripe of its own, so that no other key
    /// hides what is wrong with it.
    pub applied: Version,
    pub memory: Option<Held>,
    pub fetch: Option<Fetch>,
    pub sent: Option<Sent>,
    /// The latest change of the key that this replica acknowledged, heard of or read: for the
    /// repair.
    pub remembered: Version,
    /// The latest change of the key that was brought to this replica, whatever it made of it.
    pub heard: Change,
    /// The latest change of the key that an unflagged answer of this replica has shown.
    pub shown: Change,
    /// The highest epoch that it has seen, where only one primary after the other is looked at.
    pub known: u8,
    /// The last epoch whose beginning it has repaired.
    pub repaired: u8,
}

/// Faults that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Messages, echoes and replies that may be lost.
    pub losses: u8,
    /// Subscriptions that may break.
    pub breaks: u8,
    pub failovers: u8,
    pub flushes: u8,
    pub deaths: u8,
    /// Gets that ask Redis, each for itself, beside the one that others may join.
    pub reads: u8,
    /// Primaries that come back in the life they had before a failover.
    pub returns: u8,
    /// Settlements in which a replica that has not repaired is not waited for any longer.
    pub impatience: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub log: Vec<Record>,
    pub redis: Redis,
    pub replicas: [Replica; REPLICAS],
    pub left: Faults,
    /// The primary before this one, if it may come back.
    pub replaced: Option<Replaced>,
    /// The highest epoch that has begun: the clock.
    pub last_epoch: u8,
    /// Replicas that a settlement did not wait for. What only they know of may be lost elsewhere.
    pub abandoned: [bool; REPLICAS],
    /// The promise that an answer brought by a fetch has broken.
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

/// What the model can do without, to show that it would be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// A fill or an own write enters memory only if nothing newer was applied meanwhile.
    Fence,
    /// A message that is not next in line makes the partition suspect.
    Gap,
    /// An echo proves only what stands at its counter.
    EchoCounters,
    /// The first echo of a subscription makes everything from before it suspect.
    FirstEcho,
    /// Own messages take effect like any other.
    OwnMessages,
    /// A proof ends after the bound.
    Audit,
    /// A change is written before it is announced: one atomic step.
    WriteBeforeAnnounce,
    /// A counter that is gone begins a new epoch.
    NewEpoch,
    /// A write is sent once.
    SentOnce,
    /// A subscription is trusted only after an echo came through it.
    EchoBeforeTrust,
    /// A fetch is closed to later Gets by what is applied to its key.
    FlightCloses,
    /// Nothing from before a failover is answered until every replica has repaired.
    RepairAwaited,
    /// A reply from before a failover that this replica has repaired is neither acknowledged nor
    /// answered.
    LateReplies,
    /// What a replica read counts as a change it knows of.
    RememberReads,
    /// After a read has shown something, nothing older is answered.
    Monotonic,
    /// What counts from before a failover counts only at a replica that has repaired itself.
    SettledHere,
    /// A primary that stands before what a replica has seen begins a new epoch.
    Return,
    /// A primary that was replaced, and is named again, begins a new epoch.
    Term,
}

/// What becomes of entries from before a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    Cold,
    Repair,
}
