//! Each rule of the protocol with the interleaving that it guards against.
//!
//! A scenario returns whether the promise held. With the safeguard that carries it switched off, the
//! same scenario must return false.

use bytes::Bytes;

use super::*;
use crate::cache::clock::ManualClock;
use crate::cache::coherence::safeguards::{Safeguard, Safeguards};
use crate::cache::coherence::*;
use crate::cache::entry::Tags;
use crate::cache::invalidation::selector::Selector;
use crate::cache::testing::{ALL, BOUND, Bench, EPOCH};
use crate::cache::tier::bus::{BusSink as _, Change, Echo, Effect, Message};
use crate::cache::version::Version;

impl Bench {
    fn message(&self, sequence: u64, key: &str) {
        self.deliver(Version::new(EPOCH, sequence), key, false);
    }

    fn deliver(&self, version: Version, key: &str, own: bool) {
        let change = Change::of_keys(Effect::Set, &[self.key(key)]);
        self.coherence.apply(Message { partition: 0, version, change, own });
    }

    fn echo_at(&self, nonce: u64, position: Version) {
        self.coherence.echo(nonce, Echo { positions: vec![(0, position)] });
    }

    /// Sends and echoes an audit that finds the counter at `sequence`.
    fn audit(&self, sequence: u64) {
        let nonce = self.coherence.audit_begins(&ALL);
        self.echo_at(nonce, Version::new(EPOCH, sequence));
    }

    /// Builds a subscription at `sequence`.
    fn subscribed(safeguards: Safeguards, sequence: u64) -> Bench {
        let bench = Bench::new(safeguards);
        bench.audit(sequence);
        bench
    }

    /// Fills `key` with `sequence`, with nothing in between.
    fn fill(&self, key: &str, sequence: u64) -> bool {
        let key = self.key(key);
        let note = self.coherence.begin_fill(key.as_ref());
        self.coherence.admit(&key, &self.read(sequence, sequence, note), note)
    }

    /// Returns the sequence that L1 would answer as fresh, if any.
    fn fresh(&self, key: &str) -> Option<u64> {
        let key = self.key(key);
        let proof = self.coherence.proof(0);
        let held = self.l1.get(key.as_ref())?;
        match self.coherence.freshness(key.as_ref(), &held, proof, BOUND, self.now()) {
            Freshness::Fresh => Some(held.entry.version.sequence),
            Freshness::Unproven(_) | Freshness::Invalidated => None,
        }
    }

    fn advance(&self, millis: u64) {
        ManualClock::advance(&self.clock, Duration::from_millis(millis));
    }
}

/// Asserts that the promise holds with all safeguards, and breaks without `safeguard`.
fn guarded(safeguard: Safeguard, scenario: impl Fn(Safeguards) -> bool) {
    assert!(scenario(Safeguards::default()), "the promise is broken with every safeguard on");
    assert!(!scenario(Safeguards::without(safeguard)), "{safeguard:?} is off and the scenario did not notice");
}

// === the fence ===

#[test]
fn a_fill_enters_l1_when_nothing_happened_meanwhile() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    assert!(bench.fill("k", 3));
    assert_eq!(bench.fresh("k"), Some(3));
}

#[test]
fn an_invalidate_beats_the_fill_in_flight() {
    guarded(Safeguard::Fence, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        let read = bench.read(3, 5, note);
        bench.message(6, "k");
        bench.coherence.admit(&key, &read, note);
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_own_write_beats_the_fill_in_flight() {
    guarded(Safeguard::Fence, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        let read = bench.read(3, 5, note);
        bench.coherence.apply_own_change(&key, Version::new(EPOCH, 6), Effect::Removed);
        bench.coherence.admit(&key, &read, note);
        bench.fresh("k").is_none()
    });
}

#[test]
fn a_fill_begun_after_an_invalidation_enters_though_its_version_is_older() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.message(6, "k");
    // Another key of the same stripe, or an earlier Set of this one: what was applied since the
    // fill began counts.
    assert!(bench.fill("k", 3));
}

