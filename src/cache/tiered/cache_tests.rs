//! Reads and writes over a shared tier whose every answer the test gives.

#[path = "cache_many_tests.rs"]
mod many;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::cache::clock::Moment;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::entry::{Content, Entry, NewEntry};
use crate::cache::invalidation::selector::Selector;
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{Namespace, NamespaceRules};
use crate::cache::policy::{NamespacePolicy, PolicyPatch};
use crate::cache::testing::{ALL, BOUND, Bench, EPOCH, no_failovers, not_asked};
use crate::cache::tier::bus::{BusSink as _, Change, Echo, Effect};
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    Acquired, BoxFuture, CallContext, Condition, Current, EntryStore, L2Error, LeaseClaim, LeaseRelease, LeaseStore,
    Mode, ReadResult, Removal, RemoveResult, Timeout, Touch, Touched, Write, WriteResult,
};
use crate::cache::tiered::*;
use crate::cache::token::Token;
use crate::cache::version::Version;

const BUDGET: Duration = Duration::from_millis(200);

/// A call to the shared tier, waiting for the test to answer it.
pub(crate) enum Call {
    Read(oneshot::Sender<Result<ReadResult, L2Error>>),
    Write(oneshot::Sender<Result<Vec<WriteResult>, L2Error>>),
    Acquire(LeaseClaim, oneshot::Sender<Result<Acquired, L2Error>>),
    Release(LeaseRelease, oneshot::Sender<Result<bool, L2Error>>),
}

struct Scripted(mpsc::UnboundedSender<Call>);

impl Scripted {
    fn ask<T: Send + 'static>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> BoxFuture<'_, T> {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(call(answer)).is_ok(), "the test listens");
        Box::pin(async move { answered.await.expect("the test answers") })
    }
}

