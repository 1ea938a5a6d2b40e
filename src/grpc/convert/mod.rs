//! Translation between messages of the contract and types of the core.
//!
//! An error reports every broken rule of a request, not only the first.

mod admin;
mod batch;
mod export;
mod get;
mod invalidate;
mod invalidate_scope;
mod policy;
mod release;
mod set;
mod touch;
mod validator;
mod watch;

pub use admin::{hot_keys, hot_keys_response, inspect, inspect_response, log_level, stats};
pub use batch::{
    ParsedBatchGet, batch_get, batch_invalidate, batch_invalidate_response, batch_set, batch_set_response,
};
pub use export::{ExportCursor, ParsedExport, export, exported_entry};
#[cfg(test)]
pub use get::{FoundEntry, found};
pub use get::{default_consistency, get, get_response, miss_reason, stale_reason, tier_of};
pub use invalidate::{InvalidationPlan, invalidate, invalidate_response};
pub use policy::{in_policy, listed_namespaces, namespace_policy, policy_text, service_policy, set_policy};
pub use release::{release, release_response};
pub use set::{outcome as set_outcome, set, set_response};
pub use touch::{touch, touch_response};
pub use validator::{RequestContext, timestamp, to_wire, token_text};
pub use watch::{watch_response, watching};