#[test]
fn a_late_reply_of_an_own_set_does_not_replace_a_newer_write() {
    guarded(Safeguard::Fence, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        bench.deliver(Version::new(EPOCH, 6), "k", true);
        bench.message(7, "k");
        bench.coherence.apply_own_set(&key, Version::new(EPOCH, 6), &bench.read(6, 6, note), note);
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_own_write_that_does_not_enter_still_removes_the_older_entry() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let key = bench.key("k");
    bench.coherence.apply_own_change(&key, Version::new(EPOCH, 6), Effect::Removed);
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn an_own_set_is_readable_at_once_and_survives_its_message() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    bench.coherence.apply_own_set(&key, Version::new(EPOCH, 6), &bench.read(6, 6, note), note);
    assert_eq!(bench.fresh("k"), Some(6));
    bench.deliver(Version::new(EPOCH, 6), "k", true);
    assert_eq!(bench.fresh("k"), Some(6));
}

#[test]
fn an_own_set_takes_effect_by_its_message_when_its_reply_is_lost() {
    guarded(Safeguard::OwnMessages, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        bench.deliver(Version::new(EPOCH, 6), "k", true);
        bench.fresh("k").is_none()
    });
}

#[test]
fn a_reply_of_another_epoch_does_not_enter() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    let mut read = Arc::into_inner(bench.read(3, 5, note)).expect("one owner");
    read.position = Version::new(EPOCH + 1, 5);
    assert!(!bench.coherence.admit(&key, &Arc::new(read), note));
}

// === what a read has shown ===

impl Bench {
    /// Reads `key` now.
    fn reads(&self, key: &str, sequence: u64) -> bool {
        let key = self.key(key);
        let note = self.coherence.begin_fill(key.as_ref());
        self.coherence.admit(&key, &self.read(sequence, sequence, note), note)
    }
}

#[test]
fn a_read_removes_the_older_entry_without_a_subscription() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        bench.coherence.disconnected(&ALL);
        assert_eq!(bench.fresh("k"), Some(3), "its proof still stands");
        assert!(!bench.reads("k", 7));
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_absence_removes_an_earlier_entry_and_no_later_one() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let key = bench.key("k");
        bench.fill("k", 3);
        bench.coherence.observe_read(&key, Version::new(EPOCH, 2), None);
        assert_eq!(bench.fresh("k"), Some(3), "it may have been written after the absence");
        bench.coherence.observe_read(&key, Version::new(EPOCH, 6), None);
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_absence_without_a_counter_removes_entries_of_the_last_one() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.coherence.observe_read(&bench.key("k"), Version::ZERO, None);
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn a_read_of_a_marked_or_shortened_entry_limits_the_one_in_l1() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.coherence.disconnected(&ALL);
    let key = bench.key("k");
    let held = || bench.l1.get(key.as_ref()).expect("it is there");
    let ends = bench.now().plus(BOUND);
    let shorter = Entry { expires_at: ends, kept_until: ends, ..held().entry.clone() };
    bench.coherence.observe_read(&key, Version::new(EPOCH, 6), Some(&shorter));
    assert_eq!((held().entry.expires_at, held().entry.lives(bench.now())), (ends, true));
    let marked = Entry { stale_window: BOUND, ..held().entry.clone() };
    let marked = marked.with(|details| details.marked_at = Some(bench.now()));
    bench.coherence.observe_read(&key, Version::new(EPOCH, 7), Some(&marked));
    assert!(!held().entry.lives(bench.now()), "it is kept, to be answered flagged");
    bench.coherence.observe_read(&key, Version::new(EPOCH, 7), Some(&Entry { stale_window: Duration::ZERO, ..marked }));
    assert!(bench.l1.get(key.as_ref()).is_none());
}

#[test]
fn a_mark_is_at_least_as_old_as_the_delay_of_its_message() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    let windowed = |sequence: u64| {
        let note = bench.coherence.begin_fill(key.as_ref());
        let mut read = Arc::into_inner(bench.read(sequence, sequence, note)).expect("one owner");
        read.entry.stale_window = 10 * BOUND;
        assert!(bench.coherence.admit(&key, &Arc::new(read), note));
    };
    let marks = |sequence: u64, covers: &[Selector]| {
        let keys = std::slice::from_ref(&key);
        let change = match covers {
            [] => Change::of_keys(Effect::Marked, keys),
            covers => Change::of_selected(Effect::Marked, &bench.namespace, covers),
        };
        bench.coherence.apply(Message { partition: 0, version: Version::new(EPOCH, sequence), change, own: false });
        let held = bench.l1.get(key.as_ref()).expect("kept");
        assert!(!bench.coherence.covers(key.as_ref(), &held));
        bench.now().since(held.marked_at().expect("marked"))
    };
    windowed(5);
    // The replica received no message since the proof: the entry may have been marked right after
    // that.
    bench.advance(900);
    assert_eq!(marks(6, &[]), Duration::from_millis(900));
    // Read after the last proof: it was not marked then.
    windowed(6);
    bench.advance(100);
    assert_eq!(marks(7, &[]), Duration::from_millis(100));
    windowed(7);
    bench.advance(200);
    assert_eq!(marks(8, &[Selector::Namespace]), Duration::from_millis(200));
    bench.advance(1);
    // Marked twice; the first time is forgotten.
    windowed(8);
    bench.advance(300);
    bench.audit(8);
    let invisible = bench.l1.get(key.as_ref()).expect("kept");
    bench.namespace.invalidation_log().record(0, &Selector::Namespace, Version::new(EPOCH, 9), Some(bench.now()));
    bench.namespace.invalidation_log().record(0, &Selector::Namespace, Version::new(EPOCH, 10), Some(bench.now()));
    bench.coherence.covers(key.as_ref(), &invisible);
    assert_eq!(invisible.marked_at().map(|at| bench.now().since(at)), Some(Duration::from_millis(300)));
}

