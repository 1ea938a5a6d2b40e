//! Interleavings of Gets with a lease, over a shared tier whose every answer the test gives.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;
use crate::cache::entry::{Content, NewEntry};
use crate::cache::lease::Lease;
use crate::cache::lifetime::Lifetime;
use crate::cache::policy::NamespacePolicy;
use crate::cache::testing::{BOUND, EPOCH};
use crate::cache::tier::bus::{BusSink as _, Change, Effect, Message};
use crate::cache::tier::{
    Acquired, Condition, ConditionFailure, L2Error, LeaseClaim, LeaseId, LeaseRelease, ReadResult, Write, WriteResult,
};
use crate::cache::tiered::cache::tests::{Call, World, away, gist};
use crate::cache::tiered::lease::{Release, Released};
use crate::cache::tiered::{Barrier, Set, SetAnswer, SetOutcome};
use crate::cache::token::Token;
use crate::cache::version::Version;

type Getting = JoinHandle<Result<GetAnswer, CacheError>>;

const SECOND: Duration = Duration::from_secs(1);
const WISH: LeaseOptions = LeaseOptions { duration: Duration::from_secs(10), wait: true, stale_if_error: false };
const WINDOW: Duration = Duration::from_secs(100);

impl World {
    fn wants(&self, wish: LeaseOptions) -> Getting {
        self.wants_within(wish, Consistency::Bounded(None), Moment::FOREVER)
    }

    fn wants_within(&self, wish: LeaseOptions, consistency: Consistency, deadline: Moment) -> Getting {
        let (cache, key, token) = (self.cache.clone(), self.bench.key("k"), Token::default());
        tokio::spawn(async move {
            cache
                .get(Get { key: key.as_ref(), consistency, token: &token, deadline, lease: Some(wish), slot: None })
                .await
        })
    }

    fn absent(&self) -> Result<ReadResult, L2Error> {
        Ok(ReadResult { position: Version::new(EPOCH, 5), entry: None })
    }

    async fn acquire_call(&mut self) -> (LeaseClaim, oneshot::Sender<Result<Acquired, L2Error>>) {
        match self.calls.recv().await {
            Some(Call::Acquire(claim, answer)) => (claim, answer),
            other => panic!("to be asked for a lease was expected, not {}", name(other)),
        }
    }

    async fn release_call(&mut self) -> (LeaseRelease, oneshot::Sender<Result<bool, L2Error>>) {
        match self.calls.recv().await {
            Some(Call::Release(release, answer)) => (release, answer),
            other => panic!("to be given a lease back was expected, not {}", name(other)),
        }
    }

    /// The shared tier has nothing, and grants the lease.
    async fn grants(&mut self) -> LeaseClaim {
        self.read_call().await.send(self.absent()).ok();
        let (claim, answer) = self.acquire_call().await;
        answer.send(Ok(Acquired::Granted)).ok();
        claim
    }

    /// The shared tier has nothing, and another replica has the lease.
    async fn is_held(&mut self) {
        self.read_call().await.send(self.absent()).ok();
        self.acquire_call().await.1.send(Ok(Acquired::Held(WISH.duration))).ok();
    }

    async fn waiting(&self, number: u64) {
        while self.cache.leases().waiting.get() != number {
            yield_now().await;
        }
    }

    /// Applies the message of another replica's write of the key.
    fn hears(&self, sequence: u64) {
        let change = Change::of_keys(Effect::Set, &[self.bench.key("k")]);
        let version = Version::new(EPOCH, sequence);
        self.bench.coherence.apply(Message { partition: 0, version, change, own: false });
    }

