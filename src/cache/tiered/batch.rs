//! Batches: Get, Set and Invalidate of many keys. Each item has a result of its own.
//!
//! Each item follows the rules of a single call. Calls to the shared tier are combined.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;

use super::cache::{Tiered, TieredInner};
use super::lookup::GetContext;
use super::set::written_bytes;
use super::types::{Barrier, Consistency, Get, GetAnswer, Miss, SetAnswer, SetOutcome};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::policy::Switches;
use crate::cache::single_flight::{FetchResult, Fetched};
use crate::cache::tier::{Condition, L2Error, Mode, Removal, Timeout, Write};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// A read of many entries of one namespace.
#[derive(Clone, Copy)]
pub struct GetMany<'a> {
    /// The keys. One may be listed twice.
    pub keys: &'a [KeyRef<'a>],
    /// Answers that are allowed.
    pub consistency: Consistency,
    /// Positions that the caller has seen: nothing older is answered.
    pub token: &'a Token,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// A write of many different entries of one namespace.
pub struct SetMany {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// The writes.
    pub writes: Vec<Write>,
    /// Replicas that have to apply the writes before they are acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// A removal of many different entries of one namespace.
pub struct InvalidateMany {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Keys to remove.
    pub removals: Vec<Removal>,
    /// Effect on the entries.
    pub mode: Mode,
    /// Replicas that have to apply the removal before it is acknowledged.
    pub barrier: Barrier,
    /// The caller's deadline.
    pub deadline: Moment,
}

/// Results of a batch.
#[derive(Debug)]
pub struct Many<T> {
    /// Results in the order of the items.
    pub results: Vec<Result<T, CacheError>>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

/// Items of one partition, with the index of each in the batch.
struct PartitionItems<T> {
    partition: u16,
    indexes: Vec<usize>,
    items: Vec<T>,
}

// === impl Tiered ===

impl Tiered {
    /// Reads many entries.
    ///
    /// An item fails only if it is `Strong` and the shared tier is unavailable. The whole batch
    /// fails if this replica must not serve.
    pub async fn get_many(&self, many: GetMany<'_>) -> Result<Vec<Result<GetAnswer, CacheError>>, CacheError> {
        let shared = &*self.0;
        let started_at = shared.clock.now();
        let switches = many.keys.first().map_or_else(|| shared.config.switches, |key| shared.switches(key.namespace));
        let mut results = Vec::with_capacity(many.keys.len());
        let (mut unanswered, mut fresh_values) = (Vec::new(), 0);
        for get in many.gets() {
            shared.hot_keys.read(get.key, started_at);
            let partition = shared.coherence.partition_of(get.key);
            let context = GetContext { get: &get, switches, partition, started_at };
            let Some(answer) = shared.answer_without_l2(context) else {
                unanswered.push((results.len(), get, partition));
                // Until the shared tier has answered.
                results.push(Ok(shared.miss(partition, Miss::Absent, Version::ZERO, false)));
                continue;
            };
            if answer.is_fresh_l1_value() {
                fresh_values += 1;
            } else {
                shared.tally(&get, &answer);
            }
            self.extend_if_sliding(&get, &answer);
            results.push(Ok(answer));
        }
        if let Some(key) = many.keys.first() {
            key.namespace.counters.l1_hits.add(fresh_values);
        }
        if !unanswered.is_empty() {
            self.answer_from_l2(many, &unanswered, (switches, started_at), &mut results).await?;
        }
        Ok(results)
    }

