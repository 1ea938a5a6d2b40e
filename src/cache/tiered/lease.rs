//! Life of a lease: one request for all Gets of a key, then the grant, its use and its return.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::cache::Tiered;
use super::types::{Consistency, Get, GetAnswer, SetAnswer, SetOutcome};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::waiters::{End, Round, RoundGuard};
use crate::cache::lease::{Lease, LeaseHolder, LeaseStatus};
use crate::cache::spans;
use crate::cache::tier::{Acquired, L2Error, LeaseClaim, LeaseId, LeaseRelease, Timeout};
use crate::cache::token::Token;

/// Divisor of the staleness bound: the longest round while messages of the partition are not
/// received.
const UNFOLLOWED_DIVISOR: u32 = 8;

/// The return of a lease by its caller.
#[derive(Clone, Debug)]
pub struct Release {
    /// The key.
    pub key: Key,
    /// The lease, and how it is returned.
    pub release: LeaseRelease,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// The answer to a Release.
pub struct Released {
    /// False if the lease was no longer held.
    pub released: bool,
    /// A stale value, if the entry could not be filled.
    pub kept: Option<GetAnswer>,
}

/// Reply to a lease request, by L2 or by this replica in its place.
enum LeaseReply {
    Granted(Lease),
    Held(LeaseHolder),
    Present,
    /// A limit on leases was reached.
    Refused(CacheError),
}

// === impl Tiered: rounds ===

impl Tiered {
    /// Runs a round to its end. A reply is trusted for no longer than the staleness bound, because
    /// messages may get lost.
    pub(super) async fn run_round(self, key: Key, partition: u16, round: Arc<Round>) {
        let shared = &*self.0;
        let mut running = RoundGuard::new(shared.coherence.rounds(partition), &key, &round);
        let mut unclaimed = None;
        let wait_until = match self.request_lease(&key, &round).await {
            LeaseReply::Granted(lease) => {
                unclaimed = round.offer(lease).err();
                spans::note(spans::OUTCOME, "granted");
                // An unclaimed lease is returned below: a Get that does not wait looks again.
                unclaimed.is_none().then(|| {
                    round.set_status(LeaseStatus::Taken);
                    lease.until
                })
            }
            LeaseReply::Held(LeaseHolder { until, status }) => {
                round.set_status(status);
                spans::note(spans::OUTCOME, "obstructed");
                Some(until)
            }
            LeaseReply::Present => {
                running.outcome.end = End::Present;
                spans::note(spans::OUTCOME, "present");
                None
            }
            LeaseReply::Refused(error) => {
                running.outcome.refused = Some(error);
                spans::note(spans::OUTCOME, "refused");
                None
            }
        };
        if let Some(until) = wait_until {
            let bound = shared.coherence.max_staleness();
            let bound = if shared.coherence.is_followed(partition) { bound } else { bound / UNFOLLOWED_DIVISOR };
            _ = timeout(until.since(shared.clock.now()).min(bound), round.ended()).await;
        }
        running.outcome.end = round.has_ended().unwrap_or(running.outcome.end);
        running.close();
        if let Some(lease) = unclaimed.or_else(|| round.take()) {
            self.return_unclaimed(&key, lease).await;
        }
        if round.is_awaited() && running.outcome.refused.is_none() {
            // Waiters have deadlines of their own.
            let until = shared.clock.now().plus(shared.config.read_timeout);
            let limit = Timeout { deadline: until, latest: Moment::FOREVER };
            running.outcome.found = Some(self.fetch_coalesced(key.clone(), Duration::ZERO, limit).await);
        }
    }

    /// Requests the lease from L2. If L2 is unavailable, grants it here, to one caller at a time.
    async fn request_lease(&self, key: &Key, round: &Round) -> LeaseReply {
        let shared = &*self.0;
        let sent = shared.clock.now();
        if let Some(holder) = shared.leases.alone(key, sent) {
            return LeaseReply::Held(holder);
        }
        let _place = match shared.leases.reserve(key, sent) {
            Ok(place) => place,
            Err(refused) => return LeaseReply::Refused(refused),
        };
        let request = &round.request;
        let id = LeaseId(rand::random());
        let claim = LeaseClaim { lease: id, duration: request.duration, seen: request.seen };
        let acquired = if sent < request.deadline {
            shared.backing.leases().acquire(key, claim, request.deadline).await
        } else {
            Err(L2Error::unavailable("timed out before the lease request"))
        };
        let (now, until) = (shared.clock.now(), sent.plus(request.duration));
        let lease = Lease { id, until, alone: false };
        let held = |left, status| LeaseReply::Held(LeaseHolder { until: now.plus(left), status });
        match acquired {
            Ok(Acquired::Granted) => {
                shared.leases.granted(key, lease);
                LeaseReply::Granted(lease)
            }
            Ok(Acquired::Held(left)) => held(left, LeaseStatus::Taken),
            Ok(Acquired::Paused(left)) => held(left, LeaseStatus::Paused),
            Ok(Acquired::Present) => LeaseReply::Present,
            // The same id: if only the reply was lost, L2 has granted it, too.
            Err(_) => {
                let lease = Lease { until: now.plus(request.duration), alone: true, ..lease };
                match shared.leases.grant_alone(key, lease, now) {
                    Ok(()) => LeaseReply::Granted(lease),
                    Err(holder) => LeaseReply::Held(holder),
                }
            }
        }
    }

