//! The service from the outside: real replicas, real Redis processes, real faults. One file per topic; `harness` holds the tools.
#![allow(clippy::unwrap_used)]

mod basics;
mod conditions;
mod consistency;
mod expiry;
mod harness;
mod invalidation;
mod tokens;
