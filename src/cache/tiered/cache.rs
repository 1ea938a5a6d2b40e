//! The two-tier cache: where a Get is answered. Memory when it is proven fresh, else the shared tier, else what may be said without it.

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
use crate::cache::lease::{LeaseCounters, Leases};
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::spans;
use crate::cache::stats::hot_keys::{HotKey, HotKeys};
use crate::cache::stats::{Latencies, SelfAuditCounters};
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{L1, L2, L2Error, ReadResult, Timeout};
use crate::cache::version::Version;

/// The most that is kept back of a caller's deadline for the answer's way.
const ANSWERING: Duration = Duration::from_millis(20);
/// Pause between looks at whether memory is proven.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the cache is configured by.
#[derive(Clone, Copy, Debug)]
pub struct TieredConfig {
    /// What is switched on for the whole service, at first.
    pub switches: Switches,
    /// Longest a Get waits for the shared tier.
    pub read_budget: Duration,
    /// Longest a write waits for the shared tier.
    pub write_budget: Duration,
    /// One in so many fresh hits of memory is checked against the shared tier; 0: none.
    pub self_audit_every: u64,
    /// Keys of which it is kept account to tell those read most.
    pub hot_key_places: usize,
}

/// The cache of one replica. Cheap to share; every clone is the same cache.
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
    pub(super) sliding: super::touch::Slides,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled when nobody shall wait any more for what others make.
    pub(super) leaving: CancellationToken,
}

/// How an entry has outlived its time, or was marked; none when it has not.
pub(super) fn outlived(entry: &Entry, marked_at: Option<Moment>, now: Moment) -> Option<Stale> {
    let since = |reason, at| Stale { reason, staleness: now.since(at) };
    let expired = (now >= entry.expires_at).then(|| since(StaleReason::Expired, entry.expires_at));
    worst(marked_at.map(|at| since(StaleReason::Marked, at)), expired)
}

/// Both: of the reasons the first, and for as long as either.
fn worst(one: Option<Stale>, other: Option<Stale>) -> Option<Stale> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Stale { staleness: one.staleness.max(other.staleness), ..one }),
        (one, other) => one.or(other),
    }
}

/// What a fetch came to, in one word.
fn outcome_of(fetched: &FetchResult) -> &'static str {
    match fetched {
        Ok(Fetched { held: Some(_), .. }) => "found",
        Ok(Fetched { held: None, .. }) => "absent",
        Err(_) => "failed",
    }
}

/// What was known before the shared tier was asked.
#[derive(Clone, Copy)]
pub(super) struct FetchContext {
    note: FillGuard,
    /// Position up to which everything had been heard of.
    heard_of: Version,
    /// The position that answers had shown.
    shown: ShownPosition,
    at: Moment,
}

/// What memory has to say.
pub(super) enum L1Lookup {
    Nothing,
    Fresh(Arc<CachedEntry>),
    Stale(Arc<CachedEntry>, Stale),
}

// === impl Tiered ===

