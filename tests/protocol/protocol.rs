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
use world::{Faults, Policy, Safeguard};

/// Explores all states, or until a promise is broken.
fn explore(rules: Rules, bounds: Bounds) -> impl Checker<Protocol> {
    let begun = Instant::now();
    let checker =
        Protocol { rules, bounds }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let without = rules.off.map_or(String::new(), |off| format!(" without {off:?}"));
    println!("{:?}{without}: {} states in {:.1?}", rules.policy, checker.unique_state_count(), begun.elapsed());
    checker
}

fn rules(policy: Policy, off: Option<Safeguard>) -> Rules {
    Rules { policy, off, named: off != Some(Safeguard::Return), epochs_go_back: false }
}

fn holds(policy: Policy, bounds: Bounds) {
    let checker = explore(rules(policy, None), bounds);
    checker.assert_properties();
    assert!(checker.is_done() && checker.unique_state_count() > 1000, "too few states were explored");
}

/// Prints a counterexample without `safeguard`.
fn finds_counterexample(policy: Policy, safeguard: Safeguard, bounds: Bounds) {
    let checker = explore(rules(policy, Some(safeguard)), bounds);
    let path = checker.discoveries().into_values().next().expect("nothing broke");
    let broken = path.last_state().breaks(checker.model().rules).unwrap();
    println!("{broken:?} broke: {:?}", path.into_actions());
}

const NONE: Faults =
    Faults { losses: 0, breaks: 0, failovers: 0, flushes: 0, deaths: 0, returns: 0, abandonments: 0, reads: 0 };
const CALM: Bounds = Bounds { writes: 2, watched: 1, faults: NONE };
const LOSS: Bounds = Bounds { faults: Faults { losses: 1, ..CALM.faults }, ..CALM };
const BREAK: Bounds = Bounds { faults: Faults { breaks: 1, ..CALM.faults }, ..CALM };
const FAILOVER: Bounds = Bounds { faults: Faults { failovers: 1, ..CALM.faults }, ..CALM };
const RETURN: Bounds = Bounds { writes: 1, faults: Faults { returns: 1, ..FAILOVER.faults }, ..FAILOVER };
const ABANDONMENT: Bounds = Bounds { writes: 1, faults: Faults { abandonments: 1, ..FAILOVER.faults }, ..FAILOVER };
const READ: Bounds = Bounds { faults: Faults { reads: 1, ..CALM.faults }, ..CALM };
const READ_IN_A_BREAK: Bounds = Bounds { writes: 1, faults: Faults { reads: 1, ..BREAK.faults }, ..BREAK };
const READ_AND_FAILOVER: Bounds = Bounds { writes: 1, faults: Faults { reads: 1, ..FAILOVER.faults }, ..FAILOVER };
const FLUSH: Bounds = Bounds { faults: Faults { flushes: 1, ..CALM.faults }, ..CALM };

// === with every safeguard ===

#[test]
fn the_promises_hold_without_faults() {
    holds(Policy::Cold, CALM);
}

#[test]
fn the_promises_hold_in_two_memories() {
    holds(Policy::Cold, Bounds { writes: 1, watched: 2, ..CALM });
}

#[test]
fn the_promises_hold_with_a_lost_message() {
    holds(Policy::Cold, LOSS);
}

#[test]
fn the_promises_hold_with_a_broken_subscription() {
    holds(Policy::Cold, BREAK);
}

#[test]
fn the_promises_hold_with_a_direct_read() {
    holds(Policy::Cold, READ);
}

#[test]
fn the_promises_hold_with_a_read_and_a_lost_message() {
    holds(Policy::Cold, Bounds { writes: 1, faults: Faults { reads: 1, ..LOSS.faults }, ..LOSS });
}

#[test]
fn the_promises_hold_with_a_read_and_a_broken_subscription() {
    holds(Policy::Cold, READ_IN_A_BREAK);
}

#[test]
fn the_promises_hold_after_a_failover_with_cold() {
    holds(Policy::Cold, FAILOVER);
}

#[test]
fn the_promises_hold_after_a_failover_with_repair() {
    holds(Policy::Repair, READ_AND_FAILOVER);
}

#[test]
fn the_promises_hold_after_a_failover_and_a_replica_death() {
    holds(Policy::Repair, Bounds { faults: Faults { deaths: 1, ..READ_AND_FAILOVER.faults }, ..READ_AND_FAILOVER });
}

#[test]
fn the_promises_hold_if_a_settlement_stops_waiting() {
    holds(Policy::Repair, ABANDONMENT);
}

#[test]
fn the_promises_hold_if_a_primary_returns_with_repair() {
    holds(Policy::Repair, RETURN);
}

#[test]
fn the_promises_hold_if_a_primary_returns_with_cold() {
    holds(Policy::Cold, RETURN);
}

#[test]
fn the_promises_hold_if_a_primary_returns_unnamed() {
    let rules = Rules { named: false, ..rules(Policy::Repair, None) };
    explore(rules, RETURN).assert_properties();
}

#[test]
fn the_promises_hold_after_a_flush() {
    holds(Policy::Cold, FLUSH);
}

#[test]
fn the_promises_hold_after_a_flush_with_an_earlier_clock() {
    let rules = Rules { epochs_go_back: true, ..rules(Policy::Cold, None) };
    explore(rules, Bounds { writes: 1, faults: Faults { breaks: 1, ..FLUSH.faults }, ..FLUSH }).assert_properties();
}

// === without one safeguard ===

macro_rules! missed {
    ($($name:ident: $policy:ident without $safeguard:ident under $bounds:expr;)*) => {
        $(#[test]
        fn $name() {
            finds_counterexample(Policy::$policy, Safeguard::$safeguard, $bounds);
        })*
    };
}

missed! {
    without_fence: Cold without Fence under CALM;
    without_gap: Cold without Gap under LOSS;
    without_echo_counters: Cold without EchoCounters under LOSS;
    without_first_echo: Cold without FirstEcho under BREAK;
    without_own_messages: Cold without OwnMessages under LOSS;
    without_an_end_of_proofs: Cold without Audit under CALM;
    without_write_before_announce: Cold without WriteBeforeAnnounce under CALM;
    without_new_epoch: Cold without NewEpoch under FLUSH;
    without_sent_once: Cold without SentOnce under LOSS;
    without_echo_before_trust: Cold without EchoBeforeTrust under BREAK;
    without_closing_fetches: Cold without FlightCloses under CALM;
    without_awaiting_repair: Repair without RepairAwaited under FAILOVER;
    without_refusing_late_replies: Repair without LateReplies under FAILOVER;
    without_dropping_older_entries: Cold without Monotonic under READ_IN_A_BREAK;
    without_refusing_older_fetches: Cold without Monotonic under READ;
    without_local_settlement: Repair without SettledHere under ABANDONMENT;
    without_detecting_a_returning_primary: Repair without Return under RETURN;
    without_detecting_a_returning_primary_with_cold: Cold without Return under RETURN;
    without_detecting_a_primary_named_again: Repair without Term under RETURN;
    without_remembering_reads: Repair without RememberReads under FAILOVER;
}
