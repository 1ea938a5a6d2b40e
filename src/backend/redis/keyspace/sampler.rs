//! Samples the keys and memory of each namespace in Redis, for Stats: an estimate.
//!
//! One replica of the deployment samples at a time, and stores the result for the others.
//!
//! A sample of one primary is at most one INFO, [`MAX_SCANS`] SCANs of [`SCAN_COUNT`] and
//! [`super::tally::MAX_MEASURED`] MEMORY USAGEs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::prelude::Error;
use fred::types::{CustomCommand, Expiration, InfoKind, SetOptions, Value};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::tally::{Chosen, ShardTally, Tally};
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::redis_error::names_a_missing_right;
use crate::backend::redis::connection::server_life::field;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::reply::bytes;
use crate::backend::redis::store::redis_l2::RedisL2;
use crate::backend::redis::store::shared_store::HOME;
use crate::cache::stats::keyspace::KeyspaceSample;
use crate::cache::tier::L2Error;

/// Limit of SCANs of one primary in one sample.
const MAX_SCANS: usize = 100;
/// COUNT of a SCAN.
const SCAN_COUNT: u32 = 200;
/// Pause between two SCANs of one primary.
const SCAN_INTERVAL: Duration = Duration::from_millis(5);
/// Largest number of keys of a primary for which the scan begins at the start, so that it may be
/// complete.
const MAX_COUNTED_KEYS: u64 = 8_000;
/// Timeout of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Time to live of a sample in Redis. The elapsed part is its age.
const SAMPLE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Duration of a claim.
const CLAIM_DURATION: Duration = Duration::from_secs(30);
/// The reply of PTTL for a name that does not expire.
const NO_EXPIRY: i64 = -1;
/// Longest pause before the first look, and after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time until a refused MEMORY USAGE is tried again.
const REFUSAL_RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// Samples, or reads the sample of another replica, until `stop`.
pub async fn run(tier: &RedisL2, stop: &CancellationToken) {
    let interval = tier.context().config.namespace_sampling;
    if interval.is_zero() {
        return;
    }
    let mut sampler = KeyspaceSampler { tier, interval, memory_refused_at: None, is_refused: false };
    let work = async {
        loop {
            sleep(sampler.step().await).await;
        }
    };
    let first = async {
        sleep(RETRY_INTERVAL.min(interval)).await;
        work.await
    };
    let _: Option<()> = stop.run_until_cancelled(first).await;
}

struct KeyspaceSampler<'a> {
    tier: &'a RedisL2,
    interval: Duration,
    /// Time of the last refusal of MEMORY USAGE.
    memory_refused_at: Option<Instant>,
    /// True if the log has the warning that sampling is refused.
    is_refused: bool,
}

/// The reason why there is no sample.
enum Trouble {
    /// The user lacks a right, or the server does not know a command.
    Refused(String),
    Failed(L2Error),
}

impl From<CommandError> for Trouble {
    fn from(failure: CommandError) -> Self {
        match failure {
            CommandError::Refused(error) if is_not_allowed(&error) => {
                let why = error.details();
                Trouble::Refused(format!("{why} (docs/redis.md lists the rights this service needs)"))
            }
            other => Trouble::Failed(other.into_read_error()),
        }
    }
}

impl From<L2Error> for Trouble {
    fn from(error: L2Error) -> Self {
        Trouble::Failed(error)
    }
}

fn is_not_allowed(error: &Error) -> bool {
    names_a_missing_right(error.details()) || error.details().starts_with("ERR unknown")
}

// === impl KeyspaceSampler ===