#[test]
fn a_fill_in_flight_does_not_bury_what_another_read_has_shown() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 7);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        let older = bench.read(3, 5, note);
        // Its message has not arrived yet.
        assert!(bench.reads("k", 7));
        bench.coherence.admit(&key, &older, note);
        bench.fresh("k") == Some(7)
    });
}

#[test]
fn a_fill_in_flight_does_not_enter_after_an_absence() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 7);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        let older = bench.read(3, 5, note);
        bench.coherence.observe_read(&key, Version::new(EPOCH, 7), None);
        bench.coherence.admit(&key, &older, note);
        bench.fresh("k").is_none()
    });
}

#[test]
fn a_late_reply_of_an_own_set_does_not_replace_a_newer_read() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 7);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        assert!(bench.reads("k", 7));
        bench.coherence.apply_own_set(&key, Version::new(EPOCH, 6), &bench.read(6, 6, note), note);
        bench.fresh("k") == Some(7)
    });
}

#[test]
fn an_own_write_after_an_absence_enters() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    bench.coherence.observe_read(&key, Version::new(EPOCH, 5), None);
    bench.coherence.apply_own_set(&key, Version::new(EPOCH, 6), &bench.read(6, 6, note), note);
    assert_eq!(bench.fresh("k"), Some(6));
}

#[test]
fn a_get_does_not_join_a_fetch_older_than_a_completed_read() {
    guarded(Safeguard::Monotonic, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let key = bench.key("k");
        let _begun = bench.coherence.fetch_slot(&key, BOUND);
        assert!(matches!(bench.coherence.fetch_slot(&key, BOUND), FetchSlot::Joined(_)));
        bench.reads("k", 7);
        matches!(bench.coherence.fetch_slot(&key, BOUND), FetchSlot::Started(_))
    });
}

#[test]
fn shown_positions_are_forgotten_when_the_counter_starts_over() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let before = bench.coherence.shown(0);
    bench.coherence.show(0, before, Version::new(EPOCH, 9));
    bench.coherence.show(0, before, Version::new(EPOCH, 7));
    assert_eq!(bench.coherence.shown(0).position, Version::new(EPOCH, 9));
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.echo_at(nonce, Version::new(EPOCH - 1, 1));
    assert_eq!(bench.coherence.shown(0).position, Version::ZERO);
    // A reply of the life that has ended.
    bench.coherence.show(0, before, Version::new(EPOCH, 9));
    assert_eq!(bench.coherence.shown(0).position, Version::ZERO);
}

// === the sequence ===

#[test]
fn the_next_message_in_line_removes_what_it_names_and_nothing_else() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("a", 3);
    bench.fill("b", 4);
    bench.message(6, "a");
    assert_eq!((bench.fresh("a"), bench.fresh("b")), (None, Some(4)));
    assert_eq!(bench.coherence.watermark(0), Version::new(EPOCH, 6));
}

#[test]
fn a_lost_message_unproves_its_partition() {
    guarded(Safeguard::Gap, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        // 6 invalidated k and was lost.
        bench.message(7, "other");
        bench.fresh("k").is_none()
    });
}

#[test]
fn after_a_gap_new_fills_are_answered_again() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.message(7, "other");
    assert!(bench.fill("k", 3));
    assert_eq!(bench.fresh("k"), Some(3));
}

