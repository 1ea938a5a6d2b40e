//! Keeps memory coherent: decides what may enter it and what may be answered from it as fresh. Follows the bus; knows no transport.
//!
//! Three rules carry the bound on staleness. A message next in line removes what it names, any other makes its partition suspect
//! (`apply`). What was read before a change was heard of does not enter memory after it (`admit`). Memory answers as fresh only
//! while an audit, echoed through the subscription itself, proves that nothing was missed (`echo`, `judge`).

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
pub use sweep::MAX_VISITED_FOR_ROOM;
