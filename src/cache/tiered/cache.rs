//! The two-tier cache: answers a Get from L1 if it is proven fresh, else from L2.
//!
//! If L2 is unavailable, the answer is a flagged stale value or a flagged miss.

use super::sliding::SlidingExtensions;
use super::types::{Consistency, Get, GetAnswer, GetOutcome, Miss, Stale, StaleReason, Tier};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::cache::clock::{Clock, Moment};
use crate::cache::coherence;
use crate::cache::coherence::self_audit;
use crate::cache::coherence::self_audit::Sampler;
use crate::cache::coherence::watch::{Watch, Watching};
use crate::cache::coherence::{Coherence, FetchSlot, FillGuard, Freshness, ShownPosition, StartedFetch};
use crate::cache::entry::{CachedEntry, Content, Entry};
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::lease::Leases;
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::stats::hot_keys::{HotKey, HotKeys};
use crate::cache::stats::{Latencies, LeaseCounters, SelfAuditCounters};
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{L1, L2, L2Error, ReadResult, Timeout};
use crate::cache::version::Version;

/// Most time that is reserved of a caller's deadline for sending the answer.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);
/// Interval between two checks for the proof of L1.
const PROOF_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Configuration of the cache.
#[derive(Clone, Copy, Debug)]
pub struct TieredConfig {
    /// Initial switches of the whole service.
    pub switches: Switches,
    /// Timeout of a read of the shared tier.
    pub read_timeout: Duration,
    /// Timeout of a write to the shared tier.
    pub write_timeout: Duration,
    /// Number of fresh L1 hits per self-audit. 0: no self-audit.
    pub self_audit_every: u64,
    /// Number of keys tracked for the hot-key list.
    pub hot_key_capacity: usize,
}

/// The cache of one replica. Clones share it.
#[derive(Clone)]
pub struct Tiered(pub(super) Arc<TieredInner>);

pub(super) struct TieredInner {
    pub(super) config: TieredConfig,
    pub(super) switches: ArcSwap<Switches>,
    pub(super) l1: Arc<dyn L1>,
    pub(super) l2: Arc<dyn L2>,
    pub(super) coherence: Arc<Coherence>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) latencies: Latencies,
    sampler: Sampler,
    pub(super) hot_keys: HotKeys,
    pub(super) leases: Leases,
    pub(super) sliding: SlidingExtensions,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled at drain: Gets stop waiting for leases held by others.
    pub(super) draining: CancellationToken,
}

/// Returns how an entry is stale by its expiry or a mark. `None` if it is not.
pub(super) fn outlived(entry: &Entry, marked_at: Option<Moment>, now: Moment) -> Option<Stale> {
    let since = |reason, at| Stale { reason, staleness: now.since(at) };
    let expired = (now >= entry.expires_at).then(|| since(StaleReason::Expired, entry.expires_at));
    worst(marked_at.map(|at| since(StaleReason::Marked, at)), expired)
}

/// Combines both: the first reason, and the longer staleness.
fn worst(one: Option<Stale>, other: Option<Stale>) -> Option<Stale> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Stale { staleness: one.staleness.max(other.staleness), ..one }),
        (one, other) => one.or(other),
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

/// State before a read of the shared tier.
#[derive(Clone, Copy)]
pub(super) struct FetchContext {
    guard: FillGuard,
    /// Position up to which all messages were applied.
    watermark: Version,
    /// Position that answers had shown.
    shown: ShownPosition,
    at: Moment,
}

/// Result of a lookup in L1.
pub(super) enum L1Lookup {
    Nothing,
    Fresh(Arc<CachedEntry>),
    Stale(Arc<CachedEntry>, Stale),
}

// === impl Tiered ===

impl Tiered {
    /// Creates a cache over two tiers. With a self-audit it has to be called inside a runtime.
    pub fn new(
        config: TieredConfig,
        l1: Arc<dyn L1>,
        l2: Arc<dyn L2>,
        coherence: Arc<Coherence>,
        clock: Arc<dyn Clock>,
    ) -> Tiered {
        let (latencies, tasks, stop) = (Latencies::default(), TaskTracker::new(), CancellationToken::new());
        let every = if l2.shares_l1() { 0 } else { config.self_audit_every };
        let limits = self_audit::SelfAuditLimits { timeout: config.read_timeout, bound: coherence.max_staleness() };
        let (sampler, auditor) = self_audit::new(every, l2.clone(), clock.clone(), limits);
        if every > 0 {
            tasks.spawn(stop.clone().run_until_cancelled_owned(auditor.run()));
        }
        let switches = ArcSwap::from_pointee(config.switches);
        let hot_keys = HotKeys::new(config.hot_key_capacity, clock.now());
        Tiered(Arc::new(TieredInner {
            config,
            switches,
            l1,
            l2,
            coherence,
            clock,
            latencies,
            sampler,
            hot_keys,
            leases: Leases::default(),
            sliding: SlidingExtensions::default(),
            tasks,
            draining: stop.child_token(),
            stop,
        }))
    }