    fn fill(&self, lease: LeaseId) -> JoinHandle<Result<SetAnswer, CacheError>> {
        let (cache, key) = (self.cache.clone(), self.bench.key("k"));
        let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(BOUND));
        let write = Write { key, entry, condition: Condition::Lease(lease), request: None };
        tokio::spawn(async move { cache.set(Set { write, barrier: Barrier::None, deadline: Moment::FOREVER }).await })
    }

    async fn write_call(&mut self) -> oneshot::Sender<Result<Vec<WriteResult>, L2Error>> {
        match self.calls.recv().await {
            Some(Call::Write(answer)) => answer,
            other => panic!("a write was expected, not {}", name(other)),
        }
    }

    fn release(&self, lease: LeaseId, failed: bool) -> JoinHandle<Result<Released, CacheError>> {
        let (cache, key) = (self.cache.clone(), self.bench.key("k"));
        let release = LeaseRelease { lease, failed, pause: Duration::ZERO };
        tokio::spawn(async move { cache.release(Release { key, release, deadline: Moment::FOREVER }).await })
    }

    fn rounds(&self) -> usize {
        self.bench.coherence.rounds(0).number()
    }

    fn is_quiet(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// An entry in L1 that is kept, `past` its expiry.
    async fn expired(&mut self, past: Duration) {
        let get = self.wants(WISH);
        self.read_call().await.send(self.found(3, 5)).ok();
        answered(get).await;
        self.bench.clock.advance(Duration::from_secs(60) + past);
        let nonce = self.bench.coherence.audit_begins(&[0]);
        let positions = vec![(0, Version::new(EPOCH, 5))];
        self.bench.coherence.echo(nonce, crate::cache::tier::bus::Echo { positions });
    }
}

fn name(call: Option<Call>) -> &'static str {
    match call {
        Some(Call::Read(_)) => "a read",
        Some(Call::Write(_)) => "a write",
        Some(Call::Acquire(..)) => "to be asked for a lease",
        Some(Call::Release(..)) => "to be given a lease back",
        None => "the end",
    }
}

async fn answered(get: Getting) -> GetAnswer {
    get.await.expect("no panic").expect("answered")
}

fn lease(answer: &GetAnswer) -> Lease {
    answer.lease.expect("the lease")
}

#[tokio::test]
async fn of_many_who_miss_one_gets_the_lease_and_all_get_the_entry_for_three_calls() {
    let mut world = World::new(Duration::ZERO);
    let mut gets: VecDeque<_> = (0..100).map(|_| world.wants(WISH)).collect();
    let claim = world.grants().await;
    assert_eq!((claim.duration, claim.seen), (WISH.duration, None));
    world.waiting(99).await;
    let winner = gets.iter().position(|get| get.is_finished());
    let winner = answered(gets.remove(winner.expect("one has it")).expect("there")).await;
    assert_eq!((gist(&winner), lease(&winner).id, winner.waited), (Err(Miss::Absent), claim.lease, false));
    // A later Get uses the result of the earlier ones.
    gets.push_back(world.wants(WISH));
    world.waiting(100).await;
    assert!(world.is_quiet());
    world.hears(6);
    let read = world.read_call().await;
    read.send(world.found(6, 6)).ok();
    for get in gets {
        let answer = answered(get).await;
        assert_eq!((gist(&answer).map(|(sequence, ..)| sequence), answer.waited), (Ok(6), true));
        assert!(answer.lease.is_none());
    }
    assert!(world.is_quiet(), "one read for all of them");
    let counters = world.cache.leases();
    let counts = counters.read();
    let counts = [counts.granted, counts.left, counts.served, counts.waiting];
    assert_eq!((counts, world.rounds()), ([1, 0, 100, 0], 0));
}

#[tokio::test]
async fn a_fill_of_this_replica_is_answered_from_memory() {
    let mut world = World::new(Duration::ZERO);
    let first = world.wants(WISH);
    let claim = world.grants().await;
    answered(first).await;
    let second = world.wants(WISH);
    world.waiting(1).await;
    let set = world.fill(claim.lease);
    world.write_call().await.send(Ok(vec![WriteResult::Stored(world.entry(6))])).ok();
    assert_eq!(set.await.expect("no panic").expect("stored").outcome, SetOutcome::Stored);
    // Woken by the write; the one read for all waiters begins beside it.
    if let Some(Call::Read(read)) = world.calls.recv().await {
        read.send(world.found(6, 6)).ok();
    }
    assert_eq!(gist(&answered(second).await).map(|(sequence, ..)| sequence), Ok(6));
    assert_eq!(world.cache.leases().filled.get(), 1);
}

#[tokio::test]
async fn the_lease_of_a_caller_who_leaves_goes_to_the_next() {
    let mut world = World::new(Duration::ZERO);
    let first = world.wants(WISH);
    world.read_call().await.send(world.absent()).ok();
    let (claim, granted) = world.acquire_call().await;
    let second = world.wants(WISH);
    world.waiting(2).await;
    first.abort();
    world.waiting(1).await;
    granted.send(Ok(Acquired::Granted)).ok();
    let answer = answered(second).await;
    assert_eq!((gist(&answer), lease(&answer).id), (Err(Miss::Absent), claim.lease));
    assert!(world.is_quiet());
}

