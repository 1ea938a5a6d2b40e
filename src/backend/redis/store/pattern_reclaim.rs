//! Removes entries matched by invalidated patterns, in the background.
//!
//! A pattern hides entries immediately, but each read has to match it, and the number of active
//! patterns is limited. So each server is scanned once for all patterns of a namespace: matching
//! entries are removed or marked, and the patterns leave the list. One replica does that at a time;
//! if it stops in the middle, another one begins again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::KeysInterface as _;
use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::redis_l2::RedisL2;
use super::step::{CompletedStep, SequencedStep};
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::invalidation_record::ActivePatterns;
use crate::backend::redis::schema::reply::{bytes, number};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::log_fields::millis;
use crate::cache::tier::L2Error;

/// Duration of a claim.
const CLAIM_DURATION: Duration = Duration::from_secs(30);
/// Approximate number of keys for each step of the scan, and the pause after it.
const SCAN_PAGE: (u32, Duration) = (500, Duration::from_millis(1));
/// Limit of entries for one script.
const MAX_ENTRIES_PER_SCRIPT: usize = 200;
/// Limit of partitions that are claimed concurrently.
const MAX_CONCURRENT_PARTITIONS: usize = 16;
/// Timeout of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before a retry.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A claimed partition.
struct PartitionClaim {
    epoch: u64,
    /// The encoded list as it was claimed.
    bytes: Bytes,
    list: ActivePatterns,
}

/// The result for one server.
enum ReclaimProgress {
    /// No active pattern is left.
    Done,
    /// Another replica holds the claim, at most for this time.
    Held(Duration),
    /// Some patterns are left: they were invalidated again, or entries may have come from another
    /// server.
    Left,
}

