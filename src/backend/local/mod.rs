//! The number line of a service that runs with no Redis: entries live in this replica's L1 and nowhere else.
//!
//! A write is one step under its partition's lock: condition, sequence, announcement to coherence, insert. The announcement comes first, so
//! that the insert is the newest thing memory has heard of. Nothing else inserts here, so the partition's lock stands for the fence's stripe.

mod partition;
mod sequencer;
mod sweep;

pub use sequencer::Local;
