//! Drills: real faults under load, held against the promise by a checker that knows nothing of the service but what clients were answered.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

mod checker;
mod drill;
mod drills;
#[path = "../api/harness/mod.rs"]
mod harness;
mod history;
mod load;
#[cfg(feature = "drills")]
mod switches;
