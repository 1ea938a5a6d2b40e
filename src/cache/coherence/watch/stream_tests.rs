//! Events of a watch, and the discontinuities when changes may have been missed.

use bytes::Bytes;

use super::*;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::coherence::watch::filter::Scope;
use crate::cache::coherence::watch::registry::RESUME_WINDOW;
use crate::cache::coherence::watch::*;
use crate::cache::entry::Tags;
use crate::cache::invalidation::selector::Selector;
use crate::cache::testing::{ALL, Bench, EPOCH};
use crate::cache::tier::bus::{BusSink as _, Change, ChangedKey, Echo, Effect};

const HEARTBEAT: Duration = Duration::from_secs(1);

fn at(sequence: u64) -> Version {
    Version::new(EPOCH, sequence)
}

fn audit(bench: &Bench, sequence: u64) {
    let nonce = bench.coherence.audit_begins(&ALL);
    bench.coherence.echo(nonce, Echo { positions: vec![(0, at(sequence))] });
}

/// Builds a subscription at `sequence`.
fn subscribed(sequence: u64) -> Bench {
    let bench = Bench::new(Safeguards::default());
    audit(&bench, sequence);
    bench
}

fn deliver(bench: &Bench, version: Version, keys: &[(&str, &[&str])]) {
    let changed = keys.iter().map(|(key, tags)| ChangedKey {
        key: Bytes::copy_from_slice(key.as_bytes()),
        tags: Tags::new(tags.iter().map(|tag| Bytes::copy_from_slice(tag.as_bytes())).collect()),
    });
    let change = Change::of(Effect::Set, &bench.namespace, changed.collect());
    bench.coherence.apply(Message { partition: 0, version, change, own: false });
}

fn message(bench: &Bench, sequence: u64, key: &str) {
    deliver(bench, at(sequence), &[(key, &[])]);
}

fn invalidation(bench: &Bench, sequence: u64, selectors: &[Selector]) {
    let change = Change::of_selected(Effect::Removed, &bench.namespace, selectors);
    bench.coherence.apply(Message { partition: 0, version: at(sequence), change, own: true });
}

fn watching(scope: Scope, from: Option<Token>) -> Watching {
    Watching { filter: WatchFilter { namespace: "default".into(), scope }, from, heartbeat: HEARTBEAT, limit: 8 }
}

fn watch(bench: &Bench, scope: Scope) -> Watch {
    bench.coherence.watch(watching(scope, None)).expect("room")
}

fn resumed(bench: &Bench, told: Version) -> Watch {
    bench.coherence.watch(watching(Scope::Namespace, Some(Token::at(0, told)))).expect("room")
}

fn keys(names: &[&str], sequence: u64) -> Event {
    let names = names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes()));
    let covers = ChangeScope::Keys(names.collect());
    Event::Change(WatchedChange { partition: 0, version: at(sequence), effect: Effect::Set, covers, last: true })
}

fn broken(why: Discontinuity) -> Event {
    Event::Discontinuity(why)
}