impl EntryStore for Scripted {
    fn read<'a>(&'a self, _: &'a Key, _: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
        let answered = self.ask(Call::Read);
        Box::pin(async move {
            let answer = tokio::time::timeout(BUDGET, answered).await;
            answer.unwrap_or(Err(L2Error::unavailable("read timed out")))
        })
    }

    fn write<'a>(&'a self, _: u16, _: &'a [Write], _: CallContext) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>> {
        self.ask(Call::Write)
    }

    not_asked! {
        namespaces;
        barrier;
        remove(u16, &'a [Removal], Mode, CallContext) -> RemoveResult;
        invalidate(u16, &'a Arc<Namespace>, &'a [Selector], Mode, CallContext) -> Version;
        touch(&'a Key, Touch, Moment) -> Touched;
        current(&'a Key, Moment) -> Option<Current>;
        inspect(&'a Key, Moment) -> Inspected;
    }
}

impl LeaseStore for Scripted {
    fn acquire<'a>(&'a self, _: &'a Key, claim: LeaseClaim, _: Moment) -> BoxFuture<'a, Result<Acquired, L2Error>> {
        self.ask(|answer| Call::Acquire(claim, answer))
    }

    fn release<'a>(&'a self, _: &'a Key, release: LeaseRelease, _: Moment) -> BoxFuture<'a, Result<bool, L2Error>> {
        self.ask(|answer| Call::Release(release, answer))
    }
}

no_failovers!(Scripted);

pub(crate) struct World {
    pub cache: Tiered,
    pub bench: Bench,
    pub calls: mpsc::UnboundedReceiver<Call>,
}

impl World {
    pub fn new(stale_window: Duration) -> World {
        World::with(NamespacePolicy { stale_window, ..NamespacePolicy::default() })
    }

    pub fn with(default_policy: NamespacePolicy) -> World {
        let rules = NamespaceRules { default_policy, limit: 8, ..NamespaceRules::default() };
        let bench = Bench::with(rules, Safeguards::default());
        let nonce = bench.coherence.audit_begins(&ALL);
        bench.coherence.echo(nonce, Echo { positions: vec![(0, Version::new(EPOCH, 5))] });
        let (sender, calls) = mpsc::unbounded_channel();
        let config = TieredConfig {
            switches: Switches::default(),
            read_timeout: BUDGET,
            write_timeout: BUDGET,
            self_audit_every: 0,
            hot_key_capacity: 4,
        };
        let l2 = Arc::new(Scripted(sender));
        let cache = Tiered::new(config, bench.l1.clone(), l2, bench.coherence.clone(), bench.clock.clone());
        World { cache, bench, calls }
    }

    /// Begins a Get in a task of its own.
    fn get(&self, consistency: Consistency, token: Token) -> tokio::task::JoinHandle<Result<GetAnswer, CacheError>> {
        let (cache, key) = (self.cache.clone(), self.bench.key("k"));
        tokio::spawn(async move {
            cache
                .get(Get {
                    key: key.as_ref(),
                    consistency,
                    token: &token,
                    deadline: Moment::FOREVER,
                    lease: None,
                    slot: None,
                })
                .await
        })
    }

    fn bounded(&self) -> tokio::task::JoinHandle<Result<GetAnswer, CacheError>> {
        self.get(Consistency::Bounded(None), Token::default())
    }

    pub async fn read_call(&mut self) -> oneshot::Sender<Result<ReadResult, L2Error>> {
        match self.calls.recv().await {
            Some(Call::Read(answer)) => answer,
            _ => panic!("a read was expected"),
        }
    }

    pub fn entry(&self, sequence: u64) -> Entry {
        let content = Content::Value(Bytes::from(sequence.to_string()));
        let stale_window = self.bench.namespace.policy().stale_window;
        let lifetime = Lifetime { stale_window, ..Lifetime::of(Duration::from_secs(60)) };
        let version = Version::new(EPOCH, sequence);
        Entry::written(&NewEntry::new(content, lifetime), version, Duration::ZERO, self.bench.now())
    }

    pub fn found(&self, sequence: u64, position: u64) -> Result<ReadResult, L2Error> {
        Ok(ReadResult { position: Version::new(EPOCH, position), entry: Some(self.entry(sequence)) })
    }

    /// An entry in L1, stored by a Get.
    async fn warm(&mut self, sequence: u64) {
        let get = self.bounded();
        let answer = self.read_call().await;
        answer.send(self.found(sequence, 5)).ok();
        get.await.expect("no panic").expect("answered");
    }
}

/// An answer: sequence, tier, stale; or the reason of the miss.
pub(crate) fn gist(answer: &GetAnswer) -> Result<(u64, Tier, bool), Miss> {
    match &answer.outcome {
        GetOutcome::Hit { held, tier, stale } => Ok((held.entry.version.sequence, *tier, stale.is_some())),
        GetOutcome::Miss(why) => Err(*why),
    }
}

pub(crate) fn away() -> Result<ReadResult, L2Error> {
    Err(L2Error::unavailable("away"))
}

#[tokio::test]
async fn a_miss_in_memory_is_fetched_and_then_answered_from_memory() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    let answer = world.bounded().await.expect("no panic").expect("answered");
    assert_eq!(gist(&answer), Ok((3, Tier::L1, false)));
}

#[tokio::test]
async fn gets_of_one_key_share_one_fetch_and_a_caller_who_leaves_does_not_end_it() {
    let mut world = World::new(Duration::ZERO);
    let first = world.bounded();
    let answer = world.read_call().await;
    let others: Vec<_> = (0..10).map(|_| world.bounded()).collect();
    while world.bench.namespace.counters.coalesced.get() < 10 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    answer.send(world.found(3, 5)).ok();
    for other in others {
        let answer = other.await.expect("no panic").expect("answered");
        assert_eq!(gist(&answer), Ok((3, Tier::L2, false)));
    }
    assert!(world.calls.try_recv().is_err(), "nothing else was asked");
}

#[tokio::test]
async fn a_strong_get_asks_for_itself_and_fails_when_it_cannot() {
    let mut world = World::new(Duration::from_secs(60));
    world.warm(3).await;
    let strong = world.get(Consistency::Strong, Token::default());
    world.read_call().await.send(world.found(4, 6)).ok();
    assert_eq!(gist(&strong.await.expect("no panic").expect("answered")), Ok((4, Tier::L2, false)));
    let strong = world.get(Consistency::Strong, Token::default());
    world.read_call().await.send(away()).ok();
    assert!(matches!(strong.await.expect("no panic"), Err(CacheError::Unavailable { .. })));
}

#[tokio::test]
async fn a_token_beyond_what_memory_knows_is_asked_of_the_shared_tier() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    let token = || Token::at(0, Version::new(EPOCH, 6));
    let get = world.get(Consistency::Bounded(None), token());
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((6, Tier::L2, false)));
    // Now L1 holds it.
    let get = world.get(Consistency::Bounded(None), token());
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((6, Tier::L1, false)));
}

