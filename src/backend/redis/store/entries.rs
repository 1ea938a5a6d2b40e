//! The entries of L2 in Redis: reads in pipelined round trips, changes in one script each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;
use futures_util::future::join_all;

use super::fleet_barrier::FleetChange;
use super::redis_l2::RedisL2;
use super::step::SequencedStep;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::crypto::Protection;
use crate::backend::redis::schema::reply::{bytes, number};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace;
use crate::cache::namespace::Namespace;
use crate::cache::policy::limits;
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    BoxFuture, CallContext, Current, EntryStore, FleetBarrier, KeyScan, L2Error, Mode, ReadResult, Removal,
    RemoveResult, ScannedKeys, Timeout, Touch, TouchMode, Touched, TouchedEntry, TtlChange, Write, WriteResult,
};
use crate::cache::version::Version;

/// Limit of listed namespaces: as many as a replica may be configured to know.
const MAX_NAMESPACES: usize = 65_536;

// === impl EntryStore ===

impl EntryStore for RedisL2 {
    fn read<'a>(&'a self, key: &'a Key, timeout: Timeout) -> BoxFuture<'a, Result<ReadResult, L2Error>> {
        Box::pin(self.read_entry(key, timeout))
    }

    fn read_many<'a>(&'a self, keys: &'a [Key], timeout: Timeout) -> BoxFuture<'a, Vec<Result<ReadResult, L2Error>>> {
        Box::pin(self.read_entries(keys, timeout))
    }

    fn write<'a>(
        &'a self,
        partition: u16,
        writes: &'a [Write],
        context: CallContext,
    ) -> BoxFuture<'a, Result<Vec<WriteResult>, L2Error>> {
        Box::pin(self.write_entries(partition, writes, context))
    }

    fn remove<'a>(
        &'a self,
        partition: u16,
        removals: &'a [Removal],
        mode: Mode,
        CallContext { timeout, ticket }: CallContext,
    ) -> BoxFuture<'a, Result<RemoveResult, L2Error>> {
        Box::pin(async move {
            let Some(first) = removals.first() else { return Err(L2Error::unavailable("no keys were named")) };
            let keys = &self.context.keys;
            let namespace = first.key.namespace().name();
            let announcement = self.announcement(partition, namespace, effect_of(mode), ticket);
            let mut args = vec![mode_argument(mode).into()];
            let mut names = Vec::with_capacity(2 * removals.len());
            for Removal { key, source_version } in removals {
                names.extend([keys.entry(key.as_ref()), keys.lease(key.as_ref()), keys.source(key.as_ref())]);
                args.push(Value::Bytes(announcement.key(key.bytes()).into()));
                let source = source_version.map(u64::to_be_bytes);
                args.push(Value::Bytes(source.map_or(Bytes::new(), |source| Bytes::copy_from_slice(&source))));
            }
            let step = SequencedStep {
                script: Script::Remove,
                partition,
                namespace,
                keys: names,
                message_head: announcement.head(),
                args,
                timeout,
            };
            let step = self.step(step).await?;
            let removed = step.reply.into_iter().nth(3).map(|removed| removed.into_array()).unwrap_or_default();
            let removed = removed.iter().map(|removed| removed.as_i64() == Some(1)).collect();
            Ok(RemoveResult { version: step.position, removed })
        })
    }

    fn invalidate<'a>(
        &'a self,
        partition: u16,
        namespace: &'a Arc<Namespace>,
        selectors: &'a [Selector],
        mode: Mode,
        CallContext { timeout, ticket }: CallContext,
    ) -> BoxFuture<'a, Result<Version, L2Error>> {
        Box::pin(async move {
            let encoded = codec::selector_list(selectors);
            let announcement = self.announcement(partition, namespace.name(), effect_of(mode), ticket);
            let message_head = announcement.head_of_selectors(&encoded);
            let args = vec![
                mode_argument(mode).into(),
                Value::Bytes(encoded.into()),
                self.context.config.limits.tombstones.to_string().into(),
            ];
            if selectors.iter().any(|selector| matches!(selector, Selector::Pattern(_))) {
                // Also if the list is full: reclaiming makes room.
                self.context.reclaim_queue.add(namespace.name(), Duration::ZERO);
            }
            let step = SequencedStep {
                script: Script::Invalidate,
                partition,
                namespace: namespace.name(),
                keys: self.context.keys.invalidation_hashes(partition, namespace.name()).into(),
                message_head,
                args,
                timeout,
            };
            Ok(self.step(step).await?.position)
        })
    }

    fn namespaces(&self, deadline: Moment) -> BoxFuture<'_, Result<BTreeSet<String>, L2Error>> {
        Box::pin(self.list_namespaces(deadline))
    }

    fn scan_keys<'a>(&'a self, scan: KeyScan<'a>, deadline: Moment) -> BoxFuture<'a, Result<ScannedKeys, L2Error>> {
        Box::pin(self.scan_step(scan, deadline))
    }

    fn touch<'a>(&'a self, key: &'a Key, touch: Touch, deadline: Moment) -> BoxFuture<'a, Result<Touched, L2Error>> {
        Box::pin(async move {
            let keys = &self.context.keys;
            let partition = key.as_ref().partition(keys.partitions());
            let mode = match touch.mode {
                TouchMode::Overwrite => "overwrite",
                TouchMode::Extend => "extend",
                TouchMode::Shorten => "shorten",
            };
            let namespace = key.namespace().name();
            let announcement = self.announcement(partition, namespace, codec::SHORTENED, 0);
            let end = Protection::latest_end(self.redis_now(partition), touch.ttl);
            let args = vec![
                touch.ttl.map_or(0, |ttl| ttl.as_millis().max(1)).to_string().into(),
                mode.into(),
                Value::Bytes(announcement.key(key.bytes()).into()),
                Value::Bytes(self.context.protection.extension(key.as_ref(), end).into()),
            ];
            let sent = self.context.clock.now();
            let step = SequencedStep {
                script: Script::Touch,
                partition,
                namespace,
                keys: vec![keys.entry(key.as_ref())],
                message_head: announcement.head(),
                args,
                timeout: deadline.into(),
            };
            let step = self.step(step).await?;
            let change = match number(&step.reply, 4) {
                Some(1) => TtlChange::Set,
                Some(2) => TtlChange::Shortened,
                Some(3) => TtlChange::Capped,
                _ => TtlChange::Unchanged,
            };
            let left = number(&step.reply, 5).unwrap_or(0);
            let ends = u64::try_from(left).map_or(Moment::FOREVER, |left| sent.plus(Duration::from_millis(left)));
            let version = step.reply.into_iter().nth(3).and_then(bytes).and_then(|bytes| codec::decode_version(&bytes));
            let entry = version.map(|version| TouchedEntry { version, change, expires_at: ends });
            Ok(Touched { position: step.position, entry })
        })
    }

    fn current<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Option<Current>, L2Error>> {
        Box::pin(self.read_current(key, deadline))
    }

    fn inspect<'a>(&'a self, key: &'a Key, deadline: Moment) -> BoxFuture<'a, Result<Inspected, L2Error>> {
        Box::pin(self.inspect_key(key, deadline))
    }

    fn barrier(&self) -> Box<dyn FleetBarrier + '_> {
        Box::new(FleetChange::new(&self.context, &self.executor))
    }
}

