//! Store of a replica without Redis: entries live in its L1 and nowhere else.
//!
//! A write is one step under its partition's lock: condition, sequence, announcement to coherence,
//! insert. The announcement comes first, so that the insert is newer than every change that L1
//! knows of. Nothing else inserts here, so the partition's lock replaces the fence's stripe.

mod entries;
mod leases;
mod partition;
mod sequencer;
mod sweep;
mod write;

pub use sequencer::Local;