#[test]
fn a_repeated_or_late_message_unproves_until_the_next_echo() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.message(5, "other");
    assert_eq!(bench.fresh("k"), None);
    assert!(!bench.fill("k", 3), "no fill enters while the position is unknown");
    bench.audit(5);
    assert!(bench.fill("k", 3));
}

#[test]
fn a_message_of_another_epoch_unproves_the_partition() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.deliver(Version::new(EPOCH + 1, 6), "other", false);
    assert_eq!(bench.fresh("k"), None);
    assert!(!bench.fill("k", 3));
}

#[test]
fn an_own_write_of_another_epoch_unproves_the_partition() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("a", 3);
    bench.coherence.apply_own_change(&bench.key("b"), Version::new(EPOCH + 1, 1), Effect::Removed);
    assert_eq!(bench.fresh("a"), None);
}

#[test]
fn a_queue_overrun_unproves_all_entries() {
    guarded(Safeguard::Lag, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        // 6 invalidated k and was dropped by the full queue; no message follows it.
        bench.coherence.overran(&ALL);
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_undecodable_message_unproves_all_entries() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.coherence.undecodable(&ALL);
    assert_eq!(bench.fresh("k"), None);
}

// === the audit ===

#[test]
fn l1_answers_as_fresh_only_while_the_last_proof_lasts() {
    guarded(Safeguard::Audit, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        bench.advance(1800);
        let before = bench.fresh("k") == Some(3);
        bench.advance(200);
        before && bench.fresh("k").is_none()
    });
}

#[test]
fn a_proof_counts_from_before_the_audit_was_sent() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.advance(1901);
    bench.echo_at(nonce, Version::new(EPOCH, 5));
    assert_eq!(bench.fresh("k"), None, "the bound less its margin had passed when the echo came");
}

#[test]
fn an_echo_ahead_of_the_watermark_finds_the_loss() {
    guarded(Safeguard::EchoCounters, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        // 6 invalidated k, was lost, and no message was published after it.
        bench.audit(6);
        bench.fresh("k").is_none()
    });
}

#[test]
fn an_echo_behind_the_watermark_is_not_trusted_either() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.audit(4);
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn entries_from_before_a_subscription_are_unproven_after_its_first_echo() {
    guarded(Safeguard::FirstEcho, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        bench.fill("k", 3);
        bench.coherence.disconnected(&ALL);
        // 6 invalidated k while there was no subscription.
        bench.audit(6);
        bench.fresh("k").is_none()
    });
}

#[test]
fn no_fill_begun_before_the_first_echo_enters() {
    guarded(Safeguard::FirstEcho, |safeguards| {
        let bench = Bench::new(safeguards);
        let key = bench.key("k");
        let note = bench.coherence.begin_fill(key.as_ref());
        let read = bench.read(3, 5, note);
        // 6 invalidates k before the subscription is established.
        bench.audit(6);
        bench.coherence.admit(&key, &read, note);
        bench.fresh("k").is_none()
    });
}

#[test]
fn a_lost_subscription_keeps_its_last_proof_and_admits_no_fill() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.coherence.disconnected(&ALL);
    assert_eq!(bench.fresh("k"), Some(3));
    assert!(!bench.fill("other", 4));
    bench.advance(2000);
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn an_echo_of_a_lost_subscription_proves_nothing() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.coherence.disconnected(&ALL);
    bench.echo_at(nonce, Version::new(EPOCH, 5));
    assert!(!bench.fill("other", 4), "an echo from before does not make the new subscription stand");
}

#[test]
fn a_proof_after_the_lookup_does_not_cover_the_entry() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let key = bench.key("k");
    let proof = bench.coherence.proof(0);
    let held = bench.l1.get(key.as_ref()).expect("filled");
    // The reader is paused; the write is received and proven; the reader continues with the entry
    // that it has looked up.
    bench.advance(5000);
    bench.message(6, "k");
    bench.audit(6);
    let judgement = bench.coherence.freshness(key.as_ref(), &held, proof, BOUND, bench.now());
    assert!(matches!(judgement, Freshness::Unproven(_)));
}

#[test]
fn a_position_reached_after_the_lookup_proves_nothing_about_the_entry() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let place = bench.coherence.subscription_position(0);
    let held = bench.l1.get(bench.key("k").as_ref()).expect("filled");
    // The message of the token's write is applied after the reader's lookup.
    bench.message(6, "k");
    assert_eq!(place.of(&held), Version::new(EPOCH, 5), "not up to a token of 6");
    bench.fill("other", 4);
    bench.message(7, "k");
    let place = bench.coherence.subscription_position(0);
    let other = bench.l1.get(bench.key("other").as_ref()).expect("filled");
    assert_eq!(place.of(&other), Version::new(EPOCH, 7), "it has lived through 7");
}