    /// Reads one entry. Fails only if it is `Strong` and the shared tier is unavailable, or if this
    /// replica must not serve.
    pub async fn get(&self, get: Get<'_>) -> Result<GetAnswer, CacheError> {
        let shared = &*self.0;
        let started_at = shared.clock.now();
        let counters = &get.key.namespace.counters;
        let partition = shared.coherence.partition_of(get.key);
        shared.hot_keys.read(get.key, started_at);
        let switches = shared.switches(get.key.namespace);
        // Only the primary can answer a strong Get.
        let is_off = !switches.enabled || (!switches.l2 && get.consistency == Consistency::Strong);
        if is_off {
            counters.misses.inc();
            return Ok(shared.miss(partition, Miss::Disabled, Version::ZERO, false));
        }
        get.key.namespace.admit()?;
        let answer = match get.lease.filter(|_| switches.l2) {
            Some(options) => self.get_with_lease(&get, options, switches, partition, started_at).await?,
            None => match shared.answer_from_l1(&get, switches, partition, started_at) {
                Some(answer) => answer,
                None if switches.l2 => {
                    let fetched = self.fetch(&get, partition, started_at).await;
                    shared.answer_from_fetch(&get, switches, partition, fetched)?
                }
                // L1 is the only tier.
                None => shared.miss(partition, Miss::Absent, Version::ZERO, false),
            },
        };
        shared.count(&get, &answer, started_at);
        self.extend_if_sliding(&get, &answer);
        Ok(answer)
    }

