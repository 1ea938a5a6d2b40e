//! What was invalidated other than by key: a read's second trip, the invalidation itself, and what the scripts have to be told of patterns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::call::Failure;
use super::codec;
use super::connection::{Connection, bytes, number, status};
use super::line::Line;
use super::record::{Coverage, Listed, earlier};
use super::scripts::Script;
use super::tier::RedisTier;
use crate::cache::clock::Moment;
use crate::cache::coherence::version::Version;
use crate::cache::entry::Tags;
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::remembered::Remembered;
use crate::cache::selector::Selector;
use crate::cache::tier::{L2Error, Mode};

/// Lists of patterns that are remembered, and for how long.
const LISTS: (usize, Duration) = (4096, Duration::from_secs(60));

/// An entry whose coverage is asked for.
pub struct Found<'a> {
    /// Its version.
    pub version: Version,
    /// When it was written, by Redis's clock, microseconds.
    pub written_micros: u64,
    /// Its tags.
    pub tags: &'a Tags,
}

/// The lists of patterns at work that were seen last, by partition and namespace.
pub struct Lists(Mutex<Remembered<(u16, Box<str>), Arc<Listed>>>);

// === impl Lists ===

impl Default for Lists {
    fn default() -> Self {
        Lists(Mutex::new(Remembered::new(LISTS.0)))
    }
}

impl Lists {
    fn get(&self, partition: u16, namespace: &str, now: Moment) -> Option<Arc<Listed>> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(&(partition, namespace.into()), now).map(|(list, _)| list.clone())
    }

    fn saw(&self, partition: u16, namespace: &str, list: Listed, now: Moment) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert((partition, namespace.into()), Arc::new(list), now.plus(LISTS.1), now);
    }
}

impl RedisTier {
    /// How an entry that was found is covered: by what the line says, and, only if something was invalidated since it was written, by what a
    /// second trip finds of its prefixes and tags. None: it is gone. Otherwise since when it is marked stale (microseconds), 0 for not.
    pub(super) async fn coverage(
        &self,
        key: KeyRef<'_>,
        line: &Line,
        found: Found<'_>,
        until: Moment,
    ) -> Result<Option<u64>, L2Error> {
        let Found { version, written_micros, tags } = found;
        let Coverage { gone, marked_micros, asks_further } = line.record.covers(key.bytes, version, written_micros);
        let epoch = match line.position {
            Some(position) if !gone && line.counts(version) => position.epoch,
            _ => return Ok(None),
        };
        if !asks_further {
            return Ok(Some(marked_micros));
        }
        let layout = &self.shared().layout;
        let partition = key.partition(layout.partitions());
        let namespace = key.namespace.name();
        let names: Vec<Bytes> = vec![layout.counter(partition).into(), layout.entry(key)];
        let args: Vec<Value> = vec![
            namespace.into(),
            layout.invalidation_field(namespace).into(),
            epoch.to_string().into(),
            Value::Bytes(codec::version_and_time(version, written_micros).into()),
            Value::Bytes(codec::tag_list(tags).into()),
        ];
        let shard = self.calls().shard(partition)?;
        self.shared().commands.one();
        let look = |connection: Arc<Connection>| async move { connection.run(Script::Look, names, args).await };
        let reply = self.calls().call(&shard, until, look).await.map_err(Failure::of_a_read)?;
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), Some(0)) => {
                let since = reply.into_iter().nth(2).and_then(bytes);
                let since = since.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
                Ok(Some(earlier(marked_micros, since.unwrap_or(0))))
            }
            // Gone; or the number line has another epoch by now, and what it was read from is gone.
            (Some("OK" | "EPOCH"), _) => Ok(None),
            _ => Err(L2Error::unavailable("redis answered with something unknown")),
        }
    }

    pub(super) async fn invalidate_selected(
        &self,
        partition: u16,
        namespace: &Namespace,
        selectors: &[Selector],
        mode: Mode,
        ticket: u64,
        until: Moment,
    ) -> Result<Version, L2Error> {
        let shared = self.shared();
        let head = codec::message_head(true, partition, shared.replica, ticket);
        let args = vec![
            super::tier::mode_argument(mode).into(),
            Value::Bytes(codec::selector_list(selectors).into()),
            shared.config.tombstones.to_string().into(),
        ];
        let names = shared.layout.tombstones(partition, namespace.name()).into();
        let step = self.step(Script::Invalidate, partition, namespace, names, head, args, until).await?;
        Ok(step.position)
    }

    /// What the step has to know of the patterns at work, with which of its names they match.
    pub(super) fn knowledge(&self, partition: u16, namespace: &str, names: &[Bytes]) -> Vec<u8> {
        let list = self.lists.get(partition, namespace, self.shared().clock.now());
        let keys = names.iter().map(|name| self.shared().layout.key_in(name, namespace));
        list.map_or_else(Vec::new, |list| list.knowledge(keys))
    }

    /// A list of patterns at work was seen.
    pub(super) fn saw_list(&self, partition: u16, namespace: &str, list: Listed) {
        let now = self.shared().clock.now();
        let known = self.lists.get(partition, namespace, now);
        if known.is_none_or(|known| known.number != list.number) {
            self.lists.saw(partition, namespace, list, now);
        }
    }
}
