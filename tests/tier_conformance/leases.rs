//! Conformance of L2: leases.

use std::time::Duration;

use twintier::cache::clock::Clock as _;
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::Key;
use twintier::cache::lease::waiters::{End, LeaseRequest};
use twintier::cache::tier::{
    Acquired, Condition, ConditionFailure, LeaseClaim, LeaseId, LeaseRelease, Mode, Removal, WriteResult,
};

use super::harness::eventually;
use super::{Bench, BootClock};

const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    async fn acquire(&self, key: &Key, lease: u128, duration: Duration) -> Acquired {
        let claim = LeaseClaim { lease: LeaseId(lease), duration, seen: None };
        self.l2.acquire(key, claim, self.until()).await.unwrap()
    }

    async fn grants(&self, key: &Key, lease: u128) {
        assert_eq!(self.acquire(key, lease, MINUTE).await, Acquired::Granted);
    }

    async fn release(&self, key: &Key, lease: u128, pause: Duration) -> bool {
        let release = LeaseRelease { lease: LeaseId(lease), failed: !pause.is_zero(), pause };
        self.l2.release(key, release, self.until()).await.unwrap()
    }

    async fn fill(&self, key: &Key, lease: u128) -> Result<(), ConditionFailure> {
        match self.write(key, "filled", Condition::Lease(LeaseId(lease))).await {
            WriteResult::Stored(_) => Ok(()),
            WriteResult::Refused { why, .. } => Err(why),
            other => panic!("{other:?}"),
        }
    }
}

async fn one_gets_the_lease_and_fills_it_once(bench: &Bench) {
    let key = bench.key("one", "lease");
    bench.grants(&key, 1).await;
    let Acquired::Held(left) = bench.acquire(&key, 2, MINUTE).await else { panic!("granted twice") };
    assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
    assert_eq!(bench.fill(&key, 2).await, Err(ConditionFailure::LeaseVoid));
    assert_eq!(bench.fill(&key, 1).await, Ok(()));
    assert_eq!(bench.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid), "a lease is for one Set");
    assert_eq!(bench.acquire(&key, 3, MINUTE).await, Acquired::Present);
    assert!(bench.read(&key).await.is_some());
}

async fn an_entry_is_made_anew_by_who_has_seen_it(bench: &Bench) {
    let key = bench.key("one", "anew");
    let first = bench.store(&key, "1").await;
    let claim = |lease, seen| LeaseClaim { lease: LeaseId(lease), duration: MINUTE, seen: Some(seen) };
    assert_eq!(bench.l2.acquire(&key, claim(1, first), bench.until()).await, Ok(Acquired::Granted));
    assert!(matches!(bench.l2.acquire(&key, claim(2, first), bench.until()).await, Ok(Acquired::Held(_))));
    assert_eq!(bench.fill(&key, 1).await, Ok(()));
    assert_eq!(bench.l2.acquire(&key, claim(3, first), bench.until()).await, Ok(Acquired::Present), "it is new");
}

async fn whatever_changes_the_key_voids_its_lease(bench: &Bench) {
    let key = bench.key("one", "void");
    let partition = bench.partition(&key);
    let removals = [Removal { key: key.clone(), source_version: None }];
    for (n, what) in ["a set", "a removal", "a mark", "its namespace"].into_iter().enumerate() {
        bench.remove(partition, std::slice::from_ref(&key)).await;
        let lease = 10 + n as u128;
        bench.grants(&key, lease).await;
        match what {
            "a set" => _ = bench.store(&key, "x").await,
            "a removal" => _ = bench.remove(partition, std::slice::from_ref(&key)).await,
            "a mark" => _ = bench.l2.remove(partition, &removals, Mode::MarkStale, bench.until().into()).await.unwrap(),
            _ => _ = bench.invalidate(partition, key.namespace(), &[Selector::Namespace]).await,
        }
        assert_eq!(bench.fill(&key, lease).await, Err(ConditionFailure::LeaseVoid), "{what}");
        if what != "a set" {
            bench.grants(&key, lease + 10).await;
            assert_eq!(bench.fill(&key, lease + 10).await, Ok(()), "{what}");
        }
    }
}

async fn what_a_pattern_voided_stays_void_when_the_pattern_is_forgotten(bench: &Bench) {
    let (key, spared) = (bench.key("patterns", "lease:k"), bench.key("patterns", "other"));
    for mode in [Mode::Remove, Mode::MarkStale] {
        bench.grants(&key, 1).await;
        bench.grants(&spared, 2).await;
        let selectors = [Selector::Pattern("lease:*".into())];
        for partition in 0..super::PARTITIONS {
            let done = bench.l2.invalidate(partition, key.namespace(), &selectors, mode, bench.until().into()).await;
            done.unwrap();
        }
        eventually("no pattern is at work", async || {
            let Some(redis) = &bench.redis else { return key.namespace().invalidation_log().patterns().is_empty() };
            let counter = format!("conformance:{{{}}}:c", bench.partition(&key));
            let script = "redis.call('SELECT', 3) return redis.call('HSTRLEN', KEYS[1], 'n:patterns')";
            redis.cli(&["EVAL", script, "1", &counter]).await.number() <= 152
        })
        .await;
        assert_eq!(bench.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid), "{mode:?}");
        assert_eq!(bench.fill(&spared, 2).await, Ok(()), "{mode:?}");
        bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await;
        bench.remove(bench.partition(&spared), std::slice::from_ref(&spared)).await;
    }
}

