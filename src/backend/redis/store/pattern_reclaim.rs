//! Sees to what patterns have selected. A pattern hides entries at once, but each read has to match it; and only so many may be at work. In the
//! background each server is searched through, once for all patterns of a namespace: what they cover is removed, or marked, and the patterns
//! come off the list. One replica does that at a time; if it ends in the middle, another begins again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::KeysInterface as _;
use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::redis_l2::{CompletedStep, RedisL2};
use crate::backend::redis::command::executor::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::invalidation_record::ActivePatterns;
use crate::backend::redis::schema::reply::{bytes, number};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::log_fields::millis;
use crate::cache::tier::L2Error;

/// For how long a claim holds.
const CLAIM: Duration = Duration::from_secs(30);
/// Keys that one step of the search looks at, about, and the pause after it.
const PAGE: (u32, Duration) = (500, Duration::from_millis(1));
/// Most entries of one script.
const ENTRIES: usize = 200;
/// Partitions that are asked at once.
const AT_ONCE: usize = 16;
/// Longest that one command may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The work at one partition.
struct PartitionClaim {
    epoch: u64,
    /// The list as it was claimed.
    bytes: Bytes,
    list: ActivePatterns,
}

/// How far one server has come.
enum ReclaimProgress {
    /// No pattern is at work there any more.
    Done,
    /// Another replica is at work, for so long at most.
    Held(Duration),
    /// Some patterns are, for they were invalidated again, or entries may have come from elsewhere.
    Left,
}

/// Sees to what is wanted until `stop`.
pub async fn run(tier: &RedisL2, stop: &CancellationToken) {
    let work = async {
        loop {
            let namespace = tier.shared().wanted.next().await;
            let shards = tier.calls().routes().shards.clone();
            for shard in shards {
                match reclaim(tier, &shard, &namespace).await {
                    Ok(ReclaimProgress::Done) => {}
                    Ok(ReclaimProgress::Held(pause)) => tier.shared().wanted.add(&namespace, pause),
                    Ok(ReclaimProgress::Left) => tier.shared().wanted.add(&namespace, PAUSE),
                    Err(error) => {
                        tracing::debug!(%namespace, %error, "what patterns selected is not reclaimed yet");
                        tier.shared().wanted.add(&namespace, PAUSE);
                    }
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

async fn reclaim(tier: &RedisL2, shard: &Arc<Shard>, namespace: &str) -> Result<ReclaimProgress, L2Error> {
    let routes = tier.calls().routes();
    let serves = |partition: &u16| {
        routes
            .by_partition
            .get(usize::from(*partition))
            .and_then(Option::as_ref)
            .is_some_and(|by| Arc::ptr_eq(by, shard))
    };
    let partitions: Vec<u16> = (0..tier.shared().layout.partitions()).filter(serves).collect();
    let Some(first) = partitions.first() else { return Ok(ReclaimProgress::Done) };
    // Who has the first has all of them.
    if let Err(held) = claim(tier, *first, namespace).await? {
        return Ok(ReclaimProgress::Held(held));
    }
    let mut claims = BTreeMap::new();
    for some in partitions.chunks(AT_ONCE) {
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
    let (patterns, begun) = (claims.values().map(|claim| claim.list.patterns.len()).max(), Instant::now());
    let entries = search(tier, shard, namespace, *first, &claims).await?;
    let mut left = 0;
    for (partition, PartitionClaim { epoch, bytes, .. }) in &claims {
        let args = vec![epoch.to_string().into(), Value::Bytes(bytes.clone())];
        let step = step(tier, Script::Reclaimed, *partition, namespace, Vec::new(), args).await?;
        left += number(&step.reply, 3).unwrap_or(1);
    }
    let took_ms = millis(begun.elapsed());
    tracing::debug!(%namespace, patterns, entries, took_ms, left, "what patterns selected is reclaimed");
    Ok(if left == 0 { ReclaimProgress::Done } else { ReclaimProgress::Left })
}

/// Claims one partition: what there is to do, if anything; or how long another replica is at work.
async fn claim(
    tier: &RedisL2,
    partition: u16,
    namespace: &str,
) -> Result<Result<Option<PartitionClaim>, Duration>, L2Error> {
    let args = vec![
        Value::Bytes(Bytes::copy_from_slice(&tier.shared().replica.to_be_bytes())),
        CLAIM.as_micros().to_string().into(),
    ];
    let step = step(tier, Script::Claim, partition, namespace, Vec::new(), args).await?;
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
            let (list, bytes) = list.ok_or(L2Error::unavailable("redis answered with something unknown"))?;
            tier.saw_list(partition, namespace, list.clone());
            Ok(Ok(Some(PartitionClaim { epoch, bytes, list })))
        }
        _ => Err(L2Error::unavailable("redis answered with something unknown")),
    }
}

/// Searches one server through; returns how many entries and leases were removed.
async fn search(
    tier: &RedisL2,
    shard: &Shard,
    namespace: &str,
    first: u16,
    claims: &BTreeMap<u16, PartitionClaim>,
) -> Result<u64, L2Error> {
    let layout = &tier.shared().layout;
    let (mut cursor, mut entries) = ("0".to_owned(), 0);
    let mut claimed_at = Instant::now();
    loop {
        let (at, pattern) = (cursor.clone(), layout.all_entries(namespace));
        let until = tier.shared().clock.now().plus(PATIENCE);
        let page = |connection: Arc<Connection>| async move {
            connection.client.scan_page::<(String, Vec<Value>), _, _>(at, pattern, Some(PAGE.0), None).await
        };
        let page =
            tier.calls().call(shard, until, CommandKind::One("SCAN"), page).await.map_err(CommandError::of_a_read)?;
        let mut found: BTreeMap<u16, Vec<Bytes>> = BTreeMap::new();
        for name in page.1.into_iter().filter_map(bytes) {
            let place = layout.partition_in(&name).zip(layout.key_in(&name, namespace));
            let Some((partition, key)) = place else { continue };
            if claims.get(&partition).is_some_and(|claim| claim.list.matches(key)) {
                found.entry(partition).or_default().push(name);
            }
        }
        for (partition, names) in found {
            for names in names.chunks(ENTRIES) {
                let step = step(tier, Script::Reclaim, partition, namespace, names.to_vec(), Vec::new()).await?;
                entries += number(&step.reply, 3).unwrap_or(0).max(0) as u64;
            }
        }
        cursor = page.0;
        if cursor == "0" {
            return Ok(entries);
        }
        if claimed_at.elapsed() > CLAIM / 3 {
            claimed_at = Instant::now();
            if claim(tier, first, namespace).await?.is_err() {
                return Err(L2Error::unavailable("another replica is at work"));
            }
        }
        sleep(PAGE.1).await;
    }
}

async fn step(
    tier: &RedisL2,
    script: Script,
    partition: u16,
    namespace: &str,
    names: Vec<Bytes>,
    args: Vec<Value>,
) -> Result<CompletedStep, L2Error> {
    let until = tier.shared().clock.now().plus(PATIENCE);
    let head = codec::message_head(true, partition, tier.shared().replica, 0);
    tier.step_in(script, partition, namespace, names, head, args, until).await
}
