//! Finds invalidations by selector that cover an entry: a read's second round trip, and known
//! patterns.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::command::executor::CommandExecutor;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::invalidation_record::{ActivePatterns, RecordCoverage, earlier};
use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::backend::redis::schema::reply::{bytes, number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::entry::Tags;
use crate::cache::expiring_map::ExpiringMap;
use crate::cache::key::KeyRef;
use crate::cache::tier::L2Error;
use crate::cache::version::Version;
use crate::sync::Mutex;

/// Number of remembered lists of patterns, and their lifetime.
const LISTS: (usize, Duration) = (4096, Duration::from_secs(60));

/// An entry whose coverage is looked up.
pub struct LookupEntry<'a> {
    /// Its version.
    pub version: Version,
    /// Time of writing by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Its tags.
    pub tags: &'a Tags,
}

type Lists = ExpiringMap<(u16, Box<str>), Arc<ActivePatterns>>;

/// Looks up invalidations by selector.
pub struct InvalidationLookup {
    context: Arc<RedisContext>,
    /// The last seen lists of active patterns, by partition and namespace.
    lists: Mutex<Lists>,
}

// === impl InvalidationLookup ===

impl InvalidationLookup {
    /// Creates a lookup without known patterns.
    pub fn new(context: Arc<RedisContext>) -> InvalidationLookup {
        InvalidationLookup { context, lists: Mutex::new(Lists::new(LISTS.0)) }
    }

    /// Returns how an entry is covered: by its partition's counter, and, only if something was
    /// invalidated since it was written, by a second round trip for its prefixes and tags.
    ///
    /// `None` if it is invalidated; else the time since which it is marked stale (microseconds), 0
    /// if it is not.
    pub async fn coverage(
        &self,
        executor: &CommandExecutor,
        key: KeyRef<'_>,
        line: &PartitionCounter,
        found: LookupEntry<'_>,
        deadline: Moment,
    ) -> Result<Option<u64>, L2Error> {
        let LookupEntry { version, written_micros, tags } = found;
        let RecordCoverage { gone, marked_micros, needs_lookup } =
            line.record.covers(key.bytes, version, written_micros);
        let epoch = match line.position {
            Some(position) if !gone && line.counts(version) => position.epoch,
            _ => return Ok(None),
        };
        if !needs_lookup {
            return Ok(Some(marked_micros));
        }
        let keys = &self.context.keys;
        let partition = key.partition(keys.partitions());
        let namespace = key.namespace.name();
        let names: Vec<Bytes> = vec![keys.counter(partition).into(), keys.entry(key)];
        let args: Vec<Value> = vec![
            namespace.into(),
            keys.invalidation_field(namespace).into(),
            epoch.to_string().into(),
            Value::Bytes(codec::version_and_time(version, written_micros).into()),
            Value::Bytes(codec::tag_list(tags).into()),
        ];
        let shard = executor.shard(partition)?;
        let look =
            |connection: Arc<Connection>| async move { connection.run(Script::RecordCoverage, names, args).await };
        let reply = executor
            .call(&shard, deadline, CommandKind::Script(Script::RecordCoverage), look)
            .await
            .map_err(CommandError::into_read_error)?;
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), Some(0)) => {
                let since = reply.into_iter().nth(2).and_then(bytes);
                let since = since.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
                Ok(Some(earlier(marked_micros, since.unwrap_or(0))))
            }
            // Invalidated; or the partition has begun another epoch, and the entry that was read is
            // gone.
            (Some("OK" | "EPOCH"), _) => Ok(None),
            _ => Err(L2Error::unavailable("unexpected reply from redis")),
        }
    }

    /// Encodes for a step which of its names match active patterns.
    pub fn knowledge(&self, partition: u16, namespace: &str, names: &[Bytes]) -> Vec<u8> {
        let list = self.list(partition, namespace);
        let keys = names.iter().map(|name| self.context.keys.key_in(name, namespace));
        list.map_or_else(Vec::new, |list| list.knowledge(keys))
    }

    /// Remembers a list of active patterns.
    pub fn saw(&self, partition: u16, namespace: &str, list: &ActivePatterns) {
        self.context.reclaim_queue.seen(namespace);
        let now = self.context.clock.now();
        if self.list(partition, namespace).is_none_or(|known| known.number != list.number) {
            let mut lists = self.lists.lock();
            lists.insert((partition, namespace.into()), Arc::new(list.clone()), now.plus(LISTS.1), now);
        }
    }

    fn list(&self, partition: u16, namespace: &str) -> Option<Arc<ActivePatterns>> {
        let lists = self.lists.lock();
        lists.get(&(partition, namespace.into()), self.context.clock.now()).map(|(list, _)| list.clone())
    }
}
