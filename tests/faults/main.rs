//! Drills: real faults under load. A checker decides from the clients' history alone.
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

mod balanced;
mod batches;
mod checker;
mod clock;
mod drill;
mod drills;
#[path = "../api/harness/mod.rs"]
mod harness;
mod herd;
mod history;
mod hostile;
mod load;
mod moved;
mod processes;
mod report;
mod rollout;
mod sentinel;
mod sharded;
#[cfg(feature = "drills")]
mod switches;

/// The last test by name: with one thread it runs after every drill.
#[cfg(feature = "drills")]
#[test]
fn zz_the_drills_check_enough_operations() {
    let demanded = std::env::var("DRILL_OPERATIONS").map_or(1, |text| text.parse().unwrap());
    let operations = report::total();
    assert!(operations >= demanded, "{operations} operations of at least {demanded}");
}
