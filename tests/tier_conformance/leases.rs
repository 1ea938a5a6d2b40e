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
use super::{BootClock, Fixture};

const MINUTE: Duration = Duration::from_secs(60);

impl Fixture {
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

async fn one_caller_gets_the_lease_and_fills_once(fixture: &Fixture) {
    let key = fixture.key("one", "lease");
    fixture.grants(&key, 1).await;
    let Acquired::Held(left) = fixture.acquire(&key, 2, MINUTE).await else { panic!("granted twice") };
    assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
    assert_eq!(fixture.fill(&key, 2).await, Err(ConditionFailure::LeaseVoid));
    assert_eq!(fixture.fill(&key, 1).await, Ok(()));
    assert_eq!(fixture.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid), "a lease is for one Set");
    assert_eq!(fixture.acquire(&key, 3, MINUTE).await, Acquired::Present);
    assert!(fixture.read(&key).await.is_some());
}

async fn a_refresh_lease_needs_the_current_version(fixture: &Fixture) {
    let key = fixture.key("one", "anew");
    let first = fixture.store(&key, "1").await;
    let claim = |lease, seen| LeaseClaim { lease: LeaseId(lease), duration: MINUTE, seen: Some(seen) };
    assert_eq!(fixture.l2.acquire(&key, claim(1, first), fixture.until()).await, Ok(Acquired::Granted));
    assert!(matches!(fixture.l2.acquire(&key, claim(2, first), fixture.until()).await, Ok(Acquired::Held(_))));
    assert_eq!(fixture.fill(&key, 1).await, Ok(()));
    assert_eq!(
        fixture.l2.acquire(&key, claim(3, first), fixture.until()).await,
        Ok(Acquired::Present),
        "the version is new"
    );
}

async fn a_change_of_the_key_voids_its_lease(fixture: &Fixture) {
    let key = fixture.key("one", "void");
    let partition = fixture.partition(&key);
    let removals = [Removal { key: key.clone(), source_version: None }];
    for (n, what) in ["a set", "a removal", "a mark", "its namespace"].into_iter().enumerate() {
        fixture.remove(partition, std::slice::from_ref(&key)).await;
        let lease = 10 + n as u128;
        fixture.grants(&key, lease).await;
        match what {
            "a set" => _ = fixture.store(&key, "x").await,
            "a removal" => _ = fixture.remove(partition, std::slice::from_ref(&key)).await,
            "a mark" => {
                _ = fixture.l2.remove(partition, &removals, Mode::MarkStale, fixture.until().into()).await.unwrap()
            }
            _ => _ = fixture.invalidate(partition, key.namespace(), &[Selector::Namespace]).await,
        }
        assert_eq!(fixture.fill(&key, lease).await, Err(ConditionFailure::LeaseVoid), "{what}");
        if what != "a set" {
            fixture.grants(&key, lease + 10).await;
            assert_eq!(fixture.fill(&key, lease + 10).await, Ok(()), "{what}");
        }
    }
}

async fn a_lease_voided_by_a_pattern_stays_void_after_its_reclaim(fixture: &Fixture) {
    let (key, spared) = (fixture.key("patterns", "lease:k"), fixture.key("patterns", "other"));
    for mode in [Mode::Remove, Mode::MarkStale] {
        fixture.grants(&key, 1).await;
        fixture.grants(&spared, 2).await;
        let selectors = [Selector::Pattern("lease:*".into())];
        for partition in 0..super::PARTITIONS {
            let done =
                fixture.l2.invalidate(partition, key.namespace(), &selectors, mode, fixture.until().into()).await;
            done.unwrap();
        }
        eventually("no pattern is active", async || {
            let Some(redis) = &fixture.redis else { return key.namespace().invalidation_log().patterns().is_empty() };
            let counter = format!("conformance:{{{}}}:c", fixture.partition(&key));
            let script = "redis.call('SELECT', 3) return redis.call('HSTRLEN', KEYS[1], 'n:patterns')";
            redis.cli(&["EVAL", script, "1", &counter]).await.number() <= 152
        })
        .await;
        assert_eq!(fixture.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid), "{mode:?}");
        assert_eq!(fixture.fill(&spared, 2).await, Ok(()), "{mode:?}");
        fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await;
        fixture.remove(fixture.partition(&spared), std::slice::from_ref(&spared)).await;
    }
}

async fn an_unrelated_change_voids_no_lease(fixture: &Fixture) {
    let (key, other) = (fixture.key("one", "spared"), fixture.key("two", "spared"));
    fixture.grants(&key, 1).await;
    fixture.grants(&other, 2).await;
    for partition in 0..super::PARTITIONS {
        fixture.invalidate(partition, other.namespace(), &[Selector::Namespace]).await;
    }
    fixture.store(&fixture.key("one", "another"), "x").await;
    assert_eq!(fixture.fill(&key, 1).await, Ok(()));
    assert_eq!(fixture.fill(&other, 2).await, Err(ConditionFailure::LeaseVoid));
}