#[test]
fn an_epoch_that_goes_back_unproves_l1_and_is_then_followed() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.message(6, "k");
    bench.coherence.apply_own_invalidation(
        &bench.namespace,
        0,
        &[Selector::Namespace],
        Version::new(EPOCH, 7),
        Effect::Removed,
    );
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.echo_at(nonce, Version::new(EPOCH - 1, 9));
    assert_eq!(bench.fresh("k"), None);
    let back = |sequence, note| {
        let mut read = Arc::into_inner(bench.read(sequence, sequence, note)).expect("one owner");
        (read.position.epoch, read.entry.version.epoch) = (EPOCH - 1, EPOCH - 1);
        Arc::new(read)
    };
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    assert!(bench.coherence.admit(&key, &back(9, note), note));
    assert_eq!(bench.fresh("k"), Some(9));
    // The fence also holds in the lower epoch.
    let note = bench.coherence.begin_fill(key.as_ref());
    let read = back(9, note);
    bench.deliver(Version::new(EPOCH - 1, 10), "k", false);
    assert!(!bench.coherence.admit(&key, &read, note));
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn messages_of_an_epoch_that_never_was_blind_the_fence_to_nothing() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let forged = Version::new((1 << 53) - 1, 1);
    bench.deliver(forged, "k", false);
    let change = Change::of_selected(Effect::Removed, &bench.namespace, &[Selector::Namespace]);
    bench.coherence.apply(Message { partition: 0, version: forged, change, own: false });
    bench.audit(5);
    let key = bench.key("k");
    assert!(bench.fill("k", 3));
    assert_eq!(bench.fresh("k"), Some(3), "what was forged hides nothing any more");
    let note = bench.coherence.begin_fill(key.as_ref());
    let read = bench.read(3, 5, note);
    bench.message(6, "k");
    assert!(!bench.coherence.admit(&key, &read, note), "the fence holds");
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn an_echo_counts_once_and_only_under_a_nonce_that_is_awaited() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let nonce = bench.coherence.audit_begins(&ALL);
    assert!(bench.coherence.awaits(nonce) && !bench.coherence.awaits(nonce + 1));
    let echo = |nonce, epoch, sequence| {
        bench.coherence.echo(nonce, Echo { positions: vec![(0, Version::new(epoch, sequence))] })
    };
    assert!(!echo(nonce + 1, EPOCH + 1, 1), "nobody asked for it");
    assert!(echo(nonce, EPOCH, 5));
    assert!(!echo(nonce, EPOCH + 1, 1), "a receiver may publish another echo under its nonce");
    assert_eq!(bench.fresh("k"), Some(3));
}

#[test]
fn a_late_reply_of_the_old_epoch_hides_nothing_of_the_new_one() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.coherence.apply_own_invalidation(
        &bench.namespace,
        0,
        &[Selector::Namespace],
        Version::new(EPOCH - 1, 1000),
        Effect::Removed,
    );
    bench.audit(5);
    bench.fill("k", 3);
    assert_eq!(bench.fresh("k"), Some(3));
}

#[test]
fn a_narrower_bound_of_the_caller_is_kept() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    let key = bench.key("k");
    let held = bench.l1.get(key.as_ref()).expect("filled");
    bench.advance(500);
    let judge = |bound| bench.coherence.freshness(key.as_ref(), &held, bench.coherence.proof(0), bound, bench.now());
    assert_eq!(judge(BOUND), Freshness::Fresh);
    assert!(matches!(judge(Duration::from_millis(400)), Freshness::Unproven(_)));
}

#[test]
fn an_unproven_entry_has_its_possible_staleness() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.advance(300);
    bench.audit(5);
    bench.advance(100);
    bench.message(7, "other");
    bench.advance(600);
    let held = bench.l1.get(bench.key("k").as_ref()).expect("kept");
    let judgement =
        bench.coherence.freshness(bench.key("k").as_ref(), &held, bench.coherence.proof(0), BOUND, bench.now());
    assert_eq!(judgement, Freshness::Unproven(Duration::from_millis(700)), "since the audit at 300 ms");
}