    /// Answers from the shared tier the Gets of `unanswered`, each with its index in `results`.
    async fn answer_from_l2(
        &self,
        many: GetMany<'_>,
        unanswered: &[(usize, Get<'_>, u16)],
        (switches, started_at): (Switches, Moment),
        results: &mut [Result<GetAnswer, CacheError>],
    ) -> Result<(), CacheError> {
        let shared = &*self.0;
        let mut keys: Vec<Key> = Vec::new();
        let mut indexes: HashMap<&[u8], usize> = HashMap::new();
        for (_, get, _) in unanswered {
            indexes.entry(get.key.bytes).or_insert_with(|| {
                keys.push(get.key.to_key());
                keys.len() - 1
            });
        }
        let timeout = shared.read_timeout(many.consistency, many.deadline, started_at);
        let fetched = shared.backing.read_many(&keys, timeout).await;
        for (index, get, partition) in unanswered {
            let context = GetContext { get, switches, partition: *partition, started_at };
            let result = shared.answer_from_fetch(context, fetched[indexes[get.key.bytes]].clone());
            match &result {
                Ok(answer) => {
                    shared.tally(get, answer);
                    self.extend_if_sliding(get, answer);
                }
                Err(CacheError::Halted(why)) => return Err(CacheError::Halted(why.clone())),
                Err(_) => {}
            }
            results[*index] = result;
        }
        Ok(())
    }

    /// Loads those of `keys` into L1 that the shared tier has and for which nothing is switched
    /// off. Returns their number. They do not count as Gets.
    pub async fn load_into_l1(&self, keys: &[Key]) -> usize {
        let shared = &*self.0;
        let is_on = |key: &&Key| shared.switches(key.namespace()) == Switches::default();
        let mut by_namespace: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
        for key in keys.iter().filter(is_on) {
            by_namespace.entry(key.namespace().id).or_default().push(key.clone());
        }
        let until = shared.clock.now().plus(shared.config.read_timeout);
        let timeout = Timeout { deadline: until, latest: Moment::FOREVER };
        let fetched = join_all(by_namespace.values().map(|keys| shared.fetch_many(keys, timeout))).await;
        let now = shared.clock.now();
        let is_live = |found: &&Fetched| found.held.as_ref().is_some_and(|held| held.entry.lives(now));
        fetched.iter().flatten().flatten().filter(is_live).count()
    }

    /// Writes many entries: one step for each partition, all concurrently. A caller that
    /// disconnects does not interrupt it.
    pub async fn set_many(&self, many: SetMany) -> Result<Many<SetAnswer>, CacheError> {
        let (namespace, started_at) = (many.namespace.clone(), self.0.clock.now());
        let cache = self.clone();
        let done = self.owned(async move { cache.write_many_and_settle(many).await }).await;
        match &done {
            Ok(done) => done.results.iter().for_each(|result| namespace.counters.count_set(result)),
            Err(_) => namespace.counters.set_errors.inc(),
        }
        self.0.latencies.batch_set.observe(self.0.clock.now().since(started_at));
        done
    }

    /// Removes many entries: one step for each partition, all concurrently. Each result is true if
    /// there was an entry. A caller that disconnects does not interrupt it.
    pub async fn invalidate_many(&self, many: InvalidateMany) -> Result<Many<bool>, CacheError> {
        let (namespace, started_at) = (many.namespace.clone(), self.0.clock.now());
        let cache = self.clone();
        let done = self.owned(async move { cache.remove_many(many).await }).await;
        match &done {
            Ok(done) if done.results.iter().any(Result::is_ok) => namespace.counters.invalidations.inc(),
            _ => namespace.counters.invalidate_errors.inc(),
        }
        self.0.latencies.batch_invalidate.observe(self.0.clock.now().since(started_at));
        done
    }

    async fn write_many_and_settle(&self, many: SetMany) -> Result<Many<SetAnswer>, CacheError> {
        let leased = |(index, write): (usize, &Write)| match write.condition {
            Condition::Lease(lease) => Some((index, write.key.clone(), lease)),
            _ => None,
        };
        let leases: Vec<_> = many.writes.iter().enumerate().filter_map(leased).collect();
        let done = self.write_many(many).await;
        let settled = leases.iter().map(|(index, key, lease)| {
            let answer = done.as_ref().map_or_else(Err, |done| done.results[*index].as_ref());
            self.settle_lease(key, *lease, answer)
        });
        join_all(settled).await;
        done
    }

    async fn write_many(&self, many: SetMany) -> Result<Many<SetAnswer>, CacheError> {
        let shared = &*self.0;
        let SetMany { namespace, writes, barrier, deadline } = many;
        let (count, switches) = (writes.len(), shared.switches(&namespace));
        if !switches.enabled {
            let results = (0..count).map(|_| Ok(SetAnswer::DISABLED)).collect();
            return Ok(Many { results, token: Token::EMPTY });
        }
        namespace.admit_many(count)?;
        let bytes = writes.iter().map(written_bytes).sum();
        namespace.charge(bytes);
        if !switches.l2 {
            let results = writes.iter().map(|write| Ok(shared.write_l1_only(write)?)).collect();
            return Ok(Many { results, token: Token::EMPTY });
        }
        shared.admit_l2_bytes(&namespace, bytes)?;
        let timeout = shared.write_timeout(deadline);
        let barrier = shared.open_barrier(barrier);
        let context = barrier.context(timeout);
        let shares = shared.by_partition(writes, |write| write.key.as_ref());
        let steps = shares.iter().map(|share| shared.backing.write(share.partition, &share.items, context));
        let done = join_all(steps).await;
        let mut token = Token::EMPTY;
        let mut stored = Vec::new();
        for (share, answers) in shares.iter().zip(&done) {
            let answers = || answers.iter().flatten().flatten();
            answers().for_each(|answer| token.merge(&answer.token));
            stored.extend(answers().any(|answer| answer.outcome == SetOutcome::Stored).then_some(share.partition));
        }
        if !stored.is_empty() {
            shared.await_barrier(barrier, &stored, deadline).await?;
        }
        Ok(Many { results: shared.in_order(count, shares, done, deadline), token })
    }

    async fn remove_many(&self, many: InvalidateMany) -> Result<Many<bool>, CacheError> {
        let shared = &*self.0;
        let InvalidateMany { namespace, removals, mode, barrier, deadline } = many;
        let count = removals.len();
        namespace.admit_many(count)?;
        let until = shared.clock.now().plus(shared.config.write_timeout).min(deadline);
        let barrier = shared.open_barrier(barrier);
        let context = barrier.context(until);
        let shares = shared.by_partition(removals, |removal| removal.key.as_ref());
        let steps = shares.iter().map(|share| shared.backing.remove(share.partition, &share.items, mode, context));
        let done = join_all(steps).await;
        let mut token = Token::EMPTY;
        for (share, removed) in shares.iter().zip(&done) {
            removed.iter().for_each(|removed| token.add(share.partition, removed.version));
        }
        if !token.is_empty() {
            let partitions: Vec<u16> = token.partitions().collect();
            shared.await_barrier(barrier, &partitions, deadline).await?;
        }
        let done = done.into_iter().map(|done| Ok(done?.removed.into_iter().map(Ok).collect())).collect();
        Ok(Many { results: shared.in_order(count, shares, done, deadline), token })
    }
}

// === impl GetMany ===

impl<'a> GetMany<'a> {
    fn gets(self) -> impl Iterator<Item = Get<'a>> {
        let GetMany { keys, consistency, token, deadline } = self;
        keys.iter().map(move |key| Get { key: *key, consistency, token, deadline, lease: None, slot: None })
    }
}

// === impl TieredInner ===

impl TieredInner {
    /// Returns the answer that does not need L2, if there is one.
    fn answer_without_l2(&self, context: GetContext<'_>) -> Option<GetAnswer> {
        let GetContext { get, switches, partition, started_at } = context;
        // Only the primary can answer a strong Get.
        if !switches.enabled || (!switches.l2 && get.consistency == Consistency::Strong) {
            return Some(self.miss(partition, Miss::Disabled, Version::ZERO, false));
        }
        let absent = || (!switches.l2).then(|| self.miss(partition, Miss::Absent, Version::ZERO, false));
        self.answer_from_l1(context, started_at).or_else(absent)
    }