#[tokio::test]
async fn a_fetch_older_than_the_token_is_repeated_and_an_older_answer_is_never_given() {
    let mut world = World::new(Duration::from_secs(60));
    world.warm(3).await;
    let get = world.get(Consistency::Bounded(None), Token::at(0, Version::new(EPOCH, 7)));
    world.read_call().await.send(world.found(3, 6)).ok();
    world.read_call().await.send(world.found(3, 6)).ok();
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!(gist(&answer), Err(Miss::TokenNotReached));
    // It is not answered flagged stale either.
    let get = world.get(Consistency::Bounded(None), Token::at(0, Version::new(EPOCH, 7)));
    world.read_call().await.send(away()).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Err(Miss::Unavailable));
}

#[tokio::test]
async fn an_answer_newer_than_the_position_read_before_it_gives_a_token_that_covers_it() {
    let mut world = World::new(Duration::ZERO);
    let get = world.bounded();
    let call = world.read_call().await;
    // The write of 9 came between the position and the entry.
    let _ = call.send(Ok(ReadResult { position: Version::new(EPOCH, 6), entry: Some(world.entry(9)) }));
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!(answer.position, Version::new(EPOCH, 9));
}

#[tokio::test]
async fn without_the_shared_tier_memory_answers_while_its_proof_lasts_then_flagged_then_not() {
    let mut world = World::new(Duration::from_secs(10));
    world.warm(3).await;
    let answer = world.bounded().await.expect("no panic").expect("answered");
    assert_eq!((gist(&answer), answer.degraded), (Ok((3, Tier::L1, false)), false));
    world.bench.clock.advance(Duration::from_secs(3));
    let get = world.bounded();
    world.read_call().await.send(away()).ok();
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!((gist(&answer), answer.degraded), (Ok((3, Tier::L1, true)), true));
    world.bench.clock.advance(Duration::from_secs(8));
    let get = world.bounded();
    world.read_call().await.send(away()).ok();
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!((gist(&answer), answer.degraded), (Err(Miss::Unavailable), true));
}

#[tokio::test]
async fn a_caller_may_accept_less_staleness_than_the_namespace_keeps_and_welcome_more_than_the_bound() {
    let mut world = World::new(Duration::from_secs(10));
    world.warm(3).await;
    world.bench.clock.advance(Duration::from_secs(5));
    let get = world.get(Consistency::Bounded(Some(Duration::from_secs(4))), Token::default());
    world.read_call().await.send(away()).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Err(Miss::Unavailable));
    let get = world.get(Consistency::Bounded(Some(Duration::from_secs(6))), Token::default());
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((3, Tier::L1, true)), "nothing was asked");
}

