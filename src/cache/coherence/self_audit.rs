//! Self-audit: compares a sample of the hits that L1 answered as fresh with L2, off the hot path.
//!
//! It changes no answer. The results are counted, and a broken bound is logged.
//!
//! The measured staleness is a lower bound: the write that made the answer old may itself have been
//! replaced since. An entry that is gone proves nothing: it may have expired or been evicted as
//! well as invalidated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

use crate::cache::clock::{Clock, Moment};
use crate::cache::key::{Key, KeyRef};
use crate::cache::log_fields::millis;
use crate::cache::stats::SelfAuditCounters;
use crate::cache::tier::EntryStore;
use crate::cache::version::Version;

/// Most samples that wait for their check. A sample that waits long measures little.
const MAX_QUEUED_SAMPLES: usize = 16;
/// Pause after a check: at most 20 requests to L2 per second, at any rate of hits.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Number of violations of which one is logged.
const LOGGED_ONE_IN: u64 = 100;

/// Takes samples of hits.
pub struct Sampler {
    every: u64,
    hits: AtomicU64,
    samples: Sender<AuditSample>,
    counters: Arc<SelfAuditCounters>,
}

/// Checks samples against L2.
pub struct Auditor {
    samples: Receiver<AuditSample>,
    counters: Arc<SelfAuditCounters>,
    l2: Arc<dyn EntryStore>,
    clock: Arc<dyn Clock>,
    limits: SelfAuditLimits,
}

/// Limits of a check.
#[derive(Clone, Copy, Debug)]
pub struct SelfAuditLimits {
    /// Timeout of a request to L2.
    pub timeout: Duration,
    /// The staleness bound.
    pub bound: Duration,
}

/// A hit: the answer to a Get that began at `started_at`.
struct AuditSample {
    key: Key,
    version: Version,
    started_at: Moment,
}

/// Builds a sampler that takes one in `every` hits, none if 0, and the auditor of its samples.
pub fn new(every: u64, l2: Arc<dyn EntryStore>, clock: Arc<dyn Clock>, limits: SelfAuditLimits) -> (Sampler, Auditor) {
    let (sender, samples) = mpsc::channel(MAX_QUEUED_SAMPLES);
    let counters = Arc::new(SelfAuditCounters::default());
    let sampler = Sampler { every, hits: AtomicU64::new(0), samples: sender, counters: counters.clone() };
    (sampler, Auditor { samples, counters, l2, clock, limits })
}

// === impl Sampler ===

impl Sampler {
    /// Counts a fresh hit of L1 at `version`, of a Get that began at `started_at`, and samples
    /// some.
    ///
    /// On the hot path: one atomic add, unless this hit is sampled.
    pub fn hit(&self, key: KeyRef<'_>, version: Version, started_at: Moment) {
        if self.every == 0 || !self.hits.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
            return;
        }
        match self.samples.try_reserve() {
            Ok(place) => {
                self.counters.sampled.inc();
                place.send(AuditSample { key: key.to_key(), version, started_at });
            }
            Err(_) => self.counters.dropped.inc(),
        }
    }

    /// Counters of messages, audits and fills.
    pub fn counters(&self) -> &SelfAuditCounters {
        &self.counters
    }
}

// === impl Auditor ===

impl Auditor {
    /// Checks samples until the sampler is dropped.
    pub async fn run(mut self) {
        while let Some(sample) = self.samples.recv().await {
            self.check(sample).await;
            sleep(CHECK_INTERVAL).await;
        }
    }

    async fn check(&self, sample: AuditSample) {
        let deadline = self.clock.now().plus(self.limits.timeout);
        let current = match self.l2.current(&sample.key, deadline).await {
            Ok(Some(current)) if current.version.epoch == sample.version.epoch => current,
            // Gone, or written in another epoch, perhaps by another clock: that proves nothing.
            Ok(_) => return self.counters.gone.inc(),
            Err(_) => return self.counters.failed.inc(),
        };
        self.counters.checked.inc();
        let newer = current.version > sample.version;
        let staleness = if newer { sample.started_at.since(current.written_at) } else { Duration::ZERO };
        self.counters.staleness.observe(staleness);
        if staleness > self.limits.bound + current.uncertainty {
            self.violated(&sample, current.version, staleness);
        }
    }

    fn violated(&self, sample: &AuditSample, current: Version, staleness: Duration) {
        if self.counters.violations.get().is_multiple_of(LOGGED_ONE_IN) {
            let key = format_args!("#{:016x}", sample.key.as_ref().digest());
            let namespace = sample.key.namespace().name();
            let (staleness_ms, bound_ms) = (millis(staleness), millis(self.limits.bound));
            tracing::error!(
                namespace, %key, answered = %sample.version, %current, staleness_ms, bound_ms,
                "self-audit: L1 answered as fresh an entry older than the bound"
            );
        }
        self.counters.violations.inc();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::cache::coherence::safeguards::Safeguards;
    use crate::cache::invalidation::selector::Selector;
    use crate::cache::namespace::Namespace;
    use crate::cache::testing::{BOUND, Bench, EPOCH, not_asked};
    use crate::cache::tier::inspect::Inspected;
    use crate::cache::tier::{
        BoxFuture, CallContext, Current, L2Error, Mode, ReadResult, Removal, RemoveResult, Timeout, Touch, Touched,
        Write, WriteResult,
    };

    const UNCERTAINTY: Duration = Duration::from_millis(2);

    /// An L2 with one current version, none, or an error.
    struct KnownTier(Mutex<Result<Option<Current>, L2Error>>);

    impl EntryStore for KnownTier {
        fn current<'a>(&'a self, _: &'a Key, _: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
            Box::pin(std::future::ready(self.0.lock().expect("no panic").clone()))
        }

        fn read<'a>(&'a self, _: &'a Key, _: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
            unreachable!("a value is not fetched")
        }

