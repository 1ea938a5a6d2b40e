//! Polls INFO of the servers, for Stats, and warns about settings that weaken the promise.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::InfoKind;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::redis::connection::server_life::field;
use crate::backend::redis::store::redis_l2::RedisL2;
use crate::cache::tier::ServerReport;

const POLL_INTERVAL: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
const POLL_TIMEOUT: Duration = Duration::from_secs(1);

/// Polls every primary until `stop`, and adds up the results.
///
/// While Redis is unreachable, the last result stays.
pub async fn poll(tier: &RedisL2, stop: CancellationToken) {
    let database = tier.context().config.url.database;
    let (mut warned, mut counted) = (BTreeSet::new(), HashMap::new());
    loop {
        let connections: Vec<_> =
            tier.executor().routes().shards.iter().filter_map(|shard| shard.connection()).collect();
        let polls = connections.iter().map(|connection| poll_server(&connection.client, database));
        let reports = stop.run_until_cancelled(timeout(POLL_TIMEOUT, join_all(polls))).await;
        let reports = reports.and_then(Result::ok).unwrap_or_default();
        let reports: Vec<(String, ServerReport)> = reports.into_iter().flatten().collect();
        if !reports.is_empty() {
            let gone = gone_since(&mut counted, &reports);
            tier.context().keys_gone.iter().zip(gone).for_each(|(counter, keys)| counter.add(keys));
        }
        let whole = reports.into_iter().map(|(_, report)| report).reduce(add);
        let pause = if whole.is_some() { POLL_INTERVAL } else { RETRY_INTERVAL };
        if let Some(report) = whole {
            for warning in report.warnings.difference(&warned) {
                tracing::warn!(warning, "redis: unsafe server setting");
            }
            warned.clone_from(&report.warnings);
            tier.set_server(report);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Returns the keys evicted and expired since the servers were last `counted`, by run id.
///
/// A server that is new, or has restarted, counts from now on.
fn gone_since(counted: &mut HashMap<String, [u64; 2]>, reports: &[(String, ServerReport)]) -> [u64; 2] {
    let now = reports.iter().map(|(life, report)| (life.clone(), [report.evicted_keys, report.expired_keys]));
    let before = std::mem::replace(counted, now.collect());
    let since = |kind: usize| {
        let of = |(life, now): (&String, &[u64; 2])| Some(now[kind].saturating_sub(before.get(life)?[kind]));
        counted.iter().filter_map(of).sum()
    };
    [since(0), since(1)]
}

fn add(one: ServerReport, mut other: ServerReport) -> ServerReport {
    other.warnings.extend(one.warnings);
    ServerReport {
        version: one.version,
        used_memory: one.used_memory + other.used_memory,
        used_memory_peak: one.used_memory_peak + other.used_memory_peak,
        maxmemory: one.maxmemory + other.maxmemory,
        keys: one.keys + other.keys,
        evicted_keys: one.evicted_keys + other.evicted_keys,
        expired_keys: one.expired_keys + other.expired_keys,
        commands_processed: one.commands_processed + other.commands_processed,
        maxmemory_policy: one.maxmemory_policy,
        warnings: other.warnings,
    }
}

async fn poll_server(client: &Client, database: u8) -> Option<(String, ServerReport)> {
    let server: String = client.info(Some(InfoKind::Server)).await.ok()?;
    let memory: String = client.info(Some(InfoKind::Memory)).await.ok()?;
    let stats: String = client.info(Some(InfoKind::Stats)).await.ok()?;
    let replication: String = client.info(Some(InfoKind::Replication)).await.ok()?;
    let keyspace: String = client.info(Some(InfoKind::Keyspace)).await.ok()?;
    let number = |info: &str, name| field(info, name).parse().unwrap_or(0);
    // db0:keys=12,expires=11,avg_ttl=299000
    let keys = field(&keyspace, &format!("db{database}")).split(',').find_map(|part| part.strip_prefix("keys="));
    let report = ServerReport {
        version: String::new(),
        used_memory: number(&memory, "used_memory"),
        used_memory_peak: number(&memory, "used_memory_peak"),
        maxmemory: number(&memory, "maxmemory"),
        keys: keys.and_then(|keys| keys.parse().ok()).unwrap_or(0),
        evicted_keys: number(&stats, "evicted_keys"),
        expired_keys: number(&stats, "expired_keys"),
        commands_processed: number(&stats, "total_commands_processed"),
        maxmemory_policy: field(&memory, "maxmemory_policy").to_owned(),
        warnings: warnings(&memory, &replication),
    };
    Some((field(&server, "run_id").to_owned(), report))
}

/// Settings of a server that weaken the promise, or are expensive.
fn warnings(memory: &str, replication: &str) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    warnings.extend(eviction_warning(field(memory, "maxmemory_policy")));
    let bounded = !field(replication, "min_slaves_good_slaves").is_empty();
    if field(replication, "connected_slaves") != "0" && !bounded {
        let words =
            "min-replicas-to-write is 0: if Redis's replication splits, staleness has no bound on the isolated side";
        warnings.insert(words.to_owned());
    }
    warnings
}

/// Warns about an eviction policy that evicts data that should stay.
///
/// Leases, request ids and versions of sources are not read between their writing and their use,
/// and expire sooner than most entries.
fn eviction_warning(policy: &str) -> Option<String> {
    let kept = "leases, request ids and versions of sources";
    let evicted = match policy {
        "" | "noeviction" | "volatile-lru" => return None,
        "volatile-ttl" => format!("evicts {kept} before any entry that ends later"),
        "volatile-lfu" => format!("evicts {kept} before entries that are read often"),
        "volatile-random" => format!("evicts {kept} as soon as any entry"),
        _ => format!(
            "may evict the counter of a partition, which makes all its entries misses, and policies set at run time, and {kept}"
        ),
    };
    Some(format!(
        "maxmemory-policy {policy} {evicted}: then Sets with a lease are refused, repeated requests are carried out twice, and \
         older versions of a source are stored; set maxmemory-policy volatile-lru"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_counted_while_it_is_watched_and_never_twice() {
        let report = |life: &str, evicted_keys, expired_keys| {
            (life.to_owned(), ServerReport { evicted_keys, expired_keys, ..ServerReport::default() })
        };
        let mut counted = HashMap::new();
        assert_eq!(gone_since(&mut counted, &[report("a", 100, 7)]), [0, 0]);
        assert_eq!(gone_since(&mut counted, &[report("a", 103, 8), report("b", 50, 0)]), [3, 1]);
        assert_eq!(gone_since(&mut counted, &[report("c", 5, 0), report("b", 51, 0)]), [1, 0]);
    }

    #[test]
    fn settings_that_weaken_the_promise_are_named() {
        let quiet = warnings("maxmemory_policy:volatile-lru\r\n", "role:master\r\nconnected_slaves:0\r\n");
        assert_eq!(quiet, BTreeSet::new());
        let bounded = "role:master\r\nconnected_slaves:1\r\nmin_slaves_good_slaves:1\r\n";
        assert_eq!(warnings("maxmemory_policy:noeviction\r\n", bounded), BTreeSet::new());
        let effects = ["Sets with a lease are refused", "carried out twice", "older versions of a source are stored"];
        for (policy, evicted) in [
            ("volatile-ttl", "before any entry that ends later"),
            ("volatile-lfu", "before entries that are read often"),
            ("volatile-random", "as soon as any entry"),
            ("allkeys-lru", "the counter of a partition"),
            ("allkeys-lfu", "the counter of a partition"),
            ("allkeys-random", "the counter of a partition"),
        ] {
            let warning = eviction_warning(policy).unwrap_or_default();
            let begins = warning.starts_with(&format!("maxmemory-policy {policy} "));
            assert!(begins && warning.contains(evicted), "{policy}: {warning}");
            assert!(effects.iter().all(|effect| warning.contains(effect)), "{policy}: {warning}");
            assert!(warning.ends_with("set maxmemory-policy volatile-lru"), "{policy}: {warning}");
        }
        for spares in ["noeviction", "volatile-lru"] {
            assert_eq!(eviction_warning(spares), None);
        }
        let loud = warnings("maxmemory_policy:allkeys-lru\r\n", "role:master\r\nconnected_slaves:1\r\n");
        assert_eq!(loud.len(), 2, "{loud:?}");
    }
}