#[tokio::test]
async fn an_expired_entry_is_answered_only_flagged() {
    let mut world = World::new(Duration::from_secs(100));
    world.warm(3).await;
    world.bench.clock.advance(Duration::from_secs(61));
    let get = world.bounded();
    world.read_call().await.send(away()).ok();
    let answer = get.await.expect("no panic").expect("answered");
    let GetOutcome::Hit { stale: Some(stale), .. } = answer.outcome else { panic!("flagged") };
    assert_eq!(stale.reason, StaleReason::Expired);
    assert!(stale.staleness >= Duration::from_secs(60), "{stale:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shared_tier_that_says_nothing_costs_no_more_than_the_budget() {
    let mut world = World::new(Duration::ZERO);
    let begun = tokio::time::Instant::now();
    let get = world.bounded();
    let _unanswered = world.read_call().await;
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!((gist(&answer), answer.degraded), (Err(Miss::Unavailable), true));
    assert_eq!(begun.elapsed().as_millis(), BUDGET.as_millis());
}

#[tokio::test]
async fn a_set_goes_on_when_its_caller_leaves_and_is_answered_from_memory() {
    let mut world = World::new(Duration::ZERO);
    let (cache, key) = (world.cache.clone(), world.bench.key("k"));
    let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(BOUND));
    let write = Write { key, entry, condition: Condition::None, request: None };
    let set = Set { write, barrier: Barrier::None, deadline: Moment::FOREVER };
    let caller = tokio::spawn(async move { cache.set(set).await.map(|_| ()) });
    let Some(Call::Write(answer)) = world.calls.recv().await else { panic!("a write was expected") };
    caller.abort();
    assert!(caller.await.expect_err("aborted").is_cancelled());
    answer.send(Ok(vec![WriteResult::Stored(world.entry(6))])).ok();
    world.cache.close().await;
    let answer = world.bounded().await.expect("no panic").expect("answered");
    assert_eq!(gist(&answer), Ok((6, Tier::L1, false)));
}

#[tokio::test]
async fn what_was_read_before_a_takeover_is_not_answered_after_it() {
    let mut world = World::new(Duration::ZERO);
    let get = world.bounded();
    let answer = world.read_call().await;
    world.bench.coherence.disconnected(&[0]);
    let nonce = world.bench.coherence.audit_begins(&[0]);
    world.bench.coherence.echo(nonce, Echo { positions: vec![(0, Version::new(EPOCH + 1, 5))] });
    answer.send(world.found(6, 6)).ok();
    let answer = get.await.expect("no panic").expect("answered");
    assert_eq!(gist(&answer), Err(Miss::Unavailable));
}

fn new_entry(text: &str) -> NewEntry {
    NewEntry::new(Content::Value(Bytes::copy_from_slice(text.as_bytes())), Lifetime::of(Duration::from_secs(60)))
}

impl World {
    fn set(&self, text: &str) -> tokio::task::JoinHandle<Result<SetAnswer, CacheError>> {
        let (cache, key) = (self.cache.clone(), self.bench.key("k"));
        let write = Write { key, entry: new_entry(text), condition: Condition::None, request: None };
        let set = Set { write, barrier: Barrier::None, deadline: Moment::FOREVER };
        tokio::spawn(async move { cache.set(set).await })
    }

    async fn answered(&self) -> Result<(u64, Tier, bool), Miss> {
        gist(&self.bounded().await.expect("no panic").expect("answered"))
    }
}

#[tokio::test]
async fn what_is_stored_without_the_shared_tier_is_nothing_to_it() {
    let mut world = World::new(Duration::from_secs(600));
    world.cache.switch(Switches { l2: false, ..Switches::default() });
    let set = world.set("alone").await.expect("no panic").expect("stored");
    assert_eq!((set.outcome, set.version), (SetOutcome::Stored, Some(Version::new(EPOCH, 5))));
    assert_eq!(world.answered().await, Ok((5, Tier::L1, false)));
    // No partition is proven, and no promise applies.
    world.bench.clock.advance(Duration::from_secs(30));
    assert_eq!(world.answered().await, Ok((5, Tier::L1, false)));
    assert!(world.calls.try_recv().is_err(), "the shared tier was not asked");
    // Switched on again, L2 is read. Even while L2 is unavailable the local entry is not answered.
    world.cache.switch(Switches::default());
    for found in [away(), world.found(4, 6)] {
        let get = world.bounded();
        let is_away = found.is_err();
        world.read_call().await.send(found).ok();
        let answer = gist(&get.await.expect("no panic").expect("answered"));
        assert_eq!(answer, if is_away { Err(Miss::Unavailable) } else { Ok((4, Tier::L2, false)) });
    }
}