async fn what_has_nothing_to_do_with_the_key_voids_no_lease(bench: &Bench) {
    let (key, other) = (bench.key("one", "spared"), bench.key("two", "spared"));
    bench.grants(&key, 1).await;
    bench.grants(&other, 2).await;
    for partition in 0..super::PARTITIONS {
        bench.invalidate(partition, other.namespace(), &[Selector::Namespace]).await;
    }
    bench.store(&bench.key("one", "another"), "x").await;
    assert_eq!(bench.fill(&key, 1).await, Ok(()));
    assert_eq!(bench.fill(&other, 2).await, Err(ConditionFailure::LeaseVoid));
}

async fn a_lease_ends_by_time(bench: &Bench) {
    let key = bench.key("one", "lapses");
    assert_eq!(bench.acquire(&key, 1, Duration::from_millis(30)).await, Acquired::Granted);
    eventually("it ends", async || bench.acquire(&key, 2, MINUTE).await == Acquired::Granted).await;
    assert_eq!(bench.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid));
    assert!(!bench.release(&key, 1, Duration::ZERO).await);
    assert_eq!(bench.fill(&key, 2).await, Ok(()));
}

async fn a_lease_given_back_is_free_at_once_or_after_a_pause(bench: &Bench) {
    let key = bench.key("one", "released");
    bench.grants(&key, 1).await;
    assert!(!bench.release(&key, 2, Duration::ZERO).await, "that of another");
    assert!(bench.release(&key, 1, Duration::ZERO).await);
    assert!(!bench.release(&key, 1, Duration::ZERO).await, "once");
    assert_eq!(bench.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid));
    bench.grants(&key, 2).await;
    assert!(bench.release(&key, 2, Duration::from_millis(40)).await);
    let Acquired::Paused(left) = bench.acquire(&key, 3, MINUTE).await else { panic!("not paused") };
    assert!(left <= Duration::from_millis(40), "{left:?}");
    assert_eq!(bench.fill(&key, 2).await, Err(ConditionFailure::LeaseVoid));
    eventually("the pause ends", async || bench.acquire(&key, 4, MINUTE).await == Acquired::Granted).await;
    // A pause keeps nobody from writing.
    assert!(bench.release(&key, 4, MINUTE).await);
    bench.store(&key, "x").await;
}

async fn who_gives_back_tells_those_who_wait(bench: &Bench) {
    let key = bench.key("one", "told");
    for (pause, end) in [(Duration::ZERO, End::LookAgain), (Duration::from_millis(1), End::Failed)] {
        eventually("it is free", async || bench.acquire(&key, 1, MINUTE).await == Acquired::Granted).await;
        let rounds = bench.coherence.rounds(bench.partition(&key));
        let occasion = LeaseRequest { duration: MINUTE, seen: None, found: None, deadline: BootClock.now() };
        let (seat, begun) = rounds.join_or_start(&key, occasion);
        assert!(begun);
        assert!(bench.release(&key, 1, pause).await);
        eventually("it is heard", async || seat.round().has_ended() == Some(end)).await;
    }
}

async fn what_an_entry_cost_is_the_time_from_the_grant(bench: &Bench) {
    let key = bench.key("one", "cost");
    bench.grants(&key, 1).await;
    let begun = BootClock.now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let least = BootClock.now().since(begun);
    assert_eq!(bench.fill(&key, 1).await, Ok(()));
    let cost = bench.read(&key).await.unwrap().cost;
    assert!(cost >= least && cost < MINUTE, "{cost:?}");
    bench.store(&key, "x").await;
    assert_eq!(bench.read(&key).await.unwrap().cost, Duration::ZERO, "not known");
}

async fn of_many_at_once_one_gets_it(bench: &Bench) {
    let key = bench.key("one", "contended lease");
    let asked = (1..=32).map(|lease| bench.acquire(&key, lease, MINUTE));
    let asked = futures_util::future::join_all(asked).await;
    assert_eq!(asked.iter().filter(|asked| **asked == Acquired::Granted).count(), 1);
    let filled = (1..=32).map(|lease| bench.fill(&key, lease));
    let filled = futures_util::future::join_all(filled).await;
    assert_eq!(filled.iter().filter(|filled| filled.is_ok()).count(), 1);
}

pub async fn conform(bench: &Bench) {
    one_gets_the_lease_and_fills_it_once(bench).await;
    an_entry_is_made_anew_by_who_has_seen_it(bench).await;
    whatever_changes_the_key_voids_its_lease(bench).await;
    what_a_pattern_voided_stays_void_when_the_pattern_is_forgotten(bench).await;
    what_has_nothing_to_do_with_the_key_voids_no_lease(bench).await;
    a_lease_ends_by_time(bench).await;
    a_lease_given_back_is_free_at_once_or_after_a_pause(bench).await;
    who_gives_back_tells_those_who_wait(bench).await;
    what_an_entry_cost_is_the_time_from_the_grant(bench).await;
    of_many_at_once_one_gets_it(bench).await;
}