#[tokio::test]
async fn a_lease_that_nobody_takes_is_given_back() {
    let mut world = World::new(Duration::ZERO);
    let only = world.wants(WISH);
    world.read_call().await.send(world.absent()).ok();
    let (claim, granted) = world.acquire_call().await;
    only.abort();
    world.waiting(0).await;
    granted.send(Ok(Acquired::Granted)).ok();
    let (request, released) = world.release_call().await;
    assert_eq!(request, LeaseRelease { lease: claim.lease, failed: false, pause: Duration::ZERO });
    released.send(Ok(true)).ok();
    while world.rounds() > 0 {
        yield_now().await;
    }
    // Also if it disconnects after the notification.
    let only = world.wants(WISH);
    world.grants().await;
    only.abort();
    if only.await.is_err() {
        world.release_call().await.1.send(Ok(true)).ok();
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_answered_before_the_deadline() {
    let mut world = World::new(Duration::ZERO);
    let begun = tokio::time::Instant::now();
    let get = world.wants_within(WISH, Consistency::Bounded(None), world.bench.now().plus(SECOND));
    world.is_held().await;
    let answer = answered(get).await;
    assert_eq!((gist(&answer), answer.degraded), (Err(Miss::Leased), false));
    assert_eq!(begun.elapsed().as_millis(), 980);
}

#[tokio::test]
async fn who_does_not_want_to_wait_does_not_and_asks_nothing_again() {
    let mut world = World::new(Duration::ZERO);
    let wish = LeaseOptions { wait: false, ..WISH };
    let get = world.wants(wish);
    world.is_held().await;
    assert_eq!(gist(&answered(get).await), Err(Miss::Leased));
    for _ in 0..10 {
        assert_eq!(gist(&answered(world.wants(wish)).await), Err(Miss::Leased));
    }
    assert!(world.is_quiet());
}

#[tokio::test]
async fn an_entry_that_is_there_after_all_is_read() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.read_call().await.send(world.absent()).ok();
    world.acquire_call().await.1.send(Ok(Acquired::Present)).ok();
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&answered(get).await), Ok((6, Tier::L1, false)));
}

#[tokio::test]
async fn a_shared_tier_that_contradicts_itself_is_not_asked_for_ever() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.read_call().await.send(world.absent()).ok();
    for _ in 0..MAX_CONTRADICTIONS {
        world.acquire_call().await.1.send(Ok(Acquired::Present)).ok();
        world.read_call().await.send(world.absent()).ok();
    }
    let answer = answered(get).await;
    assert_eq!((gist(&answer), answer.lease), (Err(Miss::Absent), None));
}

#[tokio::test]
async fn a_lost_message_makes_those_who_wait_look_again() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.is_held().await;
    world.waiting(1).await;
    world.bench.coherence.undecodable(&[0]);
    world.is_held().await;
    world.bench.coherence.disconnected(&[0]);
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&answered(get).await), Ok((6, Tier::L2, false)));
}

#[tokio::test(start_paused = true)]
async fn a_round_outlives_neither_the_lease_nor_the_bound() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    let begun = tokio::time::Instant::now();
    world.read_call().await.send(world.absent()).ok();
    world.acquire_call().await.1.send(Ok(Acquired::Held(SECOND))).ok();
    world.is_held().await;
    assert_eq!(begun.elapsed(), SECOND);
    world.is_held().await;
    assert_eq!(begun.elapsed(), SECOND + BOUND);
    world.bench.coherence.disconnected(&[0]);
    world.is_held().await;
    let begun = tokio::time::Instant::now();
    let read = world.read_call().await;
    assert_eq!(begun.elapsed(), BOUND / 8, "nothing is heard");
    read.send(world.found(6, 6)).ok();
    answered(get).await;
}