// === selectors ===

/// Selectors that each select the key "k:1" with the tag "t".
fn selectors() -> [Selector; 4] {
    [Selector::Namespace, Selector::Prefix("k".into()), Selector::Tag("t".into()), Selector::Pattern("k*".into())]
}

impl Bench {
    fn key_selected(&self) -> Key {
        self.key("k:1")
    }

    fn read_tagged(&self, sequence: u64, position: u64, note: FillGuard) -> Arc<CachedEntry> {
        let mut held = Arc::into_inner(self.read(sequence, position, note)).expect("one owner");
        held.entry = held.entry.with(|details| details.tags = Tags::new(vec!["t".into()]));
        held.entry.stale_window = Duration::from_secs(60);
        Arc::new(held)
    }

    fn fill_tagged(&self, sequence: u64, position: u64) -> bool {
        let key = self.key_selected();
        let note = self.coherence.begin_fill(key.as_ref());
        self.coherence.admit(&key, &self.read_tagged(sequence, position, note), note)
    }

    /// Applies an invalidation of this replica, or one that it receives.
    fn invalidate(&self, selector: &Selector, sequence: u64, effect: Effect, own: bool) {
        let (version, selectors) = (Version::new(EPOCH, sequence), std::slice::from_ref(selector));
        if own {
            self.coherence.apply_own_invalidation(&self.namespace, 0, selectors, version, effect);
        } else {
            let change = Change::of_selected(effect, &self.namespace, selectors);
            self.coherence.apply(Message { partition: 0, version, change, own: false });
        }
    }
}

#[test]
fn an_invalidation_hides_what_is_older_and_nothing_newer() {
    for (selector, own) in selectors().iter().flat_map(|selector| [(selector, false), (selector, true)]) {
        let bench = Bench::subscribed(Safeguards::default(), 5);
        bench.fill("other", 4);
        assert!(bench.fill_tagged(4, 5));
        assert_eq!(bench.fresh("k:1"), Some(4));
        bench.invalidate(selector, 6, Effect::Removed, own);
        assert_eq!(bench.fresh("k:1"), None, "{selector:?}");
        assert_eq!(bench.fresh("other").is_some(), *selector != Selector::Namespace, "{selector:?}");
        assert!(
            bench.fill_tagged(4, 6),
            "Redis says that it is there: it was written before, and does not have the tag"
        );
        bench.message(if own { 6 } else { 7 }, "new");
        bench.fill_tagged(7, 7);
        assert_eq!(bench.fresh("k:1"), Some(7), "{selector:?}");
    }
}

#[test]
fn a_fill_in_flight_does_not_escape_an_invalidation_by_selector() {
    for (selector, own) in selectors().iter().flat_map(|selector| [(selector, false), (selector, true)]) {
        for effect in [Effect::Removed, Effect::Marked] {
            let bench = Bench::subscribed(Safeguards::default(), 5);
            let key = bench.key_selected();
            let note = bench.coherence.begin_fill(key.as_ref());
            let read = bench.read_tagged(3, 5, note);
            bench.invalidate(selector, 6, effect, own);
            bench.coherence.admit(&key, &read, note);
            let held = bench.l1.get(key.as_ref()).expect("it enters, and is judged when it is asked for");
            let judged = bench.coherence.freshness(key.as_ref(), &held, bench.coherence.proof(0), BOUND, bench.now());
            match effect {
                Effect::Marked => assert_eq!((judged, held.marked_at()), (Freshness::Fresh, Some(bench.now()))),
                _ => assert_eq!(judged, Freshness::Invalidated, "{selector:?}"),
            }
        }
    }
}

#[test]
fn a_mark_removes_the_entry_where_no_stale_entries_are_kept() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k:1", 4);
    bench.invalidate(&Selector::Prefix("k".into()), 6, Effect::Marked, false);
    assert_eq!(bench.fresh("k:1"), None);
}

#[test]
fn an_entry_is_judged_again_only_after_another_invalidation() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.invalidate(&Selector::Tag("other".into()), 6, Effect::Removed, false);
    bench.fill_tagged(4, 5);
    let held = bench.l1.get(bench.key_selected().as_ref()).expect("filled");
    let changes = bench.namespace.invalidation_log().changes(0);
    assert!(!held.covered.is_known(changes));
    assert_eq!(bench.fresh("k:1"), Some(4));
    assert!(held.covered.is_known(changes));
    bench.invalidate(&Selector::Tag("another".into()), 7, Effect::Removed, false);
    assert!(!held.covered.is_known(bench.namespace.invalidation_log().changes(0)));
}

