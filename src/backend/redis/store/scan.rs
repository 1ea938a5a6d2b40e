//! Search for the keys of entries: one SCAN of one primary for each step.

use std::sync::Arc;

use bytes::Bytes;
use fred::interfaces::KeysInterface as _;
use fred::types::Value;
use xxhash_rust::xxh3::Xxh3;

use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::reply::bytes;
use crate::cache::clock::Moment;
use crate::cache::tier::{KeyScan, L2Error, ScanPosition, ScannedKey, ScannedKeys};

impl RedisL2 {
    pub(crate) async fn scan_step(&self, scan: KeyScan<'_>, deadline: Moment) -> Result<ScannedKeys, L2Error> {
        if let Some(why) = self.health.halted() {
            return Err(L2Error::Halted(why));
        }
        let (keys, routes) = (&self.context.keys, self.executor.routes());
        if routes.by_partition.is_empty() || routes.by_partition.iter().any(Option::is_none) {
            return Err(L2Error::unavailable("not every primary is known"));
        }
        let at = begin(scan.at, &routes.shards)?;
        let Some(shard) = routes.shards.get(at.part) else { return Ok(ScannedKeys { at, ..ScannedKeys::default() }) };
        let glob = match scan.namespace {
            Some(namespace) => keys.entries_from(namespace, scan.begin),
            None => keys.entries_of_all(),
        };
        let (cursor, count) = (at.cursor.to_string(), Some(scan.count));
        self.context.commands.inc();
        let page = |connection: Arc<Connection>| async move {
            connection.client.scan_page::<(u64, Vec<Value>), _, _>(cursor, glob, count, None).await
        };
        let page = self.executor.call(shard, deadline, CommandKind::One("SCAN"), page).await;
        let (cursor, names) = page.map_err(CommandError::into_read_error)?;
        let key = |name: Bytes| {
            keys.partition_in(&name)?;
            let namespace = scan.namespace.or_else(|| keys.namespace_in(&name))?;
            let key = name.slice_ref(keys.key_in(&name, namespace)?);
            Some(ScannedKey { namespace: namespace.into(), key })
        };
        let keys = names.into_iter().filter_map(bytes).filter_map(key).collect();
        let next = match cursor {
            0 => ScanPosition { part: at.part + 1, cursor, ..at },
            _ => ScanPosition { cursor, ..at },
        };
        Ok(ScannedKeys { at, keys, next: Some(next).filter(|next| next.part < routes.shards.len()) })
    }
}

/// Returns the position from which to search these primaries. A cursor counts for the primaries that
/// returned it only, and no longer after one was restarted or replaced.
fn begin(at: &ScanPosition, shards: &[Arc<Shard>]) -> Result<ScanPosition, L2Error> {
    let mut lives = Xxh3::new();
    for shard in shards {
        let greeted = shard.primary.greeted.load();
        let (life, _) = greeted.as_deref().ok_or(L2Error::unavailable("not connected to redis"))?;
        lives.update(life.as_bytes());
        lives.update(b"\n");
    }
    let generation = lives.digest().max(1);
    let is_same = at.generation == generation;
    Ok(if is_same { at.clone() } else { ScanPosition { generation, ..ScanPosition::default() } })
}