impl Tiered {
    /// A cache over two tiers. With a self-audit it has to be made inside of a runtime.
    pub fn new(
        config: TieredConfig,
        l1: Arc<dyn L1>,
        l2: Arc<dyn L2>,
        coherence: Arc<Coherence>,
        clock: Arc<dyn Clock>,
    ) -> Tiered {
        let (latencies, tasks, stop) = (Latencies::default(), TaskTracker::new(), CancellationToken::new());
        let every = if l2.shares_l1() { 0 } else { config.self_audit_every };
        let limits = self_audit::SelfAuditLimits { timeout: config.read_budget, bound: coherence.max_staleness() };
        let (sampler, auditor) = self_audit::new(every, l2.clone(), clock.clone(), limits);
        if every > 0 {
            tasks.spawn(stop.clone().run_until_cancelled_owned(auditor.run()));
        }
        let switches = ArcSwap::from_pointee(config.switches);
        let hot_keys = HotKeys::new(config.hot_key_places, clock.now());
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
            sliding: super::touch::Slides::default(),
            tasks,
            leaving: stop.child_token(),
            stop,
        }))
    }

    /// Reads one entry. Fails only when `Strong` and the shared tier cannot be asked, or when this replica must not serve.
    pub async fn get(&self, get: Get<'_>) -> Result<GetAnswer, CacheError> {
        let shared = &*self.0;
        let begun = shared.clock.now();
        let counters = &get.key.namespace.counters;
        let partition = shared.coherence.partition_of(get.key);
        shared.hot_keys.read(get.key, begun);
        let switches = shared.switches(get.key.namespace);
        // What only the primary can answer is not answered without it.
        let is_off = !switches.enabled || (!switches.l2 && get.consistency == Consistency::Strong);
        if is_off {
            counters.misses.inc();
            return Ok(shared.miss(partition, Miss::Disabled, Version::ZERO, false));
        }
        get.key.namespace.admit()?;
        let answer = match get.lease.filter(|_| switches.l2) {
            Some(wish) => self.get_with_lease(&get, wish, switches, partition, begun).await?,
            None => match shared.answer_from_memory(&get, switches, partition, begun) {
                Some(answer) => answer,
                None if switches.l2 => {
                    let fetched = self.ask_l2(&get, partition, begun).await;
                    shared.conclude(&get, switches, partition, fetched)?
                }
                // Memory is all there is.
                None => shared.miss(partition, Miss::Absent, Version::ZERO, false),
            },
        };
        shared.count(&get, &answer, begun);
        self.slide(&get, &answer);
        Ok(answer)
    }

    /// Begins a watch on changes.
    pub fn watch(&self, watching: Watching) -> Result<Watch, CacheError> {
        match self.0.l2.halted() {
            Some(why) => Err(CacheError::Halted(why)),
            None => self.0.coherence.watch(watching),
        }
    }

    /// The configuration.
    pub fn config(&self) -> TieredConfig {
        self.0.config
    }

    /// What is switched on for the whole service.
    pub fn switches(&self) -> Switches {
        **self.0.switches.load()
    }

    /// Switches the whole service from now on.
    pub fn switch(&self, switches: Switches) {
        self.0.switches.store(Arc::new(switches));
    }

    /// The coherence protocol.
    pub fn coherence(&self) -> &Coherence {
        &self.0.coherence
    }

    /// Latencies.
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// Counts of the self-audit.
    pub fn self_audit(&self) -> &SelfAuditCounters {
        self.0.sampler.counters()
    }

    /// At most `limit` keys read most lately, of one namespace or of all.
    pub fn hot_keys(&self, limit: usize, namespace: Option<&Namespace>) -> Vec<HotKey> {
        let of = |key: &Key| namespace.is_none_or(|namespace| namespace.id == key.namespace().id);
        self.0.hot_keys.top(limit, self.0.clock.now(), of)
    }

    /// Counts of leases.
    pub fn leases(&self) -> &LeaseCounters {
        &self.0.leases.counters
    }

    /// The memory tier.
    pub fn l1(&self) -> &dyn L1 {
        &*self.0.l1
    }

    /// Waits until every partition is proven: from then on what is read enters memory.
    pub async fn until_proven(&self) {
        let coherence = &self.0.coherence;
        while coherence.proofs().proven < coherence.partitions() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// From now on no Get waits for what others make: this replica is about to go.
    pub fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Waits for the fetches and writes under way. No new ones may be begun.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Asks the shared tier.
    pub(super) async fn ask_l2(&self, get: &Get<'_>, partition: u16, begun: Moment) -> FetchResult {
        let shared = &*self.0;
        let timeout = shared.read_timeout(get.consistency, get.deadline, begun);
        let token = get.token.position(partition);
        match get.consistency {
            Consistency::Strong => shared.fetch(&get.key.to_key(), timeout).await,
            Consistency::Bounded(bound) => {
                let bound = bound.unwrap_or(shared.coherence.max_staleness());
                match self.fetch_together(get.key.to_key(), bound, timeout).await {
                    // The fetch joined began before the write this caller has seen: ask once more, for this caller alone.
                    Ok(fetched) if fetched.may_precede(token, get.key.namespace) => {
                        shared.fetch(&get.key.to_key(), timeout).await
                    }
                    other => other,
                }
            }
        }
    }

    /// Fetches, or waits for the fetch that another Get has begun. A fetch ends by itself when nothing arrives any more.
    pub(super) async fn fetch_together(&self, key: Key, bound: Duration, limit: Timeout) -> FetchResult {
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
                    let until = cache.0.clock.now().plus(cache.0.config.read_budget);
                    let own = Timeout { deadline: until, latest: limit.latest.max(until) };
                    let result = cache.0.fetch_under(&key, note, own).await;
                    cache.0.coherence.close_fetch(&key, id);
                    spans::note(spans::OUTCOME, outcome_of(&result));
                    landing.complete(result);
                };
                self.0.tasks.spawn(fetch.instrument(waiting.take_span()));
                (waiting, tracing::Span::none())
            }
        };
        let patience = limit.latest.since(shared.clock.now());
        let result = timeout(patience, waiting.result().instrument(span)).await;
        result.unwrap_or(Err(L2Error::unavailable("no answer within the budget")))
    }
}

