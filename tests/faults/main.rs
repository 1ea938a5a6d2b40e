//! Drills: real faults under load, held against the promise by a checker that knows nothing of the service but what clients were answered.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

mod checker;
mod history;
