//! The two-tier cache: all operations on entries, over L1, L2 and the coherence protocol.

mod backing;
mod barrier;
mod batch;
mod cache;
mod deadlines;
mod fetch;
mod get;
mod get_with_lease;
mod inspect;
mod invalidate;
mod invalidate_all;
mod l1_only;
mod l2_quota;
mod lease;
mod lookup;
mod replica_parts;
mod round_wait;
mod scan;
mod set;
mod shared_tier;
mod sliding;
mod standalone;
mod touch;
mod types;
mod uninterrupted;

pub use batch::{GetMany, InvalidateMany, Many, SetMany};
pub use cache::{Tiered, TieredConfig};
pub use inspect::{Inspection, L1Entry, Verdict};
pub use lease::{Release, Released};
pub use touch::{TouchAnswer, TouchOutcome};
pub use types::{
    Barrier, Consistency, Get, GetAnswer, GetOutcome, Invalidate, Invalidated, Miss, Set, SetAnswer, SetOutcome, Stale,
    StaleReason, Target, Tier,
};