/// Returns the token and the proof of the next heartbeat.
async fn heartbeat(watch: &mut Watch) -> (Version, Option<Duration>) {
    match watch.next().await {
        Event::Heartbeat { token, proof_age, .. } => (token.position(0), proof_age),
        other => panic!("no heartbeat: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_delivers_a_heartbeat_then_each_change_before_the_next() {
    let bench = subscribed(5);
    let mut watch = watch(&bench, Scope::Namespace);
    assert_eq!(heartbeat(&mut watch).await, (at(5), Some(Duration::ZERO)));
    message(&bench, 6, "a");
    deliver(&bench, at(7), &[("b", &[]), ("c", &[])]);
    tokio::time::advance(HEARTBEAT).await;
    bench.clock.advance(HEARTBEAT);
    assert_eq!(watch.next().await, keys(&["a"], 6));
    assert_eq!(watch.next().await, keys(&["b", "c"], 7));
    assert_eq!(heartbeat(&mut watch).await, (at(7), Some(HEARTBEAT)));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_does_not_promise_what_waits_behind_it() {
    let bench = subscribed(5);
    let mut watch = watch(&bench, Scope::Namespace);
    heartbeat(&mut watch).await;
    tokio::time::advance(HEARTBEAT).await;
    watch.queue_heartbeat();
    bench.clock.advance(Duration::from_millis(300));
    message(&bench, 6, "a");
    audit(&bench, 6);
    assert_eq!(heartbeat(&mut watch).await, (at(5), Some(Duration::from_millis(300))));
    assert_eq!(watch.next().await, keys(&["a"], 6));
}

#[tokio::test(start_paused = true)]
async fn a_change_outside_the_filter_is_not_delivered() {
    let bench = subscribed(5);
    let (mut prefix, mut tag) =
        (watch(&bench, Scope::Prefix("user:1".into())), watch(&bench, Scope::Tag("red".into())));
    heartbeat(&mut prefix).await;
    heartbeat(&mut tag).await;
    deliver(&bench, at(6), &[("user:1:name", &["blue"]), ("user:12", &["red", "blue"]), ("other", &[])]);
    assert_eq!(prefix.next().await, keys(&["user:1:name"], 6));
    assert_eq!(tag.next().await, keys(&["user:12"], 6));
    assert_eq!(heartbeat(&mut prefix).await.0, at(6));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_several_selectors_is_delivered_in_parts() {
    let bench = subscribed(5);
    let mut watch = watch(&bench, Scope::Prefix("a".into()));
    heartbeat(&mut watch).await;
    let selectors = [Selector::Tag("red".into()), Selector::Prefix("b".into()), Selector::Prefix("a:b".into())];
    invalidation(&bench, 6, &selectors);
    for (selector, last) in [(&selectors[0], false), (&selectors[2], true)] {
        let covers = ChangeScope::Selected(selector.clone());
        let told = WatchedChange { partition: 0, version: at(6), effect: Effect::Removed, covers, last };
        assert_eq!(watch.next().await, Event::Change(told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_discontinuity_follows_whatever_unproves_l1() {
    type Fault = fn(&Bench);
    let faults: [(&str, Fault); 5] = [
        ("a lost message", |bench| message(bench, 7, "k")),
        ("a message that cannot be read", |bench| bench.coherence.undecodable(&ALL)),
        ("an overrun", |bench| bench.coherence.overran(&ALL)),
        ("an echo ahead of the messages", |bench| audit(bench, 9)),
        ("a subscription that was lost", |bench| {
            bench.coherence.disconnected(&ALL);
            audit(bench, 5);
        }),
    ];
    for (name, fault) in faults {
        let bench = subscribed(5);
        let mut watch = watch(&bench, Scope::Namespace);
        heartbeat(&mut watch).await;
        fault(&bench);
        assert_eq!(watch.next().await, broken(Discontinuity::Gap), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_subscription_is_lost_the_proof_grows_old() {
    let bench = subscribed(5);
    let mut watch = watch(&bench, Scope::Namespace);
    heartbeat(&mut watch).await;
    bench.coherence.disconnected(&ALL);
    bench.clock.advance(3 * HEARTBEAT);
    tokio::time::advance(HEARTBEAT).await;
    assert_eq!(heartbeat(&mut watch).await, (at(5), Some(3 * HEARTBEAT)));
}

#[tokio::test(start_paused = true)]
async fn no_partition_is_proven_before_the_first_echo() {
    let bench = Bench::new(Safeguards::default());
    let mut watch = watch(&bench, Scope::Namespace);
    assert_eq!(heartbeat(&mut watch).await, (Version::ZERO, None));
    audit(&bench, 5);
    assert_eq!(watch.next().await, broken(Discontinuity::Gap));
    assert_eq!(heartbeat(&mut watch).await, (at(5), Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_receives_a_discontinuity_and_then_later_changes() {
    let bench = subscribed(0);
    let mut watch = watch(&bench, Scope::Namespace);
    (1..=10_000).for_each(|sequence| message(&bench, sequence, "k"));
    assert_eq!(watch.next().await, broken(Discontinuity::SlowWatcher));
    let Event::Change(told) = watch.next().await else { panic!("a change") };
    assert!(told.version.sequence > 1_000, "what waited was dropped");
    assert_eq!(bench.coherence.watches.counters.discontinuities.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_receives_the_changes_it_missed() {
    let bench = subscribed(5);
    (6..=9).for_each(|sequence| message(&bench, sequence, &format!("k{sequence}")));
    let mut watch = resumed(&bench, at(7));
    assert_eq!(watch.next().await, keys(&["k8"], 8));
    assert_eq!(watch.next().await, keys(&["k9"], 9));
    assert_eq!(heartbeat(&mut watch).await.0, at(9));
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_from_ahead_of_this_replica() {
    let bench = subscribed(5);
    let mut watch = resumed(&bench, at(7));
    assert_eq!(heartbeat(&mut watch).await.0, at(5));
    message(&bench, 6, "a");
    assert_eq!(watch.next().await, keys(&["a"], 6));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_be_resumed_begins_with_a_discontinuity() {
    let bench = subscribed(5);
    (6..=9).for_each(|sequence| message(&bench, sequence, "k"));
    for told in [at(4), Version::ZERO, Version::new(EPOCH - 1, 8), Version::new(EPOCH + 1, 8)] {
        let mut watch = resumed(&bench, told);
        assert_eq!(watch.next().await, broken(Discontinuity::TooOld), "{told}");
        assert_eq!(heartbeat(&mut watch).await.0, at(9));
    }
    bench.coherence.disconnected(&ALL);
    assert_eq!(resumed(&bench, at(9)).next().await, broken(Discontinuity::Gap));
}

#[tokio::test(start_paused = true)]
async fn a_watch_does_not_resume_over_a_message_that_was_lost() {
    let bench = subscribed(5);
    message(&bench, 6, "a");
    // The reply to a read describes the lost change, perhaps only in part.
    bench.coherence.record_acknowledged(0, at(7), &Change::of_keys(Effect::Set, &[bench.key("b")]));
    message(&bench, 8, "c");
    assert_eq!(resumed(&bench, at(6)).next().await, broken(Discontinuity::TooOld));
    assert_eq!(resumed(&bench, at(7)).next().await, keys(&["c"], 8));
}

#[tokio::test(start_paused = true)]
async fn a_change_seen_in_part_does_not_hide_the_rest() {
    let bench = subscribed(5);
    bench.coherence.record_acknowledged(0, at(6), &Change::of_keys(Effect::Set, &[bench.key("a")]));
    deliver(&bench, at(6), &[("a", &["red"]), ("b", &[])]);
    assert_eq!(resumed(&bench, at(5)).next().await, keys(&["a", "b"], 6));
}

#[tokio::test(start_paused = true)]
async fn watches_are_limited_and_leave_nothing_behind() {
    let bench = subscribed(5);
    let watches: Vec<Watch> = (0..8).map(|_| watch(&bench, Scope::Namespace)).collect();
    let refused = bench.coherence.watch(watching(Scope::Namespace, None)).err();
    assert_eq!(refused, Some(CacheError::Exhausted { what: "watches", limit: 8, retry_after: None }));
    assert_eq!(bench.coherence.watches.open(), 8);
    drop(watches);
    assert_eq!(bench.coherence.watches.open(), 0);
    assert!(bench.coherence.partition(0).state().watchers.is_empty());
    assert!(bench.coherence.watches.need_change_log(bench.now()));
    assert!(!bench.coherence.watches.need_change_log(bench.now().plus(RESUME_WINDOW)));
}