#[tokio::test]
async fn without_memory_nothing_is_kept_but_changes_reach_what_was_there() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    world.cache.switch(Switches { l1: false, ..Switches::default() });
    let get = world.bounded();
    world.read_call().await.send(world.found(3, 5)).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((3, Tier::L2, false)));
    let set = world.set("new");
    let Some(Call::Write(answer)) = world.calls.recv().await else { panic!("a write was expected") };
    answer.send(Ok(vec![WriteResult::Stored(world.entry(6))])).ok();
    set.await.expect("no panic").expect("stored");
    world.cache.switch(Switches::default());
    let get = world.bounded();
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((6, Tier::L2, false)), "the old one is gone");
}

#[tokio::test]
async fn memory_keeps_an_entry_for_as_long_as_it_may_now() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    assert_eq!(world.answered().await, Ok((3, Tier::L1, false)));
    let patch = PolicyPatch { l1_ttl: Some(Duration::from_secs(1)), ..PolicyPatch::default() };
    world.bench.namespaces.change_policy("default", patch).expect("allowed");
    assert_eq!(world.answered().await, Ok((3, Tier::L1, false)));
    world.bench.clock.advance(Duration::from_millis(1001));
    let get = world.bounded();
    world.read_call().await.send(world.found(3, 5)).ok();
    assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((3, Tier::L2, false)));
}

#[tokio::test]
async fn a_longer_life_does_not_overtake_a_shorter_one() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    let (key, coherence) = (world.bench.key("k"), world.bench.coherence.clone());
    let l1 = world.bench.l1.clone();
    let held = || l1.get(key.as_ref());
    let (before, hour) = (coherence.begin_fill(key.as_ref()), world.bench.now().plus(Duration::from_secs(3600)));
    coherence.extend_ttl(&key, Version::new(EPOCH, 3), hour, before);
    assert_eq!(held().expect("there").entry.expires_at, hour);
    // A Touch that made it shorter was applied meanwhile, and the state of L2 after it was read.
    coherence.apply_own_change(&key, Version::new(EPOCH, 6), Effect::Shortened);
    world.warm(3).await;
    coherence.extend_ttl(&key, Version::new(EPOCH, 3), hour, before);
    assert_ne!(held().expect("there").entry.expires_at, hour);
}

impl World {
    /// A replica whose subscription is lost and whose L1 holds the write 3, proven for a while.
    async fn cut_off() -> World {
        let mut world = World::new(Duration::ZERO);
        world.warm(3).await;
        world.bench.coherence.disconnected(&ALL);
        assert_eq!(world.answered().await, Ok((3, Tier::L1, false)));
        world
    }

    /// A Get that L1 does not answer, and the answer of the shared tier.
    async fn asked(&mut self, read: Result<ReadResult, L2Error>) -> Result<(u64, Tier, bool), Miss> {
        let get = self.bounded();
        self.read_call().await.send(read).ok();
        gist(&get.await.expect("no panic").expect("answered"))
    }

    async fn strong(&mut self, read: Result<ReadResult, L2Error>) -> Result<(u64, Tier, bool), Miss> {
        let get = self.get(Consistency::Strong, Token::default());
        self.read_call().await.send(read).ok();
        gist(&get.await.expect("no panic").expect("answered"))
    }

    fn lacks(&self, position: u64) -> Result<ReadResult, L2Error> {
        Ok(ReadResult { position: Version::new(EPOCH, position), entry: None })
    }
}

#[tokio::test]
async fn no_get_answers_something_older_than_one_before_it_that_asked_the_shared_tier() {
    let narrow = Consistency::Bounded(Some(Duration::ZERO));
    let token = || Token::at(0, Version::new(EPOCH, 6));
    for (consistency, token) in
        [(Consistency::Strong, Token::default()), (Consistency::Bounded(None), token()), (narrow, Token::default())]
    {
        let mut world = World::cut_off().await;
        world.bench.clock.advance(Duration::from_millis(1));
        let get = world.get(consistency, token);
        world.read_call().await.send(world.found(6, 6)).ok();
        assert_eq!(gist(&get.await.expect("no panic").expect("answered")), Ok((6, Tier::L2, false)));
        assert_eq!(world.asked(world.found(6, 6)).await, Ok((6, Tier::L2, false)), "{consistency:?}");
    }
}