#[tokio::test]
async fn a_value_that_is_due_comes_with_the_lease_for_one_and_alone_for_the_others() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    let due = world.bench.now().plus(SECOND);
    let read = ReadResult {
        position: Version::new(EPOCH, 5),
        entry: Some(world.entry(3).with(|details| details.due_at = due)),
    };
    world.read_call().await.send(Ok(read)).ok();
    assert_eq!(answered(get).await.lease, None, "not due yet");
    world.bench.clock.advance(SECOND);
    let first = world.wants(WISH);
    let (claim, answer) = world.acquire_call().await;
    assert_eq!(claim.seen, Some(Version::new(EPOCH, 3)));
    // No other Get waits for the answer.
    let second = answered(world.wants(WISH)).await;
    assert_eq!((gist(&second), second.lease), (Ok((3, Tier::L1, false)), None));
    answer.send(Ok(Acquired::Granted)).ok();
    let first = answered(first).await;
    assert_eq!((gist(&first), lease(&first).id), (Ok((3, Tier::L1, false)), claim.lease));
    assert_eq!(answered(world.wants(WISH)).await.lease, None);
    assert!(world.is_quiet());
}

#[tokio::test]
async fn an_entry_is_drawn_for_refresh_the_likelier_the_less_of_its_life_is_left() {
    let policy = NamespacePolicy { early_refresh: 1.0, ..NamespacePolicy::default() };
    let world = World::with(policy);
    let entry = world.entry(3).with(|details| details.cost = SECOND);
    let drawn = |left: Duration| {
        let now = entry.expires_at.minus(left);
        (0..10_000).filter(|_| is_due(&entry, &world.bench.namespace, now)).count()
    };
    let (early, late, last) = (drawn(SECOND * 20), drawn(SECOND), drawn(SECOND / 10));
    assert!(early < 5 && (3_000..4_400).contains(&late) && last > 8_500, "{early} {late} {last}");
    let free = entry.clone().with(|details| details.cost = Duration::ZERO);
    assert!(!is_due(&free, &world.bench.namespace, entry.expires_at.minus(Duration::from_nanos(1))));
}

#[tokio::test]
async fn a_stale_value_that_is_welcome_is_answered_at_once() {
    let mut world = World::new(WINDOW);
    world.expired(SECOND).await;
    let welcome = || Consistency::Bounded(Some(Duration::from_secs(30)));
    let first = world.wants_within(WISH, welcome(), Moment::FOREVER);
    let (claim, answer) = world.acquire_call().await;
    assert_eq!(claim.seen, None);
    let second = answered(world.wants_within(WISH, welcome(), Moment::FOREVER)).await;
    assert_eq!((gist(&second), second.lease), (Ok((3, Tier::L1, true)), None));
    answer.send(Ok(Acquired::Granted)).ok();
    let first = answered(first).await;
    assert_eq!((gist(&first), lease(&first).id), (Ok((3, Tier::L1, true)), claim.lease));
}

#[tokio::test]
async fn after_a_failure_a_stale_value_goes_to_those_who_take_one_and_the_lease_to_another() {
    let mut world = World::new(WINDOW);
    world.expired(SECOND).await;
    let first = world.wants(WISH);
    let expired = world.entry(3);
    let kept = |world: &World| {
        let clock = world.bench.now();
        let entry = Entry { expires_at: clock.minus(SECOND), kept_until: clock.plus(WINDOW), ..expired.clone() };
        Ok(ReadResult { position: Version::new(EPOCH, 5), entry: Some(entry) })
    };
    world.read_call().await.send(kept(&world)).ok();
    let (claim, answer) = world.acquire_call().await;
    answer.send(Ok(Acquired::Granted)).ok();
    assert_eq!(gist(&answered(first).await), Err(Miss::Absent), "it did not welcome a stale value");
    let modest = world.wants(LeaseOptions { stale_if_error: true, ..WISH });
    let strict = world.wants(WISH);
    world.waiting(2).await;
    let release = world.release(claim.lease, true);
    let (request, released) = world.release_call().await;
    assert_eq!(request, LeaseRelease { lease: claim.lease, failed: true, pause: Duration::ZERO });
    world.bench.coherence.released(b"default", b"k", true);
    released.send(Ok(true)).ok();
    world.read_call().await.send(kept(&world)).ok();
    let (again, granted) = world.acquire_call().await;
    granted.send(Ok(Acquired::Granted)).ok();
    assert_eq!(gist(&answered(modest).await), Ok((3, Tier::L1, true)));
    let strict = answered(strict).await;
    assert_eq!((gist(&strict), lease(&strict).id), (Err(Miss::Absent), again.lease));
    let released = release.await.expect("no panic").expect("answered");
    assert!(released.released);
    assert_eq!(gist(&released.kept.expect("kept")), Ok((3, Tier::L1, true)));
}

