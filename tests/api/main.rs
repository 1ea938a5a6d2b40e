//! The service from the outside: real replicas, real Redis processes, real faults. One file per topic; `harness` holds the tools.
#![allow(clippy::unwrap_used)]

mod admin;
mod admin_http;
mod admission;
mod barrier;
mod basics;
mod batches;
mod churn;
mod clock_steps;
mod closing;
mod coherence;
mod compressed_messages;
mod compression;
mod conditions;
mod consistency;
mod degraded;
mod errors;
mod expiry;
mod fleet;
// Shared with the fault drills, which use more of it.
#[allow(dead_code, unused_imports)]
mod harness;
mod header_size;
mod health;
mod hostile_redis;
mod invalidation;
mod large_values;
mod leases;
mod metrics;
mod not_grpc;
mod policy;
mod redis_setup;
mod run_time;
mod selectors;
mod self_audit;
mod server;
mod shutdown;
mod stats;
mod takeover;
mod tokens;
mod tombstone_budget;
mod touch;
mod waiting;
mod warm_start;
mod watch;
mod watched_cache;
