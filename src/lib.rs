//! twintier: a two-tier cache as a gRPC service. An in-memory L1 in every replica, a Redis L2, and
//! messages that keep the L1s coherent within a stated bound.
//!
//! ```text
//!                         main.rs                      clap: serve | get | set | invalidate | stats | health | config
//!                            │
//!                         app.rs ── shutdown.rs        composition root: the only file that names the concrete parts
//!      ┌──────┬──────┬───────┼───────┬────────┐
//!   config/ grpc/  cli/  backend/  admin/  telemetry/     edges: none imports another edge
//!      └──────┴──────┴───────┼───────┴────────┘
//!                          cache/                      the core: knows no transport, no Redis, no memory library
//! ```
//!
//! `reload/` belongs to the composition root: it applies a changed configuration. `tls/` holds certificates
//! and handshakes for the same servers.
//!
//! `net/` accepts and closes connections over TCP and unix sockets for the servers of `grpc/` and
//! `admin/`; it knows no other module but `sync`, the locks. `pb` holds the generated types of the contract, for `grpc/` and `cli/`; `units`
//! formats durations and sizes, `suggest` finds the name that a misspelt one means.
//! `tests/layering.rs` holds this picture.
//!
//! To find how a Get is answered read, in this order: `main.rs`, [`app`], `grpc/service.rs`,
//! [`cache::tiered`], then [`cache::coherence`] for what may be answered from memory and what may
//! enter it; its `apply_message.rs` applies messages.

pub mod admin;
mod announce;
pub mod app;
pub mod auth;
pub mod backend;
pub mod cache;
mod cache_parts;
pub mod check_files;
pub mod cli;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grpc;
pub mod net;
pub mod pb;
pub mod reload;
pub mod shutdown;
mod start_error;
pub mod suggest;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod units;