#[tokio::test]
async fn while_nobody_may_have_the_lease_only_a_stale_value_helps() {
    let mut world = World::new(WINDOW);
    world.expired(SECOND).await;
    let modest = world.wants(LeaseOptions { stale_if_error: true, ..WISH });
    let strict = world.wants_within(WISH, Consistency::Bounded(None), world.bench.now().plus(SECOND / 10));
    world.read_call().await.send(world.absent()).ok();
    world.acquire_call().await.1.send(Ok(Acquired::Paused(WISH.duration))).ok();
    assert_eq!(gist(&answered(modest).await), Ok((3, Tier::L1, true)));
    assert_eq!(gist(&answered(strict).await), Err(Miss::Leased));
}

#[tokio::test]
async fn without_the_shared_tier_one_at_a_time_makes_the_entry() {
    let mut world = World::new(Duration::ZERO);
    let gets: Vec<_> = (0..3).map(|_| world.wants(WISH)).collect();
    world.waiting(0).await;
    world.read_call().await.send(away()).ok();
    let (claim, answer) = world.acquire_call().await;
    answer.send(Err(L2Error::unavailable("away"))).ok();
    world.waiting(2).await;
    let mut leases = vec![claim.lease];
    let mut left: VecDeque<_> = gets.into();
    loop {
        let index = loop {
            match left.iter().position(|get| get.is_finished()) {
                Some(index) => break index,
                None => yield_now().await,
            }
        };
        let answer = answered(left.remove(index).expect("there")).await;
        assert_eq!((gist(&answer), answer.degraded), (Err(Miss::Unavailable), true));
        let lease = lease(&answer);
        assert!(lease.alone && Some(&lease.id) == leases.last());
        if left.is_empty() {
            break;
        }
        // Its Set fails, and the next may try.
        let set = world.fill(lease.id);
        world.write_call().await.send(Err(L2Error::unavailable("away"))).ok();
        assert!(set.await.expect("no panic").is_err());
        world.read_call().await.send(away()).ok();
        let (claim, answer) = world.acquire_call().await;
        answer.send(Err(L2Error::Full)).ok();
        leases.push(claim.lease);
    }
    let counters = world.cache.leases();
    assert_eq!((counters.granted.get(), counters.granted_alone.get(), counters.filled.get()), (0, 3, 0));
}

#[tokio::test]
async fn a_lease_granted_alone_that_is_void_or_given_back_lets_the_next_go_on() {
    let mut world = World::new(Duration::ZERO);
    let alone = async |world: &mut World| {
        world.read_call().await.send(away()).ok();
        let (claim, answer) = world.acquire_call().await;
        answer.send(Err(L2Error::unavailable("away"))).ok();
        claim.lease
    };
    let first = world.wants(WISH);
    let lease = alone(&mut world).await;
    answered(first).await;
    let second = world.wants(WISH);
    world.read_call().await.send(away()).ok();
    world.waiting(1).await;
    let set = world.fill(lease);
    let void =
        WriteResult::Refused { why: ConditionFailure::LeaseVoid, current: None, position: Version::new(EPOCH, 5) };
    world.write_call().await.send(Ok(vec![void])).ok();
    let (request, released) = world.release_call().await;
    assert_eq!(request.lease, lease, "void for these tags, it may hold for others");
    released.send(Ok(false)).ok();
    assert_eq!(set.await.expect("no panic").expect("answered").outcome, SetOutcome::LeaseVoid);
    let lease = alone(&mut world).await;
    assert_eq!(answered(second).await.lease.map(|lease| lease.id), Some(lease));
    let third = world.wants(WISH);
    world.read_call().await.send(away()).ok();
    world.waiting(1).await;
    assert!(world.release(lease, false).await.expect("no panic").expect("released").released);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match world.calls.recv().await {
            // L2 may have granted it, if only its reply was lost.
            Some(Call::Release(request, answer)) => {
                assert_eq!(request.lease, lease);
                answer.send(Ok(false)).ok();
                seen.push("release");
            }
            Some(Call::Read(answer)) => {
                answer.send(away()).ok();
                seen.push("read");
            }
            other => panic!("unexpected: {}", name(other)),
        }
    }
    world.acquire_call().await.1.send(Err(L2Error::unavailable("away"))).ok();
    assert!(answered(third).await.lease.is_some());
    assert_eq!(world.cache.leases().voided.get(), 1);
}

