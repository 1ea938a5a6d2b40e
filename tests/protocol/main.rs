//! Model check of the protocol's rules in every interleaving.
//!
//! docs/consistency.md describes the rules. With all of them the promises hold. Without any one of
//! them the explorer finds a counterexample.
#![allow(clippy::unwrap_used, missing_docs)]

mod promises;
mod rules;
mod steps;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use rules::Rules;
use steps::{Bounds, Protocol};
use world::{Faults, Policy, Protection};

/// Explores all states, or until a promise is broken.
fn explore(rules: Rules, bounds: Bounds) -> impl Checker<Protocol> {
    let begun = Instant::now();
    let checker =
        Protocol { rules, bounds }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let without = rules.off.map_or(String::new(), |off| format!(" without {off:?}"));
    println!("{:?}{without}: {} states in {:.1?}", rules.policy, checker.unique_state_count(), begun.elapsed());
    checker
}

fn rules(policy: Policy, off: Option<Protection>) -> Rules {
    Rules { policy, off, named: off != Some(Protection::Return), epochs_go_back: false }
}

fn holds(policy: Policy, bounds: Bounds) {
    let checker = explore(rules(policy, None), bounds);
    checker.assert_properties();
    assert!(checker.is_done() && checker.unique_state_count() > 1000, "there was nothing to see");
}

/// Prints a counterexample without `protection`.
fn misses(policy: Policy, protection: Protection, bounds: Bounds) {
    let checker = explore(rules(policy, Some(protection)), bounds);
    let path = checker.discoveries().into_values().next().expect("nothing broke");
    let broken = path.last_state().breaks(checker.model().rules).unwrap();
    println!("{broken:?} broke: {:?}", path.into_actions());
}

const NONE: Faults =
    Faults { losses: 0, breaks: 0, failovers: 0, flushes: 0, deaths: 0, returns: 0, impatience: 0, reads: 0 };
const CALM: Bounds = Bounds { writes: 2, watched: 1, faults: NONE };
const LOSS: Bounds = Bounds { faults: Faults { losses: 1, ..CALM.faults }, ..CALM };
const BREAK: Bounds = Bounds { faults: Faults { breaks: 1, ..CALM.faults }, ..CALM };
const FAILOVER: Bounds = Bounds { faults: Faults { failovers: 1, ..CALM.faults }, ..CALM };
const RETURN: Bounds = Bounds { writes: 1, faults: Faults { returns: 1, ..FAILOVER.faults }, ..FAILOVER };
const IMPATIENCE: Bounds = Bounds { writes: 1, faults: Faults { impatience: 1, ..FAILOVER.faults }, ..FAILOVER };
const READ: Bounds = Bounds { faults: Faults { reads: 1, ..CALM.faults }, ..CALM };
const READ_IN_A_BREAK: Bounds = Bounds { writes: 1, faults: Faults { reads: 1, ..BREAK.faults }, ..BREAK };
const READ_AND_FAILOVER: Bounds = Bounds { writes: 1, faults: Faults { reads: 1, ..FAILOVER.faults }, ..FAILOVER };
const FLUSH: Bounds = Bounds { faults: Faults { flushes: 1, ..CALM.faults }, ..CALM };

// === with every protection ===

#[test]
fn calm() {
    holds(Policy::Cold, CALM);
}

#[test]
fn two_memories() {
    holds(Policy::Cold, Bounds { writes: 1, watched: 2, ..CALM });
}

#[test]
fn a_loss() {
    holds(Policy::Cold, LOSS);
}

#[test]
fn a_break() {
    holds(Policy::Cold, BREAK);
}

#[test]
fn a_read() {
    holds(Policy::Cold, READ);
}

#[test]
fn a_read_and_a_loss() {
    holds(Policy::Cold, Bounds { writes: 1, faults: Faults { reads: 1, ..LOSS.faults }, ..LOSS });
}

#[test]
fn a_read_in_a_break() {
    holds(Policy::Cold, READ_IN_A_BREAK);
}

#[test]
fn a_failover_and_cold() {
    holds(Policy::Cold, FAILOVER);
}

#[test]
fn a_failover_and_repair() {
    holds(Policy::Repair, READ_AND_FAILOVER);
}

#[test]
fn a_failover_and_repair_and_a_death() {
    holds(Policy::Repair, Bounds { faults: Faults { deaths: 1, ..READ_AND_FAILOVER.faults }, ..READ_AND_FAILOVER });
}

#[test]
fn a_failover_and_a_replica_that_is_not_waited_for() {
    holds(Policy::Repair, IMPATIENCE);
}

#[test]
fn a_life_that_comes_back_and_repair() {
    holds(Policy::Repair, RETURN);
}

#[test]
fn a_life_that_comes_back_and_cold() {
    holds(Policy::Cold, RETURN);
}

#[test]
fn a_life_that_comes_back_where_nobody_names_it() {
    let rules = Rules { named: false, ..rules(Policy::Repair, None) };
    explore(rules, RETURN).assert_properties();
}

#[test]
fn a_flush() {
    holds(Policy::Cold, FLUSH);
}

#[test]
fn a_flush_and_the_clock_goes_back() {
    let rules = Rules { epochs_go_back: true, ..rules(Policy::Cold, None) };
    explore(rules, Bounds { writes: 1, faults: Faults { breaks: 1, ..FLUSH.faults }, ..FLUSH }).assert_properties();
}

// === without one protection ===

macro_rules! missed {
    ($($name:ident: $policy:ident without $protection:ident under $bounds:expr;)*) => {
        $(#[test]
        fn $name() {
            misses(Policy::$policy, Protection::$protection, $bounds);
        })*
    };
}

missed! {
    without_fence: Cold without Fence under CALM;
    without_gap: Cold without Gap under LOSS;
    without_echo_counters: Cold without EchoCounters under LOSS;
    without_first_echo: Cold without FirstEcho under BREAK;
    without_own_messages: Cold without OwnMessages under LOSS;
    without_the_end_of_a_proof: Cold without Audit under CALM;
    announced_before_written: Cold without WriteBeforeAnnounce under CALM;
    without_new_epoch: Cold without NewEpoch under FLUSH;
    sent_again: Cold without SentOnce under LOSS;
    trusted_without_echo: Cold without EchoBeforeTrust under BREAK;
    flights_stay_open: Cold without FlightCloses under CALM;
    repair_not_awaited: Repair without RepairAwaited under FAILOVER;
    late_replies_count: Repair without LateReplies under FAILOVER;
    an_older_entry_stays: Cold without Monotonic under READ_IN_A_BREAK;
    an_older_fetch_counts: Cold without Monotonic under READ;
    settled_elsewhere_only: Repair without SettledHere under IMPATIENCE;
    a_life_that_comes_back_is_taken_for_the_same: Repair without Return under RETURN;
    the_same_with_cold: Cold without Return under RETURN;
    a_primary_that_is_named_again_is_taken_for_the_same: Repair without Term under RETURN;
    reads_are_not_remembered: Repair without RememberReads under FAILOVER;
}
