//! Watches: streams of all changes, in the order of each partition.
//!
//! A watch receives every change, or a discontinuity if changes may have been missed. The queue of
//! a watch is bounded; applying messages never waits for it.

pub mod filter;
pub mod queue;
pub(super) mod registry;
mod stream;

pub use queue::{ChangeScope, Discontinuity, WatchedChange};
pub use registry::Watches;
pub use stream::{Event, Watch, Watching};