#[tokio::test]
async fn a_set_that_finds_no_room_gives_its_lease_back() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    let claim = world.grants().await;
    answered(get).await;
    let set = world.fill(claim.lease);
    world.write_call().await.send(Err(L2Error::Full)).ok();
    let (request, released) = world.release_call().await;
    assert_eq!(request.lease, claim.lease);
    released.send(Ok(true)).ok();
    assert!(matches!(set.await.expect("no panic"), Err(CacheError::Full)));
}

#[tokio::test]
async fn a_replica_that_is_about_to_go_lets_nobody_wait() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.is_held().await;
    world.waiting(1).await;
    world.cache.stop_waiting();
    assert_eq!(gist(&answered(get).await), Err(Miss::Leased));
    world.cache.close().await;
    assert_eq!(world.rounds(), 0);
}

#[tokio::test]
async fn what_is_heard_while_the_lease_is_asked_for_is_not_missed() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.read_call().await.send(world.absent()).ok();
    let (claim, granted) = world.acquire_call().await;
    world.hears(6);
    granted.send(Ok(Acquired::Granted)).ok();
    let (request, released) = world.release_call().await;
    assert_eq!(request.lease, claim.lease, "the write has made it void");
    released.send(Ok(false)).ok();
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&answered(get).await).map(|(sequence, ..)| sequence), Ok(6));
}

#[tokio::test]
async fn who_does_not_wait_gets_the_lease_also_when_old_news_comes_with_it() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(LeaseOptions { wait: false, ..WISH });
    world.read_call().await.send(world.absent()).ok();
    let (_, granted) = world.acquire_call().await;
    world.hears(6);
    granted.send(Ok(Acquired::Granted)).ok();
    world.release_call().await.1.send(Ok(true)).ok();
    let claim = timeout(Duration::from_secs(10), world.grants()).await.expect("it looks again");
    assert_eq!(lease(&answered(get).await).id, claim.lease);
}

#[tokio::test]
async fn a_token_beyond_what_a_round_knows_is_asked_for() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(WISH);
    world.is_held().await;
    world.waiting(1).await;
    let (cache, key, token) = (world.cache.clone(), world.bench.key("k"), Token::at(0, Version::new(EPOCH, 6)));
    let later = tokio::spawn(async move {
        let (consistency, deadline) = (Consistency::Bounded(None), Moment::FOREVER);
        cache.get(Get { key: key.as_ref(), consistency, token: &token, deadline, lease: Some(WISH), slot: None }).await
    });
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&answered(later).await), Ok((6, Tier::L2, false)));
    // The other one waits until the message arrives.
    world.hears(6);
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(gist(&answered(get).await).map(|(sequence, ..)| sequence), Ok(6));
}

#[tokio::test(start_paused = true)]
async fn a_get_with_a_lease_has_one_budget_for_all_that_it_asks() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(LeaseOptions { wait: false, ..WISH });
    let read = world.read_call().await;
    world.bench.clock.advance(Duration::from_millis(150));
    read.send(world.absent()).ok();
    let (_, acquire) = world.acquire_call().await;
    acquire.send(Ok(Acquired::Present)).ok();
    let _unanswered = world.read_call().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(gist(&answered(get).await), Err(Miss::Leased));
    assert_eq!(begun.elapsed(), Duration::from_millis(50), "what was left of 200 ms");
}

#[tokio::test(start_paused = true)]
async fn the_lease_to_refresh_an_entry_is_asked_for_within_the_same_budget() {
    let mut world = World::new(Duration::ZERO);
    let get = world.wants(LeaseOptions { wait: false, ..WISH });
    let read = world.read_call().await;
    world.bench.clock.advance(Duration::from_millis(150));
    let due = world.found(3, 5).map(|read| ReadResult {
        entry: read.entry.map(|entry| entry.with(|details| details.due_at = Moment::NEVER)),
        ..read
    });
    read.send(due).ok();
    let (_, _unanswered) = world.acquire_call().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(gist(&answered(get).await), Ok((3, Tier::L2, false)));
    assert_eq!(begun.elapsed(), Duration::from_millis(50), "what was left of 200 ms");
}