    /// Returns a lease for which no waiter is left.
    async fn return_unclaimed(&self, key: &Key, lease: Lease) {
        let shared = &*self.0;
        shared.leases.forget(key, lease.id, shared.clock.now());
        if !lease.alone {
            self.release_in_l2(key, LeaseRelease { lease: lease.id, failed: false, pause: Duration::ZERO }).await;
        }
    }

    async fn release_in_l2(&self, key: &Key, release: LeaseRelease) {
        let deadline = self.0.clock.now().plus(self.0.config.write_timeout);
        if let Err(error) = self.0.backing.leases().release(key, release, deadline).await {
            tracing::debug!(%error, "lease release failed; the lease will expire");
        }
    }
}

// === impl Tiered: use and return of leases ===

impl Tiered {
    /// Ends a lease after its Set was answered, unless it is still valid in L2.
    pub(super) async fn settle_lease(&self, key: &Key, id: LeaseId, answer: Result<&SetAnswer, &CacheError>) {
        let shared = &*self.0;
        let counters = &shared.leases.counters;
        match answer {
            Ok(SetAnswer { outcome: SetOutcome::Stored, .. }) => counters.filled.inc(),
            Ok(SetAnswer { outcome: SetOutcome::LeaseVoid, .. }) => counters.voided.inc(),
            // The lease may still be used with another value.
            Ok(_) => return,
            Err(_) => {}
        }
        let granted_here = shared.leases.forget(key, id, shared.clock.now()).is_some();
        let is_void = matches!(answer, Ok(SetAnswer { outcome: SetOutcome::LeaseVoid, .. }));
        if is_void || matches!(answer, Err(CacheError::Full)) {
            // It may be valid for an entry with other tags, but its holder takes it as void; or it
            // will not be used soon. A release works even if L2 is full.
            self.release_in_l2(key, LeaseRelease { lease: id, failed: false, pause: Duration::ZERO }).await;
        }
        if granted_here {
            shared.coherence.end_round(key.as_ref(), End::LookAgain);
        }
    }

    /// Returns a lease. A caller that disconnects does not interrupt it.
    pub async fn release(&self, release: Release) -> Result<Released, CacheError> {
        let cache = self.clone();
        self.owned(async move { cache.release_now(release).await }).await
    }

    async fn release_now(&self, release: Release) -> Result<Released, CacheError> {
        let shared = &*self.0;
        let Release { key, release, deadline } = release;
        let started_at = shared.clock.now();
        let end = if release.failed { End::Failed } else { End::LookAgain };
        let granted_here = shared.leases.forget(&key, release.lease, started_at);
        if granted_here == Some(true) && !release.pause.is_zero() {
            shared.leases.pause(&key, started_at.plus(release.pause), started_at);
        }
        let released = match granted_here {
            Some(true) => {
                // L2 may have granted it after all, and only the reply was lost.
                let (cache, key) = (self.clone(), key.clone());
                shared.tasks.spawn(async move { cache.release_in_l2(&key, release).await });
                Ok(true)
            }
            _ => {
                let until = started_at.plus(shared.config.write_timeout).min(deadline);
                shared.backing.leases().release(&key, release, until).await
            }
        };
        if granted_here == Some(true) || (granted_here.is_some() && released.is_err()) {
            shared.coherence.end_round(key.as_ref(), end);
        }
        let released = released.map_err(|error| shared.error(error, deadline))?;
        if released {
            shared.leases.counters.released.inc();
        }
        let kept = if release.failed { self.fallback_after_failure(&key, deadline).await } else { None };
        Ok(Released { released, kept })
    }

    /// Returns a stale value of an entry that could not be filled.
    async fn fallback_after_failure(&self, key: &Key, deadline: Moment) -> Option<GetAnswer> {
        let shared = &*self.0;
        let token = Token::default();
        let consistency = Consistency::Bounded(None);
        let get = Get { key: key.as_ref(), consistency, token: &token, deadline, lease: None, slot: None };
        let partition = shared.coherence.partition_of(key.as_ref());
        if let Some(kept) = shared.stale_fallback(&get, partition, None) {
            return Some(kept);
        }
        let fetched = self.fetch(&get, partition, shared.clock.now()).await.ok()?;
        shared.stale_fallback(&get, partition, Some(&fetched))
    }
}
