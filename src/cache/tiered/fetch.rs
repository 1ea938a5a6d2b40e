//! Fetch: one read of the shared tier for all Gets of a key.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Instrument as _;

use super::backing::Backing;
use super::cache::Tiered;
use super::shared_tier::SharedTier;
use super::types::{Consistency, Get};
use super::uninterrupted::Uninterrupted;
use crate::cache::clock::Moment;
use crate::cache::coherence::{FetchSlot, StartedFetch};
use crate::cache::key::Key;
use crate::cache::single_flight::{FETCH_PANICKED, FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::tier::{L2Error, Timeout};

// === impl Tiered ===

impl Tiered {
    /// Reads the shared tier.
    pub(super) async fn fetch(&self, get: &Get<'_>, partition: u16, started_at: Moment) -> FetchResult {
        let shared = &*self.0;
        let timeout = shared.read_timeout(get.consistency, get.deadline, started_at);
        let token = get.token.position(partition);
        match get.consistency {
            Consistency::Strong => shared.backing.read(&get.key.to_key(), timeout).await,
            Consistency::Bounded(bound) => {
                let bound = bound.unwrap_or(shared.coherence.max_staleness());
                match self.fetch_coalesced(get.key.to_key(), bound, timeout).await {
                    // The joined fetch began before the write that this caller has seen: read
                    // again, for this caller alone.
                    Ok(fetched) if fetched.may_precede(token, get.key.namespace) => {
                        shared.backing.read(&get.key.to_key(), timeout).await
                    }
                    other => other,
                }
            }
        }
    }

    /// Fetches, or waits for the fetch of another Get. A fetch times out by itself when no more
    /// data arrives.
    pub(super) async fn fetch_coalesced(&self, key: Key, bound: Duration, limit: Timeout) -> FetchResult {
        let shared = &*self.0;
        let tier = match &shared.backing {
            Backing::Shared(tier) => tier,
            Backing::Standalone(standalone) => return standalone.read(&key, limit).await,
        };
        let remaining = || limit.latest.since(shared.clock.now());
        let result = match shared.coherence.fetch_slot(&key, bound) {
            FetchSlot::Joined(mut waiter) => {
                key.namespace().counters.coalesced.inc();
                let span = spans::wait(&waiter.take_span());
                timeout(remaining(), waiter.result().instrument(span)).await
            }
            FetchSlot::Started(started) => {
                let until = shared.clock.now().plus(shared.config.read_timeout);
                let own = Timeout { deadline: until, latest: limit.latest.max(until) };
                let fetch = self.started_fetch(key, tier.clone(), started, own);
                // The fetch has no later timeout than this caller.
                let result =
                    if own.latest == limit.latest { Ok(fetch.await) } else { timeout(remaining(), fetch).await };
                result.map(|fetched| {
                    fetched.unwrap_or_else(|_| {
                        tracing::error!("fetch panicked");
                        Err(L2Error::unavailable(FETCH_PANICKED))
                    })
                })
            }
        };
        result.unwrap_or(Err(L2Error::unavailable("read timed out")))
    }

    /// Runs a fetch for its first caller, and completes it for the others.
    fn started_fetch(
        &self,
        key: Key,
        tier: Arc<SharedTier>,
        started: StartedFetch,
        limit: Timeout,
    ) -> Uninterrupted<'_, FetchResult> {
        let StartedFetch { id, guard, completion, mut waiter } = started;
        let cache = self.clone();
        let fetch = async move {
            let result = tier.read(&key, guard, limit).await;
            cache.0.coherence.close_fetch(&key, id);
            spans::note(spans::OUTCOME, outcome_of(&result));
            completion.complete(result.clone());
            result
        };
        Uninterrupted::new(fetch.instrument(waiter.take_span()), &self.0.tasks)
    }
}

/// Returns the outcome of a fetch as one word.
fn outcome_of(fetched: &FetchResult) -> &'static str {
    match fetched {
        Ok(Fetched { held: Some(_), .. }) => "found",
        Ok(Fetched { held: None, .. }) => "absent",
        Err(_) => "failed",
    }
}