async fn a_lease_expires(fixture: &Fixture) {
    let key = fixture.key("one", "lapses");
    assert_eq!(fixture.acquire(&key, 1, Duration::from_millis(30)).await, Acquired::Granted);
    eventually("it ends", async || fixture.acquire(&key, 2, MINUTE).await == Acquired::Granted).await;
    assert_eq!(fixture.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid));
    assert!(!fixture.release(&key, 1, Duration::ZERO).await);
    assert_eq!(fixture.fill(&key, 2).await, Ok(()));
}

async fn a_released_lease_is_free_at_once_or_after_a_pause(fixture: &Fixture) {
    let key = fixture.key("one", "released");
    fixture.grants(&key, 1).await;
    assert!(!fixture.release(&key, 2, Duration::ZERO).await, "the lease of another caller");
    assert!(fixture.release(&key, 1, Duration::ZERO).await);
    assert!(!fixture.release(&key, 1, Duration::ZERO).await, "once");
    assert_eq!(fixture.fill(&key, 1).await, Err(ConditionFailure::LeaseVoid));
    fixture.grants(&key, 2).await;
    assert!(fixture.release(&key, 2, Duration::from_millis(40)).await);
    let Acquired::Paused(left) = fixture.acquire(&key, 3, MINUTE).await else { panic!("not paused") };
    assert!(left <= Duration::from_millis(40), "{left:?}");
    assert_eq!(fixture.fill(&key, 2).await, Err(ConditionFailure::LeaseVoid));
    eventually("the pause ends", async || fixture.acquire(&key, 4, MINUTE).await == Acquired::Granted).await;
    // A pause does not prevent writes.
    assert!(fixture.release(&key, 4, MINUTE).await);
    fixture.store(&key, "x").await;
}

async fn a_release_notifies_waiters(fixture: &Fixture) {
    let key = fixture.key("one", "told");
    for (pause, end) in [(Duration::ZERO, End::LookAgain), (Duration::from_millis(1), End::Failed)] {
        eventually("the lease is free", async || fixture.acquire(&key, 1, MINUTE).await == Acquired::Granted).await;
        let rounds = fixture.coherence.rounds(fixture.partition(&key));
        let occasion = LeaseRequest { duration: MINUTE, seen: None, found: None, deadline: BootClock.now() };
        let (seat, begun) = rounds.join_or_start(&key, occasion);
        assert!(begun);
        assert!(fixture.release(&key, 1, pause).await);
        eventually("the message is applied", async || seat.round().has_ended() == Some(end)).await;
    }
}

async fn the_cost_of_an_entry_is_the_time_since_the_grant(fixture: &Fixture) {
    let key = fixture.key("one", "cost");
    fixture.grants(&key, 1).await;
    let begun = BootClock.now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let least = BootClock.now().since(begun);
    assert_eq!(fixture.fill(&key, 1).await, Ok(()));
    let cost = fixture.read(&key).await.unwrap().cost;
    assert!(cost >= least && cost < MINUTE, "{cost:?}");
    fixture.store(&key, "x").await;
    assert_eq!(fixture.read(&key).await.unwrap().cost, Duration::ZERO, "not known");
}

async fn one_of_many_concurrent_callers_gets_the_lease(fixture: &Fixture) {
    let key = fixture.key("one", "contended lease");
    let results = (1..=32).map(|lease| fixture.acquire(&key, lease, MINUTE));
    let results = futures_util::future::join_all(results).await;
    assert_eq!(results.iter().filter(|results| **results == Acquired::Granted).count(), 1);
    let filled = (1..=32).map(|lease| fixture.fill(&key, lease));
    let filled = futures_util::future::join_all(filled).await;
    assert_eq!(filled.iter().filter(|filled| filled.is_ok()).count(), 1);
}

pub async fn conform(fixture: &Fixture) {
    one_caller_gets_the_lease_and_fills_once(fixture).await;
    a_refresh_lease_needs_the_current_version(fixture).await;
    a_change_of_the_key_voids_its_lease(fixture).await;
    a_lease_voided_by_a_pattern_stays_void_after_its_reclaim(fixture).await;
    an_unrelated_change_voids_no_lease(fixture).await;
    a_lease_expires(fixture).await;
    a_released_lease_is_free_at_once_or_after_a_pause(fixture).await;
    a_release_notifies_waiters(fixture).await;
    the_cost_of_an_entry_is_the_time_since_the_grant(fixture).await;
    one_of_many_concurrent_callers_gets_the_lease(fixture).await;
}
