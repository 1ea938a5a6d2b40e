//! Get: answers from L1 if the entry there is proven fresh, else from L2.
//!
//! If L2 is unavailable, the answer is a flagged stale value or a flagged miss.

use super::cache::{Tiered, TieredInner};
use super::lookup::{GetContext, L1Lookup, hit_in_l1, outlived};
use super::types::{Consistency, Get, GetAnswer, GetOutcome, Miss, Stale, Tier};
use crate::cache::entry::Content;
use crate::cache::error::CacheError;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::tier::L2Error;
use crate::cache::version::Version;

// === impl Tiered ===

impl Tiered {
    /// Reads one entry. Fails only if it is `Strong` and the shared tier is unavailable, or if this
    /// replica must not serve.
    pub async fn get(&self, get: Get<'_>) -> Result<GetAnswer, CacheError> {
        match self.get_from_l1(&get) {
            Some(answer) => answer,
            None => self.get_beyond_l1(get).await,
        }
    }

    /// Answers a Get from L1, if it asks for no lease and L1 has what it accepts. If not, nothing is
    /// counted, and `get_beyond_l1` has to answer.
    pub fn get_from_l1(&self, get: &Get<'_>) -> Option<Result<GetAnswer, CacheError>> {
        let shared = &*self.0;
        let switches = shared.switches(get.key.namespace);
        if get.lease.is_some() || !switches.enabled {
            return None;
        }
        let (partition, started_at) = (shared.coherence.partition_of(get.key), shared.clock.now());
        let context = GetContext { get, switches, partition, started_at };
        let answer = shared.answer_from_l1(context, started_at)?;
        shared.hot_keys.read(get.key, started_at);
        if let Err(throttled) = get.key.namespace.admit() {
            return Some(Err(throttled));
        }
        shared.count(context, &answer);
        self.extend_if_sliding(get, &answer);
        Some(Ok(answer))
    }

