//! Coherence of L1: decides what may enter L1, and what L1 may answer as fresh.
//!
//! Follows the bus; knows no transport. Three rules carry the bound on staleness:
//!
//! 1. A message that is next in sequence removes what it names. Any other makes its partition
//!    unproven (`apply`).
//! 2. A value that was read before a change was applied does not enter L1 after it (`admit`).
//! 3. L1 answers as fresh only while an audit, echoed through the subscription itself, proves that
//!    no message was missed (`echo`, `freshness`).

mod apply_change;
mod apply_message;
mod audit;
mod change_log;
mod coherence;
mod failover;
pub mod failover_repair;
mod fence;
mod fill;
mod freshness;
mod own_writes;
mod partition;
pub mod safeguards;
pub mod self_audit;
mod sweep;
mod sweep_queue;
pub mod watch;

pub use audit::AUDITS_PER_BOUND;
pub use change_log::Lost;
pub use coherence::{Coherence, CoherenceConfig, Proofs};
pub use failover::PendingFailover;
pub use fence::FillGuard;
pub use fill::{FetchSlot, StartedFetch, cached_entry};
pub use freshness::{Freshness, SubscriptionPosition};
pub use partition::ShownPosition;
