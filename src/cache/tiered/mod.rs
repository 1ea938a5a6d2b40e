//! The two-tier cache: all operations on entries, over L1, L2 and the coherence protocol.

mod batch;
mod cache;
mod get_with_lease;
mod inspect;
mod invalidate;
mod l1_only;
mod lease;
mod set;
mod sliding;
mod touch;
mod types;

pub use batch::{GetMany, InvalidateMany, Many, SetMany};
pub use cache::{Tiered, TieredConfig};
pub use inspect::{Inspection, L1Entry, Verdict};
pub use lease::{Release, Released};
pub use set::{Barrier, Invalidate, Invalidated, Set, SetAnswer, SetOutcome, Target};
pub use touch::{TouchAnswer, TouchOutcome};
pub use types::{Consistency, Get, GetAnswer, GetOutcome, Miss, Stale, StaleReason, Tier};
