//! What the Redis server says of itself, asked every few seconds, for Stats.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::InfoKind;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::field;
use super::tier::RedisTier;
use crate::cache::tier::ServerReport;

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks until `stop`. While Redis is away the last answer stands.
pub async fn poll(tier: &RedisTier, stop: CancellationToken) {
    loop {
        let mut pause = EVERY;
        match tier.connection() {
            Some(connection) => {
                let asked = ask(&connection.client, tier.database());
                if let Ok(Some(mut report)) = timeout(PATIENCE, asked).await {
                    report.version.clone_from(&connection.server_version);
                    tier.set_server(report);
                }
            }
            None => pause = Duration::from_millis(100),
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn ask(client: &Client, database: u8) -> Option<ServerReport> {
    let memory: String = client.info(Some(InfoKind::Memory)).await.ok()?;
    let stats: String = client.info(Some(InfoKind::Stats)).await.ok()?;
    let keyspace: String = client.info(Some(InfoKind::Keyspace)).await.ok()?;
    let number = |info: &str, name| field(info, name).parse().unwrap_or(0);
    // db0:keys=12,expires=11,avg_ttl=299000
    let keys = field(&keyspace, &format!("db{database}")).split(',').find_map(|part| part.strip_prefix("keys="));
    Some(ServerReport {
        version: String::new(),
        used_memory: number(&memory, "used_memory"),
        used_memory_peak: number(&memory, "used_memory_peak"),
        maxmemory: number(&memory, "maxmemory"),
        keys: keys.and_then(|keys| keys.parse().ok()).unwrap_or(0),
        evicted_keys: number(&stats, "evicted_keys"),
        expired_keys: number(&stats, "expired_keys"),
        commands_processed: number(&stats, "total_commands_processed"),
    })
}