/// Reclaims queued namespaces until `stop`.
pub async fn run(tier: &RedisL2, stop: &CancellationToken) {
    let work = async {
        loop {
            let namespace = tier.context().reclaim_queue.next().await;
            let shards = tier.executor().routes().shards.clone();
            for shard in shards {
                match reclaim(tier, &shard, &namespace).await {
                    Ok(ReclaimProgress::Done) => {}
                    Ok(ReclaimProgress::Held(pause)) => tier.context().reclaim_queue.add(&namespace, pause),
                    Ok(ReclaimProgress::Left) => tier.context().reclaim_queue.add(&namespace, RETRY_INTERVAL),
                    Err(error) => {
                        tracing::debug!(%namespace, %error, "redis: reclaiming patterns failed; will retry");
                        tier.context().reclaim_queue.add(&namespace, RETRY_INTERVAL);
                    }
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

async fn reclaim(tier: &RedisL2, shard: &Arc<Shard>, namespace: &str) -> Result<ReclaimProgress, L2Error> {
    let routes = tier.executor().routes();
    let serves = |partition: &u16| {
        routes
            .by_partition
            .get(usize::from(*partition))
            .and_then(Option::as_ref)
            .is_some_and(|by| Arc::ptr_eq(by, shard))
    };
    let partitions: Vec<u16> = (0..tier.context().keys.partitions()).filter(serves).collect();
    let Some(first) = partitions.first() else { return Ok(ReclaimProgress::Done) };
    // Claiming the first partition claims the whole server.
    if let Err(held) = claim(tier, *first, namespace).await? {
        return Ok(ReclaimProgress::Held(held));
    }
    let mut claims = BTreeMap::new();
    for some in partitions.chunks(MAX_CONCURRENT_PARTITIONS) {
        let claimed = join_all(some.iter().map(|partition| claim(tier, *partition, namespace))).await;
        for (partition, claimed) in some.iter().zip(claimed) {
            match claimed? {
                Ok(claim) => claims.extend(claim.map(|claim| (*partition, claim))),
                Err(held) => return Ok(ReclaimProgress::Held(held)),
            }
        }
    }
    if claims.is_empty() {
        return Ok(ReclaimProgress::Done);
    }
    let (patterns, started_at) = (claims.values().map(|claim| claim.list.patterns.len()).max(), Instant::now());
    let entries = search(tier, shard, namespace, *first, &claims).await?;
    let mut left = 0;
    for (partition, PartitionClaim { epoch, bytes, .. }) in &claims {
        let args = vec![epoch.to_string().into(), Value::Bytes(bytes.clone())];
        let (script, partition) = (Script::FinishReclaim, *partition);
        let step = step(tier, ReclaimStep { script, partition, namespace, keys: Vec::new(), args }).await?;
        left += number(&step.reply, 3).unwrap_or(1);
    }
    let took_ms = millis(started_at.elapsed());
    tracing::debug!(%namespace, patterns, entries, took_ms, left, "redis: reclaimed patterns");
    Ok(if left == 0 { ReclaimProgress::Done } else { ReclaimProgress::Left })
}

/// Claims one partition.
///
/// Returns its patterns, if it has any; or how long another replica holds the claim.
async fn claim(
    tier: &RedisL2,
    partition: u16,
    namespace: &str,
) -> Result<Result<Option<PartitionClaim>, Duration>, L2Error> {
    let args = vec![
        Value::Bytes(Bytes::copy_from_slice(&tier.context().replica.to_be_bytes())),
        CLAIM_DURATION.as_micros().to_string().into(),
    ];
    let script = Script::ClaimReclaim;
    let step = step(tier, ReclaimStep { script, partition, namespace, keys: Vec::new(), args }).await?;
    let epoch = step.position.epoch;
    let mut reply = step.reply.into_iter().skip(3);
    match reply.next().and_then(bytes).as_deref() {
        Some(b"NONE") => Ok(Ok(None)),
        Some(b"HELD") => {
            let micros = reply.next().and_then(|value| value.as_u64()).unwrap_or(0);
            Ok(Err(Duration::from_micros(micros)))
        }
        Some(b"CLAIMED") => {
            let list = reply.next().and_then(bytes).and_then(|bytes| Some((ActivePatterns::read(&bytes)?, bytes)));
            let (list, bytes) = list.ok_or(L2Error::unavailable("unexpected reply from redis"))?;
            tier.saw_list(partition, namespace, list.clone());
            Ok(Ok(Some(PartitionClaim { epoch, bytes, list })))
        }
        _ => Err(L2Error::unavailable("unexpected reply from redis")),
    }
}

/// Scans one server. Returns the number of removed entries and leases.
async fn search(
    tier: &RedisL2,
    shard: &Shard,
    namespace: &str,
    first: u16,
    claims: &BTreeMap<u16, PartitionClaim>,
) -> Result<u64, L2Error> {
    let keys = &tier.context().keys;
    let (mut cursor, mut entries) = ("0".to_owned(), 0);
    let mut claimed_at = Instant::now();
    loop {
        let (at, pattern) = (cursor.clone(), keys.all_entries(namespace));
        let deadline = tier.context().clock.now().plus(COMMAND_TIMEOUT);
        let page = |connection: Arc<Connection>| async move {
            connection.client.scan_page::<(String, Vec<Value>), _, _>(at, pattern, Some(SCAN_PAGE.0), None).await
        };
        let page = tier
            .executor()
            .call(shard, deadline, CommandKind::One("SCAN"), page)
            .await
            .map_err(CommandError::into_read_error)?;
        let mut found: BTreeMap<u16, Vec<Bytes>> = BTreeMap::new();
        for name in page.1.into_iter().filter_map(bytes) {
            let place = keys.partition_in(&name).zip(keys.key_in(&name, namespace));
            let Some((partition, key)) = place else { continue };
            if claims.get(&partition).is_some_and(|claim| claim.list.matches(key)) {
                found.entry(partition).or_default().push(name);
            }
        }
        for (partition, names) in found {
            for names in names.chunks(MAX_ENTRIES_PER_SCRIPT) {
                let (script, keys) = (Script::Reclaim, names.to_vec());
                let step = step(tier, ReclaimStep { script, partition, namespace, keys, args: Vec::new() }).await?;
                entries += number(&step.reply, 3).unwrap_or(0).max(0) as u64;
            }
        }
        cursor = page.0;
        if cursor == "0" {
            return Ok(entries);
        }
        if claimed_at.elapsed() > CLAIM_DURATION / 3 {
            claimed_at = Instant::now();
            if claim(tier, first, namespace).await?.is_err() {
                return Err(L2Error::unavailable("another replica holds the claim"));
            }
        }
        sleep(SCAN_PAGE.1).await;
    }
}

/// Script of the reclaim of one partition.
struct ReclaimStep<'a> {
    script: Script,
    partition: u16,
    namespace: &'a str,
    /// Names of entries and leases.
    keys: Vec<Bytes>,
    args: Vec<Value>,
}

async fn step(tier: &RedisL2, step: ReclaimStep<'_>) -> Result<CompletedStep, L2Error> {
    let ReclaimStep { script, partition, namespace, keys, args } = step;
    let timeout = tier.context().clock.now().plus(COMMAND_TIMEOUT).into();
    // No message: the invalidation had its own.
    tier.step(SequencedStep { script, partition, namespace, keys, message_head: Vec::new(), args, timeout }).await
}