    /// Reads one entry that `get_from_l1` did not find.
    pub async fn get_beyond_l1(&self, get: Get<'_>) -> Result<GetAnswer, CacheError> {
        let shared = &*self.0;
        let started_at = shared.clock.now();
        let partition = shared.coherence.partition_of(get.key);
        shared.hot_keys.read(get.key, started_at);
        let switches = shared.switches(get.key.namespace);
        let context = GetContext { get: &get, switches, partition, started_at };
        // Only the primary can answer a strong Get.
        let is_off = !switches.enabled || (!switches.l2 && get.consistency == Consistency::Strong);
        if is_off {
            get.key.namespace.counters.misses.inc();
            return Ok(shared.miss(partition, Miss::Disabled, Version::ZERO, false));
        }
        get.key.namespace.admit()?;
        let answer = match get.lease {
            Some(options) if switches.l2 => self.get_with_lease(context, options).await?,
            None if switches.l2 => {
                let fetched = self.fetch(&get, partition, started_at).await;
                shared.answer_from_fetch(context, fetched)?
            }
            // L1 is the only tier, and grants no leases.
            lease => {
                let found = lease.and_then(|_| shared.answer_from_l1(context, started_at));
                found.unwrap_or_else(|| shared.miss(partition, Miss::Absent, Version::ZERO, false))
            }
        };
        shared.count(context, &answer);
        self.extend_if_sliding(&get, &answer);
        Ok(answer)
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the answer after a fetch. If the fetch failed, returns the degraded answer or the
    /// error.
    pub(super) fn answer_from_fetch(
        &self,
        context: GetContext<'_>,
        fetched: FetchResult,
    ) -> Result<GetAnswer, CacheError> {
        let GetContext { get, partition, .. } = context;
        match fetched {
            Ok(fetched) if fetched.position < get.token.position(partition) => {
                Ok(self.miss(partition, Miss::TokenNotReached, fetched.position, true))
            }
            Ok(fetched) => Ok(self.found_in_l2(get, partition, fetched)),
            Err(error @ L2Error::Halted(_)) => Err(error.into()),
            Err(error) if get.consistency == Consistency::Strong => Err(self.error(error, get.deadline)),
            Err(_) => Ok(self.degraded_answer(context)),
        }
    }

    /// Returns the answer while the shared tier is unavailable: a flagged stale hit where the
    /// namespace allows it, else a flagged miss.
    fn degraded_answer(&self, context: GetContext<'_>) -> GetAnswer {
        let (partition, now) = (context.partition, self.clock.now());
        let mut answer = match self.lookup_l1(context, now) {
            L1Lookup::Fresh(held) => hit_in_l1(partition, held, None, now),
            L1Lookup::Stale(held, stale) => hit_in_l1(partition, held, Some(stale), now),
            L1Lookup::Nothing => self.miss(partition, Miss::Unavailable, Version::ZERO, true),
        };
        answer.degraded = true;
        answer
    }

    fn found_in_l2(&self, get: &Get<'_>, partition: u16, fetched: Fetched) -> GetAnswer {
        let at = self.clock.now();
        let tier = self.backing.tier();
        let accepts_stale = match get.consistency {
            Consistency::Bounded(Some(accepted)) if accepted > self.coherence.max_staleness() => {
                Some(accepted.min(get.key.namespace.policy().stale_window))
            }
            _ => None,
        };
        let found = fetched.held.filter(|held| at < held.entry.kept_until);
        let outcome = match found.map(|held| (outlived(&held.entry, held.marked_at(), at), held)) {
            Some((None, held)) => GetOutcome::Hit { held, tier, stale: None },
            Some((stale @ Some(Stale { staleness, .. }), held))
                if accepts_stale.is_some_and(|most| staleness <= most) =>
            {
                GetOutcome::Hit { held, tier, stale }
            }
            _ => GetOutcome::Miss(Miss::Absent),
        };
        GetAnswer::new(outcome, partition, fetched.position, at)
    }

    /// Returns a miss.
    pub(super) fn miss(&self, partition: u16, why: Miss, position: Version, degraded: bool) -> GetAnswer {
        GetAnswer { degraded, ..GetAnswer::new(GetOutcome::Miss(why), partition, position, self.clock.now()) }
    }

    /// Counts an answer and its latency.
    fn count(&self, context: GetContext<'_>, answer: &GetAnswer) {
        self.tally(context.get, answer);
        let value = if let GetOutcome::Hit { held, .. } = &answer.outcome { held.entry.content.len() } else { 0 };
        context.get.key.namespace.charge(context.get.key.bytes.len() + value);
        if answer.waited {
            // The time that another caller needs to fill the entry is no latency of this service.
            return;
        }
        let latency = match &answer.outcome {
            GetOutcome::Miss(_) => &self.latencies.get_miss,
            GetOutcome::Hit { tier: Tier::L1, .. } => &self.latencies.get_l1,
            GetOutcome::Hit { tier: Tier::L2, .. } => &self.latencies.get_l2,
        };
        latency.observe(self.clock.now().since(context.started_at));
    }

    /// Counts an answer.
    pub(super) fn tally(&self, get: &Get<'_>, answer: &GetAnswer) {
        let counters = &get.key.namespace.counters;
        if answer.degraded {
            counters.degraded.inc();
        }
        match &answer.outcome {
            GetOutcome::Miss(_) => counters.misses.inc(),
            GetOutcome::Hit { held, tier, stale } => {
                match (stale, tier) {
                    (Some(_), Tier::L1) => counters.stale_l1_hits.inc(),
                    (Some(_), Tier::L2) => counters.stale_l2_hits.inc(),
                    (None, Tier::L1) => counters.l1_hits.inc(),
                    (None, Tier::L2) => counters.l2_hits.inc(),
                }
                if held.entry.content == Content::KnownAbsent {
                    counters.negative_hits.inc();
                }
            }
        }
    }
}