impl KeyspaceSampler<'_> {
    /// Does the work that is due. Returns the time until the next check.
    async fn step(&mut self) -> Duration {
        self.forget_old();
        match self.look().await {
            Ok(pause) => pause,
            Err(Trouble::Refused(why)) => {
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(why, "redis: namespaces cannot be sampled; their keys and memory are not reported");
                }
                self.interval
            }
            Err(Trouble::Failed(error)) => {
                tracing::debug!(%error, "redis: namespaces were not sampled");
                RETRY_INTERVAL.min(self.interval)
            }
        }
    }

    /// Takes the sample of any replica if it is young enough, else samples, unless another replica
    /// does.
    async fn look(&mut self) -> Result<Duration, Trouble> {
        let (tier, keys) = (self.tier, &self.tier.context().keys);
        if tier.health().halted().is_some() {
            return Ok(self.interval);
        }
        let name = keys.keyspace(HOME);
        let deadline = tier.context().clock.now().plus(COMMAND_TIMEOUT);
        if let Some(left) = tier.load(name.clone(), SAMPLE_LIFETIME, deadline).await?
            && left.age < self.interval
        {
            let taken = tier.context().clock.now().minus(left.age);
            if let Some(sample) = super::sample_json::decode(&left.text, taken).or_else(|| tier.undecodable()) {
                tier.set_keyspace(Some(sample));
                return Ok(self.interval - left.age);
            }
        }
        if !self.claim().await? {
            return Ok(RETRY_INTERVAL.min(self.interval));
        }
        let sample = tokio::time::timeout(CLAIM_DURATION, self.sample()).await;
        let sample = sample.unwrap_or_else(|_| Err(L2Error::unavailable("sampling took too long").into()));
        if let Ok(sample) = &sample {
            let deadline = tier.context().clock.now().plus(COMMAND_TIMEOUT);
            tier.save(name, super::sample_json::encode(sample), SAMPLE_LIFETIME, deadline).await?;
            self.is_refused = false;
        }
        self.release().await?;
        tier.set_keyspace(Some(sample?));
        Ok(self.interval)
    }

    /// Drops a sample that was not renewed in time.
    fn forget_old(&self) {
        let longest = 3 * self.interval + CLAIM_DURATION;
        let now = self.tier.context().clock.now();
        if self.tier.keyspace().is_some_and(|sample| now.since(sample.taken) > longest) {
            self.tier.set_keyspace(None);
        }
    }

    /// Claims the work. Returns false if another replica has it.
    async fn claim(&self) -> Result<bool, Trouble> {
        let context = self.tier.context();
        let (shard, name) = (self.tier.executor().shard(HOME)?, context.keys.keyspace_claim(HOME));
        let (replica, claim) =
            (format!("{:016x}", context.replica), Some(Expiration::PX(CLAIM_DURATION.as_millis() as i64)));
        let claimed = name.clone();
        let set = |connection: Arc<Connection>| async move {
            connection.client.set::<Option<String>, _, _>(claimed, replica, claim, Some(SetOptions::NX), false).await
        };
        if self.call(&shard, "SET", set).await?.is_some() {
            return Ok(true);
        }
        let left = |connection: Arc<Connection>| async move { connection.client.pttl::<i64, _>(name).await };
        if self.call(&shard, "PTTL", left).await? == NO_EXPIRY {
            // Every claim of a replica expires: this is a foreign value.
            self.release().await?;
        }
        Ok(false)
    }

    async fn release(&self) -> Result<(), Trouble> {
        let (shard, name) = (self.tier.executor().shard(HOME)?, self.tier.context().keys.keyspace_claim(HOME));
        let unlink = |connection: Arc<Connection>| async move { connection.client.unlink::<Value, _>(name).await };
        self.call(&shard, "UNLINK", unlink).await.map(|_| ())
    }

    /// Samples every primary, one after the other.
    async fn sample(&mut self) -> Result<KeyspaceSample, Trouble> {
        let (taken, routes) = (self.tier.context().clock.now(), self.tier.executor().routes());
        if routes.by_partition.is_empty() || routes.by_partition.iter().any(Option::is_none) {
            return Err(L2Error::unavailable("not every primary is known").into());
        }
        let mut tally = Tally::default();
        for shard in &routes.shards {
            self.sample_shard(shard, &mut tally).await?;
        }
        Ok(tally.into_sample(taken))
    }

    async fn sample_shard(&mut self, shard: &Shard, tally: &mut Tally) -> Result<(), Trouble> {
        let keys = self.keys(shard).await?;
        // Any number is a cursor: each sample covers another part of a large keyspace.
        let begins_at_zero = keys <= MAX_COUNTED_KEYS;
        let mut cursor = if begins_at_zero { "0".to_owned() } else { rand::random::<u32>().to_string() };
        let (mut seen, mut is_complete) = (ShardTally::default(), false);
        for page in 0..MAX_SCANS {
            if page > 0 {
                sleep(SCAN_INTERVAL).await;
            }
            let names;
            (cursor, names) = self.scan(shard, cursor).await?;
            let chosen = seen.add(names.into_iter().filter_map(bytes), &self.tier.context().keys);
            self.measure(shard, chosen, &mut seen).await?;
            is_complete = begins_at_zero && cursor == "0";
            if is_complete {
                break;
            }
        }
        tally.add(seen, keys, is_complete);
        Ok(())
    }

    /// Returns the number of keys of a primary.
    async fn keys(&self, shard: &Shard) -> Result<u64, Trouble> {
        let info = |connection: Arc<Connection>| async move {
            connection.client.info::<String>(Some(InfoKind::Keyspace)).await
        };
        let keyspace = self.call(shard, "INFO", info).await?;
        let database = format!("db{}", self.tier.context().config.url.database);
        // db0:keys=12,expires=11,avg_ttl=299000
        let keys = field(&keyspace, &database).split(',').find_map(|part| part.strip_prefix("keys="));
        Ok(keys.and_then(|keys| keys.parse().ok()).unwrap_or(0))
    }

    async fn scan(&self, shard: &Shard, cursor: String) -> Result<(String, Vec<Value>), Trouble> {
        let scan = |connection: Arc<Connection>| async move {
            connection.client.scan_page(cursor, "*", Some(SCAN_COUNT), None).await
        };
        self.call(shard, "SCAN", scan).await
    }

    /// Measures names. The first one alone, to find out if the command is allowed.
    async fn measure(&mut self, shard: &Shard, chosen: Vec<Chosen>, seen: &mut ShardTally) -> Result<(), Trouble> {
        if self.memory_refused_at.is_some_and(|at| at.elapsed() < REFUSAL_RETRY_INTERVAL) {
            return Ok(());
        }
        let (probe, others) = chosen.split_at(usize::from(!seen.is_measured()).min(chosen.len()));
        for some in [probe, others].into_iter().filter(|some| !some.is_empty()) {
            let names = some.iter().map(|chosen| chosen.name.clone()).collect();
            match self.memory_usage(shard, names).await {
                Ok(sizes) => some.iter().zip(sizes).for_each(|(chosen, size)| seen.measured(&chosen.namespace, size)),
                Err(Trouble::Refused(why)) => {
                    if self.memory_refused_at.replace(Instant::now()).is_none() {
                        tracing::warn!(why, "redis: MEMORY USAGE is refused; the memory of namespaces is not reported");
                    }
                    return Ok(());
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    async fn memory_usage(&self, shard: &Shard, names: Vec<Bytes>) -> Result<Vec<Option<u64>>, Trouble> {
        let measure = |connection: Arc<Connection>| async move {
            let usage = names.into_iter().map(|name| {
                let command = CustomCommand::new_static("MEMORY", None, false);
                connection.client.custom::<Option<u64>, Value>(command, vec!["USAGE".into(), Value::Bytes(name)])
            });
            join_all(usage).await.into_iter().collect::<Result<Vec<_>, Error>>()
        };
        self.call(shard, "MEMORY USAGE", measure).await
    }

    async fn call<T, F, Work>(&self, shard: &Shard, name: &'static str, work: F) -> Result<T, Trouble>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connection>) -> Work,
        Work: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.tier.context().commands.inc();
        let deadline = self.tier.context().clock.now().plus(COMMAND_TIMEOUT);
        Ok(self.tier.executor().call(shard, deadline, CommandKind::One(name), work).await?)
    }
}