// === impl Shared ===

impl TieredInner {
    /// What is switched on for `namespace`. Nothing is, when no tier is left.
    pub(super) fn switches(&self, namespace: &Namespace) -> Switches {
        let Switches { enabled, l1, l2 } = self.switches.load().and(namespace.policy().switches());
        match self.l2.shares_l1() {
            true => Switches { enabled: enabled && l1, l1, l2: true },
            false => Switches { enabled: enabled && (l1 || l2), l1, l2 },
        }
    }

    /// The answer that memory may give, if any. On the hot path: no lock that all keys share, no wait.
    pub(super) fn answer_from_memory(
        &self,
        get: &Get<'_>,
        switches: Switches,
        partition: u16,
        now: Moment,
    ) -> Option<GetAnswer> {
        let Consistency::Bounded(bound) = get.consistency else { return None };
        let welcome = bound.filter(|bound| *bound > self.coherence.max_staleness());
        match self.look_up(get, switches, partition, now) {
            L1Lookup::Fresh(held) => {
                if switches.l2 {
                    self.sampler.hit(get.key, held.entry.version, now);
                }
                Some(self.hit_in_l1(partition, held, None, now))
            }
            L1Lookup::Stale(held, stale) if welcome.is_some() => {
                Some(self.hit_in_l1(partition, held, Some(stale), now))
            }
            _ => None,
        }
    }