    /// Reads many keys from the shared tier for one caller.
    async fn fetch_many(&self, keys: &[Key], timeout: Timeout) -> Vec<FetchResult> {
        if keys.is_empty() { Vec::new() } else { self.backing.read_many(keys, timeout).await }
    }

    /// Groups items by partition.
    fn by_partition<T>(&self, items: Vec<T>, key: impl Fn(&T) -> KeyRef<'_>) -> Vec<PartitionItems<T>> {
        let mut shares: BTreeMap<u16, PartitionItems<T>> = BTreeMap::new();
        for (index, item) in items.into_iter().enumerate() {
            let partition = self.coherence.partition_of(key(&item));
            let share = shares.entry(partition);
            let share = share.or_insert_with(|| PartitionItems { partition, indexes: Vec::new(), items: Vec::new() });
            share.indexes.push(index);
            share.items.push(item);
        }
        shares.into_values().collect()
    }

    /// Returns the results in the order of the batch. A failed step is the result of each of its
    /// items.
    fn in_order<T, U>(
        &self,
        count: usize,
        shares: Vec<PartitionItems<T>>,
        done: Vec<Result<Vec<Result<U, L2Error>>, L2Error>>,
        deadline: Moment,
    ) -> Vec<Result<U, CacheError>> {
        let mut results: Vec<Option<Result<U, L2Error>>> = (0..count).map(|_| None).collect();
        for (share, done) in shares.into_iter().zip(done) {
            match done {
                Ok(done) => share.indexes.into_iter().zip(done).for_each(|(index, one)| results[index] = Some(one)),
                Err(error) => {
                    share.indexes.into_iter().for_each(|index| results[index] = Some(Err(error.clone())));
                }
            }
        }
        let unanswered = || Err(L2Error::unavailable("no answer"));
        let results = results.into_iter().map(|result| result.unwrap_or_else(unanswered));
        results.map(|result| result.map_err(|error| self.error(error, deadline))).collect()
    }
}