#[test]
fn a_missed_invalidation_unproves_l1() {
    for selector in selectors() {
        let bench = Bench::subscribed(Safeguards::default(), 5);
        bench.fill_tagged(4, 5);
        // 6 invalidates the entry and is lost.
        bench.invalidate(&Selector::Tag("other".into()), 7, Effect::Removed, false);
        assert_eq!(bench.fresh("k:1"), None);
        bench.invalidate(&selector, 6, Effect::Removed, true);
        bench.audit(7);
        assert_eq!(bench.fresh("k:1"), None, "{selector:?}");
    }
}

#[test]
fn after_an_epoch_went_back_nothing_of_the_old_one_is_known() {
    for selector in selectors() {
        let bench = Bench::subscribed(Safeguards::default(), 5);
        bench.invalidate(&selector, 6, Effect::Removed, false);
        let nonce = bench.coherence.audit_begins(&ALL);
        bench.echo_at(nonce, Version::new(EPOCH - 1, 9));
        assert_eq!(bench.namespace.invalidation_log().latest(0), Version::ZERO);
        let nonce = bench.coherence.audit_begins(&ALL);
        bench.echo_at(nonce, Version::new(EPOCH - 1, 9));
        let key = bench.key_selected();
        let note = bench.coherence.begin_fill(key.as_ref());
        let mut read = Arc::into_inner(bench.read_tagged(9, 9, note)).expect("one owner");
        (read.position.epoch, read.entry.version.epoch) = (EPOCH - 1, EPOCH - 1);
        assert!(bench.coherence.admit(&key, &Arc::new(read), note));
        assert_eq!(bench.fresh("k:1"), Some(9), "{selector:?}");
    }
}

#[test]
fn an_invalidation_of_the_old_epoch_hides_nothing_of_the_new_one() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.coherence.apply_own_invalidation(
        &bench.namespace,
        0,
        &[Selector::Namespace],
        Version::new(EPOCH, 500),
        Effect::Removed,
    );
    bench.coherence.disconnected(&ALL);
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.echo_at(nonce, Version::new(EPOCH + 1, 2));
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    let mut read = Arc::into_inner(bench.read(2, 2, note)).expect("one owner");
    (read.position.epoch, read.entry.version.epoch) = (EPOCH + 1, EPOCH + 1);
    assert!(bench.coherence.admit(&key, &Arc::new(read), note));
    assert_eq!(bench.fresh("k"), Some(2));
}

#[test]
fn an_own_write_in_a_lower_epoch_counts_without_a_subscription() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("k", 3);
    bench.coherence.disconnected(&ALL);
    assert_eq!(bench.fresh("k"), Some(3), "the last proof stands for its time");
    bench.coherence.apply_own_change(&bench.key("k"), Version::new(EPOCH - 1, 1), Effect::Removed);
    assert_eq!(bench.fresh("k"), None);
}

#[test]
fn entries_from_before_a_failover_do_not_count_until_it_is_settled() {
    guarded(Safeguard::Repair, |safeguards| {
        let bench = Bench::subscribed(safeguards, 5);
        let (before, position) = (Version::new(EPOCH, 3), Version::new(EPOCH + 1, 9));
        let counted_early = bench.coherence.counts(0, before, position);
        bench.coherence.mark_settled(PendingFailover { partition: 0, epoch: EPOCH + 1 }, false);
        assert!(bench.coherence.counts(0, before, position) && bench.coherence.counts(0, position, position));
        !counted_early
    });
}

#[test]
fn an_epoch_that_has_ended_has_ended_also_while_nothing_is_subscribed() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    assert!(bench.coherence.has_ended(0, EPOCH - 1) && !bench.coherence.has_ended(0, EPOCH));
    bench.coherence.disconnected(&ALL);
    assert!(
        bench.coherence.has_ended(0, EPOCH - 1),
        "what is acknowledged late may be lost, and is not repaired any more"
    );
    assert!(!bench.coherence.has_ended(0, EPOCH + 1));
}

// === fetches in flight ===

fn joins(bench: &Bench, bound: Duration) -> bool {
    matches!(bench.coherence.fetch_slot(&bench.key("k"), bound), FetchSlot::Joined(_))
}

#[test]
fn a_get_joins_the_fetch_under_way() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    assert!(!joins(&bench, BOUND));
    assert!(joins(&bench, BOUND));
}