    /// The answer after the shared tier was asked; when it could not be asked, what may be said without it.
    pub(super) fn conclude(
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
            Err(_) => Ok(self.without_l2(get, switches, partition)),
        }
    }

    /// The answer when the shared tier could not be asked: a flagged stale hit where the namespace allows it, else a flagged miss.
    fn without_l2(&self, get: &Get<'_>, switches: Switches, partition: u16) -> GetAnswer {
        let now = self.clock.now();
        let mut answer = match self.look_up(get, switches, partition, now) {
            L1Lookup::Fresh(held) => self.hit_in_l1(partition, held, None, now),
            L1Lookup::Stale(held, stale) => self.hit_in_l1(partition, held, Some(stale), now),
            L1Lookup::Nothing => self.miss(partition, Miss::Unavailable, Version::ZERO, true),
        };
        answer.degraded = true;
        answer
    }

    /// What memory holds for this Get that is not older than its token, nor staler than namespace and caller allow.
    pub(super) fn look_up(&self, get: &Get<'_>, switches: Switches, partition: u16, now: Moment) -> L1Lookup {
        let Consistency::Bounded(accepted) = get.consistency else { return L1Lookup::Nothing };
        let bound = accepted.unwrap_or(self.coherence.max_staleness());
        // Before the lookup: see Coherence::proof and Coherence::place.
        let proof = self.coherence.proof(partition);
        let token = get.token.position(partition);
        let place = (token > Version::ZERO).then(|| self.coherence.subscription_position(partition));
        let Some(held) = self.l1.get(get.key).filter(|_| switches.l1) else { return L1Lookup::Nothing };
        let (window, l1_ttl) = {
            let policy = get.key.namespace.policy();
            (policy.stale_window, policy.l1_ttl)
        };
        if now.since(held.known_at) > l1_ttl || (switches.l2 && held.is_alone()) {
            return L1Lookup::Nothing;
        }
        if held.position < token && place.is_none_or(|place| place.of(&held) < token) {
            return L1Lookup::Nothing;
        }
        let judgement = self.coherence.freshness(get.key, &held, proof, bound, now);
        let unproven = match judgement {
            Freshness::Invalidated => {
                // Where memory is all there is what it remembers of the entry has to be kept.
                if !self.l2.shares_l1() {
                    self.coherence.remove_dead(get.key, &held);
                }
                return L1Lookup::Nothing;
            }
            Freshness::Fresh => None,
            // Nothing is promised, so nothing needs proof.
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
        self.fetch_under(key, note, timeout).await
    }

    /// Reads the shared tier, and lets the answer enter memory if nothing newer was applied since `note`.
    async fn fetch_under(&self, key: &Key, note: FillGuard, timeout: Timeout) -> FetchResult {
        let asked = self.asked(key, note);
        let read = self.l2.read(key, timeout).await;
        if !self.l2.shares_l1() && read.is_ok() {
            self.latencies.l2_read.observe(self.clock.now().since(asked.at));
        }
        self.take_in(key, asked, read?)
    }

    /// What is known before the shared tier is asked for `key`.
    pub(super) fn asked(&self, key: &Key, note: FillGuard) -> FetchContext {
        let partition = self.coherence.partition_of(key.as_ref());
        let (heard_of, shown) = (self.coherence.watermark(partition), self.coherence.shown(partition));
        FetchContext { note, heard_of, shown, at: self.clock.now() }
    }

    /// Judges what the shared tier answered, and lets it enter memory if nothing newer was applied since it was asked.
    pub(super) fn take_in(&self, key: &Key, asked: FetchContext, read: ReadResult) -> FetchResult {
        let FetchContext { note, heard_of, shown, at: begun } = asked;
        let partition = self.coherence.partition_of(key.as_ref());
        if read.position > Version::ZERO && read.position < heard_of.max(shown.position) {
            // An old primary: what it does not know yet was heard of, or shown by an answer, before it was asked.
            self.l2.is_behind(partition);
            return Err(L2Error::unavailable("redis is behind its own messages and answers"));
        }
        let Some(entry) = read.entry else {
            if !self.l2.shares_l1() {
                if read.position > heard_of {
                    // The change that removed it may be lost, too.
                    let change = Change::of_keys(Effect::Removed, std::slice::from_ref(key));
                    self.coherence.record_acknowledged(partition, read.position, &change);
                }
                // Without a counter nothing is there any more: a miss.
                if read.position > Version::ZERO && self.coherence.has_ended(partition, read.position.epoch) {
                    return Err(L2Error::unavailable("another primary took over before redis answered"));
                }
                self.coherence.show(partition, shown, read.position);
                self.coherence.observe_read(key, read.position, None);
            }
            return Ok(Fetched { position: read.position, held: None });
        };
        if !self.coherence.counts(partition, entry.version, read.position) {
            return Err(L2Error::unavailable("redis was taken over, and what it may have lost is not repaired yet"));
        }
        if entry.version > heard_of && !self.l2.shares_l1() {
            // Whoever is answered with it may not be answered with something older later, even if Redis loses it.
            self.coherence.record_acknowledged(
                partition,
                entry.version,
                &Change::of_keys(Effect::Set, std::slice::from_ref(key)),
            );
        }
        if self.coherence.has_ended(partition, read.position.epoch) {
            // From before a takeover that may have been repaired meanwhile, without what was read here.
            return Err(L2Error::unavailable("another primary took over before redis answered"));
        }
        // The entry may be newer than the position, which is read before it: who sees it has seen that far.
        let position = read.position.max(entry.version);
        let held = coherence::cached_entry(entry, position, note, begun, key.namespace());
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

    /// When a Get that has another answer stops waiting for the shared tier: after `budget`, and early enough to answer before the caller leaves.
    pub(super) fn until(&self, budget: Duration, deadline: Moment, now: Moment) -> Moment {
        let left = deadline.since(now);
        now.plus(budget.min(left - (left / 10).min(ANSWERING)))
    }

    /// The time for which a Get reads the shared tier. What goes on arriving is waited for while the caller does.
    pub(super) fn read_timeout(&self, consistency: Consistency, deadline: Moment, now: Moment) -> Timeout {
        let budget = self.config.read_budget;
        match consistency {
            Consistency::Strong => Timeout { deadline: now.plus(budget).min(deadline), latest: deadline },
            Consistency::Bounded(_) => Timeout {
                deadline: self.until(budget, deadline, now),
                latest: self.until(Duration::MAX, deadline, now),
            },
        }
    }

    /// The time for which a write may take.
    pub(super) fn write_timeout(&self, deadline: Moment) -> Timeout {
        Timeout { deadline: self.clock.now().plus(self.config.write_budget).min(deadline), latest: deadline }
    }

    /// An error of the shared tier as its caller has to know it: when there was no time left, that is why.
    pub(super) fn error(&self, error: L2Error, deadline: Moment) -> CacheError {
        match error {
            L2Error::Unavailable { outcome_unknown_for, .. } if self.clock.now() >= deadline.minus(ANSWERING) => {
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
        let welcome = match get.consistency {
            Consistency::Bounded(Some(accepted)) if accepted > self.coherence.max_staleness() => {
                Some(accepted.min(get.key.namespace.policy().stale_window))
            }
            _ => None,
        };
        let found = fetched.held.filter(|held| at < held.entry.kept_until);
        let outcome = match found.map(|held| (outlived(&held.entry, held.marked_at(), at), held)) {
            Some((None, held)) => GetOutcome::Hit { held, tier, stale: None },
            Some((stale @ Some(Stale { staleness, .. }), held)) if welcome.is_some_and(|most| staleness <= most) => {
                GetOutcome::Hit { held, tier, stale }
            }
            _ => GetOutcome::Miss(Miss::Absent),
        };
        GetAnswer::new(outcome, partition, fetched.position, at)
    }

    pub(super) fn miss(&self, partition: u16, why: Miss, position: Version, degraded: bool) -> GetAnswer {
        GetAnswer { degraded, ..GetAnswer::new(GetOutcome::Miss(why), partition, position, self.clock.now()) }
    }

    fn count(&self, get: &Get<'_>, answer: &GetAnswer, begun: Moment) {
        self.tally(get, answer);
        if answer.waited {
            // What others needed to make the entry says nothing of this service.
            return;
        }
        let latency = match &answer.outcome {
            GetOutcome::Miss(_) => &self.latencies.get_miss,
            GetOutcome::Hit { tier: Tier::L1, .. } => &self.latencies.get_l1,
            GetOutcome::Hit { tier: Tier::L2, .. } => &self.latencies.get_l2,
        };
        latency.observe(self.clock.now().since(begun));
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