#[tokio::test]
async fn what_the_shared_tier_lacked_is_not_answered_from_memory_afterwards() {
    let mut world = World::cut_off().await;
    assert_eq!(world.strong(world.lacks(6)).await, Err(Miss::Absent));
    assert_eq!(world.asked(away()).await, Err(Miss::Unavailable));
}

#[tokio::test]
async fn what_the_shared_tier_had_marked_is_not_answered_as_fresh_afterwards() {
    let mut world = World::cut_off().await;
    let marked_at = Some(world.bench.now());
    let read = world.found(3, 6).map(|read| ReadResult {
        entry: read.entry.map(|entry| entry.with(|details| details.marked_at = marked_at)),
        ..read
    });
    assert_eq!(world.strong(read).await, Err(Miss::Absent));
    assert_eq!(world.asked(away()).await, Err(Miss::Unavailable));
}

#[tokio::test]
async fn a_server_that_has_less_than_answers_have_shown_is_not_believed() {
    let mut world = World::cut_off().await;
    assert_eq!(world.strong(world.found(6, 6)).await, Ok((6, Tier::L2, false)));
    assert_eq!(world.asked(world.found(3, 5)).await, Err(Miss::Unavailable));
    assert_eq!(world.asked(world.lacks(5)).await, Err(Miss::Unavailable));
    assert_eq!(world.asked(world.found(6, 7)).await, Ok((6, Tier::L2, false)));
}

#[tokio::test]
async fn a_server_that_has_less_than_it_acknowledged_is_not_believed() {
    let mut world = World::cut_off().await;
    let set = world.set("new");
    let Some(Call::Write(answer)) = world.calls.recv().await else { panic!("a write was expected") };
    answer.send(Ok(vec![WriteResult::Stored(world.entry(6))])).ok();
    set.await.expect("no panic").expect("stored");
    assert_eq!(world.asked(world.found(3, 5)).await, Err(Miss::Unavailable));
}

#[tokio::test]
async fn a_get_that_begins_after_a_newer_answer_does_not_share_an_older_fetch() {
    let mut world = World::new(Duration::ZERO);
    let first = world.bounded();
    let old = world.read_call().await;
    assert_eq!(world.strong(world.found(6, 6)).await, Ok((6, Tier::L2, false)));
    let next = world.bounded();
    // It is in L1: no request is sent.
    assert_eq!(gist(&next.await.expect("no panic").expect("answered")), Ok((6, Tier::L1, false)));
    world.bench.coherence.disconnected(&ALL);
    old.send(world.found(3, 5)).ok();
    assert_eq!(gist(&first.await.expect("no panic").expect("answered")), Ok((3, Tier::L2, false)), "it began before");
    assert_eq!(world.answered().await, Ok((6, Tier::L1, false)));
}

#[tokio::test]
async fn a_refused_set_that_shows_a_newer_entry_removes_the_older_one() {
    let mut world = World::cut_off().await;
    let set = world.set("new");
    let Some(Call::Write(answer)) = world.calls.recv().await else { panic!("a write was expected") };
    let (current, position) = (Some(Version::new(EPOCH, 6)), Version::new(EPOCH, 6));
    answer
        .send(Ok(vec![WriteResult::Refused {
            why: crate::cache::tier::ConditionFailure::AlreadyPresent,
            current,
            position,
        }]))
        .ok();
    set.await.expect("no panic").expect("refused");
    assert_eq!(world.asked(world.found(6, 6)).await, Ok((6, Tier::L2, false)));
}

#[tokio::test]
async fn a_dead_entry_is_removed_when_it_is_seen() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    let change = Change::of_selected(Effect::Removed, &world.bench.namespace, &[Selector::Namespace]);
    let message =
        crate::cache::tier::bus::Message { partition: 0, version: Version::new(EPOCH, 6), change, own: false };
    world.bench.coherence.apply(message);
    assert_eq!(world.asked(away()).await, Err(Miss::Unavailable));
    assert!(world.bench.l1.get(world.bench.key("k").as_ref()).is_none());
}
