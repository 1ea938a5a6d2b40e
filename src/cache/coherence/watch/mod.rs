//! Watches: whoever follows one is told of every change, in the order of its partition, or that changes may have been missed. Changes that
//! wait for a watcher are bounded; the way of messages never waits for one.

pub mod filter;
pub mod queue;
pub(super) mod registry;
mod stream;

pub use queue::{ChangeScope, Discontinuity, WatchedChange};
pub use registry::Watches;
pub use stream::{Event, Watch, Watching};