// === impl RedisL2 ===

impl RedisL2 {
    /// Lists the namespaces of every partition. Foreign names are omitted.
    async fn list_namespaces(&self, deadline: Moment) -> Result<BTreeSet<String>, L2Error> {
        let asked = (0..self.context.keys.partitions()).map(|partition| {
            self.step(SequencedStep {
                script: Script::Namespaces,
                partition,
                namespace: namespace::DEFAULT,
                keys: Vec::new(),
                message_head: Vec::new(),
                args: vec![(MAX_NAMESPACES + 1).to_string().into()],
                timeout: deadline.into(),
            })
        });
        let mut names = BTreeSet::new();
        for step in join_all(asked).await {
            let listed = step?.reply.into_iter().nth(3).map(Value::into_array).unwrap_or_default();
            let listed = listed.into_iter().filter_map(bytes).filter_map(|name| String::from_utf8(name.into()).ok());
            names.extend(listed.filter(|name| limits::namespace("", name).is_ok()));
            if names.len() > MAX_NAMESPACES {
                return Err(L2Error::TooMany { what: "namespaces in redis", limit: MAX_NAMESPACES });
            }
        }
        Ok(names)
    }
}

fn mode_argument(mode: Mode) -> &'static str {
    match mode {
        Mode::Remove => "remove",
        Mode::MarkStale => "mark",
    }
}

/// The effect of an invalidation, as messages number it.
fn effect_of(mode: Mode) -> u8 {
    match mode {
        Mode::Remove => codec::REMOVED,
        Mode::MarkStale => codec::MARKED,
    }
}