    /// Starts a watch on changes.
    pub fn watch(&self, watching: Watching) -> Result<Watch, CacheError> {
        match self.0.l2.halted() {
            Some(why) => Err(CacheError::Halted(why)),
            None => self.0.coherence.watch(watching),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> TieredConfig {
        self.0.config
    }

    /// Returns the switches of the whole service.
    pub fn switches(&self) -> Switches {
        **self.0.switches.load()
    }

    /// Sets the switches of the whole service.
    pub fn switch(&self, switches: Switches) {
        self.0.switches.store(Arc::new(switches));
    }

    /// Returns the coherence protocol.
    pub fn coherence(&self) -> &Coherence {
        &self.0.coherence
    }

    /// Returns the latencies.
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// Returns the counters of the self-audit.
    pub fn self_audit(&self) -> &SelfAuditCounters {
        self.0.sampler.counters()
    }

    /// Returns at most `limit` hot keys, of one namespace or of all.
    pub fn hot_keys(&self, limit: usize, namespace: Option<&Namespace>) -> Vec<HotKey> {
        let of = |key: &Key| namespace.is_none_or(|namespace| namespace.id == key.namespace().id);
        self.0.hot_keys.top(limit, self.0.clock.now(), of)
    }

    /// Returns the counters of leases.
    pub fn leases(&self) -> &LeaseCounters {
        &self.0.leases.counters
    }

    /// Returns the L1 tier.
    pub fn l1(&self) -> &dyn L1 {
        &*self.0.l1
    }

    /// Waits until every partition is proven. From then on reads fill L1.
    pub async fn wait_until_proven(&self) {
        let coherence = &self.0.coherence;
        while coherence.proofs().proven < coherence.partitions() {
            sleep(PROOF_CHECK_INTERVAL).await;
        }
    }

    /// Ends all waits for leases held by others, and prevents new ones: this replica is shutting
    /// down.
    pub fn stop_waiting(&self) {
        self.0.draining.cancel();
    }

    /// Waits for the fetches and writes in progress. No new ones may be started.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Reads the shared tier.
    pub(super) async fn fetch(&self, get: &Get<'_>, partition: u16, started_at: Moment) -> FetchResult {
        let shared = &*self.0;
        let timeout = shared.read_timeout(get.consistency, get.deadline, started_at);
        let token = get.token.position(partition);
        match get.consistency {
            Consistency::Strong => shared.fetch(&get.key.to_key(), timeout).await,
            Consistency::Bounded(bound) => {
                let bound = bound.unwrap_or(shared.coherence.max_staleness());
                match self.fetch_coalesced(get.key.to_key(), bound, timeout).await {
                    // The joined fetch began before the write that this caller has seen: read
                    // again, for this caller alone.
                    Ok(fetched) if fetched.may_precede(token, get.key.namespace) => {
                        shared.fetch(&get.key.to_key(), timeout).await
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
        if shared.l2.shares_l1() {
            return shared.fetch(&key, limit).await;
        }
        let (waiting, span) = match shared.coherence.fetch_slot(&key, bound) {
            FetchSlot::Joined(mut waiting) => {
                key.namespace().counters.coalesced.inc();
                let span = spans::wait(&waiting.take_span());
                (waiting, span)
            }
            FetchSlot::Started(StartedFetch { id, guard: note, completion: landing, waiter: mut waiting }) => {
                let cache = self.clone();
                let fetch = async move {
                    let until = cache.0.clock.now().plus(cache.0.config.read_timeout);
                    let own = Timeout { deadline: until, latest: limit.latest.max(until) };
                    let result = cache.0.fetch_guarded(&key, note, own).await;
                    cache.0.coherence.close_fetch(&key, id);
                    spans::note(spans::OUTCOME, outcome_of(&result));
                    landing.complete(result);
                };
                self.0.tasks.spawn(fetch.instrument(waiting.take_span()));
                (waiting, tracing::Span::none())
            }
        };
        let remaining = limit.latest.since(shared.clock.now());
        let result = timeout(remaining, waiting.result().instrument(span)).await;
        result.unwrap_or(Err(L2Error::unavailable("read timed out")))
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the switches of `namespace`. `enabled` is false if no tier is left.
    pub(super) fn switches(&self, namespace: &Namespace) -> Switches {
        let Switches { enabled, l1, l2 } = self.switches.load().and(namespace.policy().switches());
        if self.l2.shares_l1() {
            return Switches { enabled: enabled && l1, l1, l2: true };
        }
        Switches { enabled: enabled && (l1 || l2), l1, l2 }
    }

    /// Returns the answer that L1 allows, if any. On the hot path: no lock that all keys share, no
    /// wait.
    pub(super) fn answer_from_l1(
        &self,
        get: &Get<'_>,
        switches: Switches,
        partition: u16,
        now: Moment,
    ) -> Option<GetAnswer> {
        let Consistency::Bounded(bound) = get.consistency else { return None };
        let accepts_stale = bound.filter(|bound| *bound > self.coherence.max_staleness());
        match self.lookup_l1(get, switches, partition, now) {
            L1Lookup::Fresh(held) => {
                if switches.l2 {
                    self.sampler.hit(get.key, held.entry.version, now);
                }
                Some(self.hit_in_l1(partition, held, None, now))
            }
            L1Lookup::Stale(held, stale) if accepts_stale.is_some() => {
                Some(self.hit_in_l1(partition, held, Some(stale), now))
            }
            _ => None,
        }
    }

    /// Returns the answer after a fetch. If the fetch failed, returns the degraded answer or the
    /// error.
    pub(super) fn answer_from_fetch(
        &self,
        get: &Get<'_>,
        switches: Switches,
        partition: u16,
        fetched: FetchResult,
    ) -> Result<GetAnswer, CacheError> {
        match fetched {
            Ok(fetched) if fetched.position < get.token.position(partition) => {
                Ok(self.miss(partition, Miss::TokenNotReached, fetched.position, true))
            }
            Ok(fetched) => Ok(self.found_in_l2(get, partition, fetched)),
            Err(error @ L2Error::Halted(_)) => Err(error.into()),
            Err(error) if get.consistency == Consistency::Strong => Err(self.error(error, get.deadline)),
            Err(_) => Ok(self.degraded_answer(get, switches, partition)),
        }
    }

    /// Returns the answer while the shared tier is unavailable: a flagged stale hit where the
    /// namespace allows it, else a flagged miss.
    fn degraded_answer(&self, get: &Get<'_>, switches: Switches, partition: u16) -> GetAnswer {
        let now = self.clock.now();
        let mut answer = match self.lookup_l1(get, switches, partition, now) {
            L1Lookup::Fresh(held) => self.hit_in_l1(partition, held, None, now),
            L1Lookup::Stale(held, stale) => self.hit_in_l1(partition, held, Some(stale), now),
            L1Lookup::Nothing => self.miss(partition, Miss::Unavailable, Version::ZERO, true),
        };
        answer.degraded = true;
        answer
    }

    /// Looks up L1 for an entry that is not older than the token of `get`, and not staler than
    /// namespace and caller allow.
    pub(super) fn lookup_l1(&self, get: &Get<'_>, switches: Switches, partition: u16, now: Moment) -> L1Lookup {
        let Consistency::Bounded(accepted) = get.consistency else { return L1Lookup::Nothing };
        let bound = accepted.unwrap_or(self.coherence.max_staleness());
        // Before the lookup: see `Coherence::proof` and `Coherence::place`.
        let proof = self.coherence.proof(partition);
        let token = get.token.position(partition);
        let place = (token > Version::ZERO).then(|| self.coherence.subscription_position(partition));
        let Some(held) = self.l1.get(get.key).filter(|_| switches.l1) else { return L1Lookup::Nothing };
        let (window, l1_ttl) = {
            let policy = get.key.namespace.policy();
            (policy.stale_window, policy.l1_ttl)
        };
        if now.since(held.known_at) > l1_ttl || (switches.l2 && held.is_local_only()) {
            return L1Lookup::Nothing;
        }
        if held.position < token && place.is_none_or(|place| place.of(&held) < token) {
            return L1Lookup::Nothing;
        }
        let judgement = self.coherence.freshness(get.key, &held, proof, bound, now);
        let unproven = match judgement {
            Freshness::Invalidated => {
                // If L1 is the only tier, the facts that it holds of the entry have to be kept.
                if !self.l2.shares_l1() {
                    self.coherence.remove_dead(get.key, &held);
                }
                return L1Lookup::Nothing;
            }
            Freshness::Fresh => None,
            // No freshness promise applies, so no proof is needed.
            Freshness::Unproven(_) if !switches.l2 => None,
            Freshness::Unproven(staleness) => Some(Stale { reason: StaleReason::Unproven, staleness }),
        };
        let Some(stale) = worst(outlived(&held.entry, held.marked_at(), now), unproven) else {
            return L1Lookup::Fresh(held);
        };
        let window = accepted.map_or(window, |accepted| accepted.min(window));
        if stale.staleness <= window { L1Lookup::Stale(held, stale) } else { L1Lookup::Nothing }
    }

    /// Reads the shared tier for one caller.
    async fn fetch(&self, key: &Key, timeout: Timeout) -> FetchResult {
        let note = self.coherence.begin_fill(key.as_ref());
        self.fetch_guarded(key, note, timeout).await
    }

    /// Reads the shared tier, and stores the answer in L1 if nothing newer was applied since
    /// `note`.
    async fn fetch_guarded(&self, key: &Key, note: FillGuard, timeout: Timeout) -> FetchResult {
        let context = self.begin_fetch(key, note);
        let read = self.l2.read(key, timeout).await;
        if !self.l2.shares_l1() && read.is_ok() {
            self.latencies.l2_read.observe(self.clock.now().since(context.at));
        }
        self.admit_read(key, context, read?)
    }

    /// Records the state before a read of `key`.
    pub(super) fn begin_fetch(&self, key: &Key, note: FillGuard) -> FetchContext {
        let partition = self.coherence.partition_of(key.as_ref());
        let (watermark, shown) = (self.coherence.watermark(partition), self.coherence.shown(partition));
        FetchContext { guard: note, watermark, shown, at: self.clock.now() }
    }

    /// Judges the answer of the shared tier, and stores it in L1 if nothing newer was applied since
    /// the request.
    pub(super) fn admit_read(&self, key: &Key, context: FetchContext, read: ReadResult) -> FetchResult {
        let FetchContext { guard: note, watermark, shown, at: started_at } = context;
        let partition = self.coherence.partition_of(key.as_ref());
        if read.position > Version::ZERO && read.position < watermark.max(shown.position) {
            // A stale primary: it lacks changes that were announced, or shown by an answer, before
            // the request.
            self.l2.is_behind(partition);
            return Err(L2Error::unavailable("L2 returned data older than its own messages (stale primary)"));
        }
        let Some(entry) = read.entry else {
            if !self.l2.shares_l1() {
                if read.position > watermark {
                    // The change that removed it may be lost, too.
                    let change = Change::of_keys(Effect::Removed, std::slice::from_ref(key));
                    self.coherence.record_acknowledged(partition, read.position, &change);
                }
                // Without a counter the partition is empty: a miss.
                if read.position > Version::ZERO && self.coherence.has_ended(partition, read.position.epoch) {
                    return Err(L2Error::unavailable("failover before L2 answered"));
                }
                self.coherence.show(partition, shown, read.position);
                self.coherence.observe_read(key, read.position, None);
            }
            return Ok(Fetched { position: read.position, held: None });
        };
        if !self.coherence.counts(partition, entry.version, read.position) {
            return Err(L2Error::unavailable("failover repair is not complete"));
        }
        if entry.version > watermark && !self.l2.shares_l1() {
            // A caller that gets this answer must not get an older one later, even if Redis loses
            // this entry.
            self.coherence.record_acknowledged(
                partition,
                entry.version,
                &Change::of_keys(Effect::Set, std::slice::from_ref(key)),
            );
        }
        if self.coherence.has_ended(partition, read.position.epoch) {
            // From before a failover that may have been repaired meanwhile, without this entry.
            return Err(L2Error::unavailable("failover before L2 answered"));
        }
        // The entry may be newer than the position, which is read before it: a caller that sees the
        // entry has seen that far.
        let position = read.position.max(entry.version);
        let held = coherence::cached_entry(entry, position, note, started_at, key.namespace());
        if !self.l2.shares_l1() {
            self.coherence.show(partition, shown, position);
            if self.switches(key.namespace()).l1 {
                self.coherence.admit(key, &held, note);
            } else {
                self.coherence.observe_read(key, position, Some(&held.entry));
            }
        }
        Ok(Fetched { position, held: Some(held) })
    }

    /// Returns when a Get that has another answer stops waiting for L2: after `budget`, and early
    /// enough to answer within the caller's deadline.
    pub(super) fn answer_deadline(&self, budget: Duration, deadline: Moment, now: Moment) -> Moment {
        let left = deadline.since(now);
        now.plus(budget.min(left - (left / 10).min(DEADLINE_MARGIN)))
    }

    /// Returns the timeout of a read of the shared tier. While data arrives, the read lasts until
    /// the caller's deadline.
    pub(super) fn read_timeout(&self, consistency: Consistency, deadline: Moment, now: Moment) -> Timeout {
        let budget = self.config.read_timeout;
        match consistency {
            Consistency::Strong => Timeout { deadline: now.plus(budget).min(deadline), latest: deadline },
            Consistency::Bounded(_) => Timeout {
                deadline: self.answer_deadline(budget, deadline, now),
                latest: self.answer_deadline(Duration::MAX, deadline, now),
            },
        }
    }

    /// Returns the timeout of a write to the shared tier.
    pub(super) fn write_timeout(&self, deadline: Moment) -> Timeout {
        Timeout { deadline: self.clock.now().plus(self.config.write_timeout).min(deadline), latest: deadline }
    }

    /// Converts an error of the shared tier. If the caller's deadline has passed, that is the
    /// error.
    pub(super) fn error(&self, error: L2Error, deadline: Moment) -> CacheError {
        match error {
            L2Error::Unavailable { outcome_unknown_for, .. } if self.clock.now() >= deadline.minus(DEADLINE_MARGIN) => {
                CacheError::DeadlineExceeded { outcome_unknown_for }
            }
            error => error.into(),
        }
    }

    pub(super) fn hit_in_l1(
        &self,
        partition: u16,
        held: Arc<CachedEntry>,
        stale: Option<Stale>,
        at: Moment,
    ) -> GetAnswer {
        let position = held.position;
        GetAnswer::new(GetOutcome::Hit { held, tier: Tier::L1, stale }, partition, position, at)
    }

    fn found_in_l2(&self, get: &Get<'_>, partition: u16, fetched: Fetched) -> GetAnswer {
        let at = self.clock.now();
        let tier = if self.l2.shares_l1() { Tier::L1 } else { Tier::L2 };
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

    pub(super) fn miss(&self, partition: u16, why: Miss, position: Version, degraded: bool) -> GetAnswer {
        GetAnswer { degraded, ..GetAnswer::new(GetOutcome::Miss(why), partition, position, self.clock.now()) }
    }

    fn count(&self, get: &Get<'_>, answer: &GetAnswer, started_at: Moment) {
        self.tally(get, answer);
        if answer.waited {
            // The time that another caller needs to fill the entry is no latency of this service.
            return;
        }
        let latency = match &answer.outcome {
            GetOutcome::Miss(_) => &self.latencies.get_miss,
            GetOutcome::Hit { tier: Tier::L1, .. } => &self.latencies.get_l1,
            GetOutcome::Hit { tier: Tier::L2, .. } => &self.latencies.get_l2,
        };
        latency.observe(self.clock.now().since(started_at));
    }

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

#[cfg(test)]
#[path = "cache_tests.rs"]
pub(super) mod tests;
