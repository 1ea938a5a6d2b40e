//! The replicas of a deployment: the values they share, run-time policies, warm start, health and
//! report.

pub mod health;
pub mod hot_key_list;
pub mod policy_sync;
pub mod readiness;
pub mod replica;
pub mod report;
pub mod shared_store;
pub mod warm_start;
mod warm_start_context;
pub mod warm_start_load;