#[test]
fn a_message_or_an_own_write_closes_a_fetch_to_later_gets() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    joins(&bench, BOUND);
    bench.message(6, "k");
    assert!(!joins(&bench, BOUND), "a Get after the message must not get what was read before it");
    bench.coherence.apply_own_change(&bench.key("k"), Version::new(EPOCH, 7), Effect::Removed);
    assert!(!joins(&bench, BOUND), "a Get after an own write must not get what was read before it");
}

#[test]
fn an_invalidation_by_a_selector_closes_fetches_to_later_gets() {
    for selector in selectors() {
        let bench = Bench::subscribed(Safeguards::default(), 5);
        joins(&bench, BOUND);
        bench.invalidate(&selector, 6, Effect::Removed, true);
        assert!(!joins(&bench, BOUND), "{selector:?}");
        bench.invalidate(&selector, 6, Effect::Removed, false);
        assert!(joins(&bench, BOUND), "its message says nothing new");
    }
}

#[test]
fn a_fetch_older_than_the_bound_is_not_joined() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    joins(&bench, BOUND);
    bench.advance(100);
    assert!(!joins(&bench, Duration::from_millis(50)));
    bench.advance(2100);
    assert!(!joins(&bench, Duration::from_secs(60)));
}

#[test]
fn a_fetch_that_ends_closes_only_itself() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let FetchSlot::Started(first) = bench.coherence.fetch_slot(&bench.key("k"), BOUND) else { panic!("begins") };
    bench.message(6, "k");
    let FetchSlot::Started(_second) = bench.coherence.fetch_slot(&bench.key("k"), BOUND) else { panic!("begins") };
    bench.coherence.close_fetch(&bench.key("k"), first.id);
    assert!(joins(&bench, BOUND), "the second fetch is still under way");
}

// === dead entries ===

impl Bench {
    /// Builds the message that what `selector` selects was removed, or marked.
    fn selects(&self, sequence: u64, selector: Selector, effect: Effect) {
        let change = Change::of_selected(effect, &self.namespace, &[selector]);
        self.coherence.apply(Message { partition: 0, version: Version::new(EPOCH, sequence), change, own: false });
    }

    fn has(&self, key: &str) -> bool {
        self.l1.get(self.key(key).as_ref()).is_some()
    }
}

#[test]
fn a_sweep_removes_from_l1_only_the_selected_entries() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    bench.fill("a/1", 3);
    bench.fill("b/1", 4);
    assert_eq!(bench.coherence.sweep(), 0);
    bench.selects(6, Selector::Prefix(Bytes::from_static(b"a")), Effect::Removed);
    bench.fill("a/2", 6);
    assert!(bench.has("a/1"), "it is dead and takes room");
    assert_eq!(bench.coherence.sweep(), 1);
    assert_eq!((bench.has("a/1"), bench.has("a/2"), bench.has("b/1")), (false, true, true));
    bench.selects(7, Selector::Namespace, Effect::Marked);
    assert_eq!(bench.coherence.sweep(), 2, "none is kept to be answered stale");
}

#[test]
fn a_sweep_keeps_what_was_marked_no_longer_than_its_stale_window() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    let note = bench.coherence.begin_fill(key.as_ref());
    let mut read = Arc::into_inner(bench.read(3, 5, note)).expect("one owner");
    read.entry.stale_window = BOUND;
    assert!(bench.coherence.admit(&key, &Arc::new(read), note));
    bench.selects(6, Selector::Namespace, Effect::Marked);
    assert_eq!(bench.coherence.sweep(), 0);
    let held = bench.l1.get(key.as_ref()).expect("kept");
    assert_eq!(held.entry.kept_until, held.marked_at().expect("marked").plus(BOUND));
}

#[test]
fn a_dead_entry_is_removed_only_while_it_is_there() {
    let bench = Bench::subscribed(Safeguards::default(), 5);
    let key = bench.key("k");
    bench.fill("k", 3);
    let dead = bench.l1.get(key.as_ref()).expect("it is there");
    bench.fill("k", 4);
    assert!(!bench.coherence.remove_dead(key.as_ref(), &dead));
    assert!(bench.has("k"), "another has taken its place");
    let other = bench.l1.get(key.as_ref()).expect("it is there");
    assert!(bench.coherence.remove_dead(key.as_ref(), &other));
    assert!(!bench.has("k"));
}