        not_asked! {
            namespaces;
            barrier;
            write(u16, &'a [Write], CallContext) -> Vec<WriteResult>;
            remove(u16, &'a [Removal], Mode, CallContext) -> RemoveResult;
            invalidate(u16, &'a Arc<Namespace>, &'a [Selector], Mode, CallContext) -> Version;
            touch(&'a Key, Touch, Moment) -> Touched;
            inspect(&'a Key, Moment) -> Inspected;
        }
    }

    struct World {
        bench: Bench,
        l2: Arc<KnownTier>,
        sampler: Sampler,
        auditor: Auditor,
    }

    impl World {
        fn new(every: u64) -> World {
            let bench = Bench::new(Safeguards::default());
            let l2 = Arc::new(KnownTier(Mutex::new(Ok(None))));
            let limits = SelfAuditLimits { timeout: Duration::from_millis(200), bound: BOUND };
            let (sampler, auditor) = new(every, l2.clone(), bench.clock.clone(), limits);
            World { bench, l2, sampler, auditor }
        }

        fn hit(&self, sequence: u64) {
            let key = self.bench.key("k");
            self.sampler.hit(key.as_ref(), Version::new(EPOCH, sequence), self.bench.now());
        }

        /// Sets `sequence`, written `ago`, as the current version.
        fn has(&self, sequence: u64, ago: Duration) {
            let written_at = self.bench.now().minus(ago);
            let current = Current { version: Version::new(EPOCH, sequence), written_at, uncertainty: UNCERTAINTY };
            *self.l2.0.lock().expect("no panic") = Ok(Some(current));
        }

        /// Checks one hit of `sequence`, and returns the measured staleness and the number of
        /// violations.
        async fn check(&mut self, sequence: u64) -> (Duration, u64) {
            self.hit(sequence);
            let sample = self.auditor.samples.try_recv().expect("sampled");
            self.auditor.check(sample).await;
            let counters = self.sampler.counters();
            (counters.staleness.snapshot().max, counters.violations.get())
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_current_or_newer_is_not_stale() {
        let mut world = World::new(1);
        world.has(3, 100 * BOUND);
        assert_eq!(world.check(3).await, (Duration::ZERO, 0));
        assert_eq!(world.check(4).await, (Duration::ZERO, 0));
        assert_eq!(world.sampler.counters().checked.get(), 2);
    }

    #[tokio::test]
    async fn a_write_after_the_get_began_does_not_make_it_stale() {
        let mut world = World::new(1);
        world.bench.clock.advance(BOUND);
        world.has(4, Duration::ZERO);
        assert_eq!(world.check(3).await, (Duration::ZERO, 0));
    }

    #[tokio::test]
    async fn a_violation_is_beyond_the_bound_and_the_uncertainty_of_the_clocks() {
        let mut world = World::new(1);
        let limit = BOUND + UNCERTAINTY;
        world.has(4, limit);
        assert_eq!(world.check(3).await, (limit, 0));
        let beyond = limit + Duration::from_nanos(1);
        world.has(4, beyond);
        assert_eq!(world.check(3).await, (beyond, 1));
    }

    #[tokio::test]
    async fn an_absent_or_unreachable_entry_proves_nothing() {
        let mut world = World::new(1);
        world.check(3).await;
        *world.l2.0.lock().expect("no panic") = Err(L2Error::unavailable("away"));
        world.check(3).await;
        let counters = world.sampler.counters();
        assert_eq!((counters.checked.get(), counters.gone.get(), counters.failed.get()), (0, 1, 1));
        assert_eq!(counters.staleness.snapshot().count, 0);
    }

    #[tokio::test]
    async fn one_in_so_many_hits_is_sampled_and_none_when_switched_off() {
        let world = World::new(10);
        (0..100).for_each(|_| world.hit(3));
        assert_eq!(world.sampler.counters().sampled.get(), 10);
        let off = World::new(0);
        (0..100).for_each(|_| off.hit(3));
        assert_eq!(off.sampler.counters().sampled.get() + off.sampler.counters().dropped.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_hits_queries_l2_twenty_times_a_second() {
        let world = World::new(1);
        world.has(3, Duration::ZERO);
        let World { bench, sampler, auditor, .. } = world;
        let task = tokio::spawn(auditor.run());
        for _ in 0..1000 {
            sampler.hit(bench.key("k").as_ref(), Version::new(EPOCH, 3), bench.now());
            sleep(Duration::from_millis(1)).await;
        }
        let counters = sampler.counters();
        let (checked, dropped) = (counters.checked.get(), counters.dropped.get());
        assert!((18..=21).contains(&checked), "{checked}");
        assert_eq!(counters.sampled.get() + dropped, 1000);
        drop(sampler);
        task.await.expect("ends with the sampler");
    }
}
