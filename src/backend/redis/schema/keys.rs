//! Names of keys and channels in Redis.
//!
//! The hash tag is the partition's and never holds user bytes, so that all names of a partition
//! share a Cluster slot.

use std::sync::Arc;

use bytes::Bytes;
use fred::util::redis_keyslot;

use crate::cache::key::KeyRef;
use crate::cache::policy::limits;
use crate::cache::tier::RequestId;

/// The names of one deployment.
#[derive(Clone, Debug)]
pub struct KeySchema {
    prefix: String,
    partitions: u16,
    sharded: bool,
    database: u8,
    /// The counters by partition: each trip names many of them.
    counters: Arc<[Box<str>]>,
}

impl KeySchema {
    /// The names under `prefix`, which has no braces.
    ///
    /// `sharded`: partitions live in different slots of a Cluster.
    pub fn new(prefix: &str, partitions: u16, sharded: bool) -> KeySchema {
        let counters = (0..partitions).map(|partition| counter(prefix, partition).into()).collect();
        KeySchema { prefix: prefix.to_owned(), partitions, sharded, database: 0, counters }
    }

    /// Returns these names for the database of that number.
    pub fn in_database(self, database: u8) -> KeySchema {
        KeySchema { database, ..self }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Returns true if partitions live in different slots of a Cluster.
    pub fn sharded(&self) -> bool {
        self.sharded
    }

    /// Groups `partitions` so that one script may access all of a group.
    pub fn groups<'a>(&self, partitions: &'a [u16]) -> impl Iterator<Item = &'a [u16]> + use<'a> {
        partitions.chunks(if self.sharded { 1 } else { partitions.len().max(1) })
    }

    /// The partition whose counter keeps the registry of the group that `partition` is in.
    pub fn registrar(&self, partition: u16) -> u16 {
        if self.sharded { partition } else { 0 }
    }

    /// The Cluster slot of a partition.
    pub fn slot(&self, partition: u16) -> u16 {
        redis_keyslot(partition.to_string().as_bytes())
    }

    /// The counter of a partition.
    pub fn counter(&self, partition: u16) -> String {
        counter(&self.prefix, partition)
    }

    /// The counter of a partition, without building its name.
    pub fn counter_name(&self, partition: u16) -> &str {
        self.counters.get(usize::from(partition)).map_or("", |name| name)
    }

    /// The counters of `partitions`, in order.
    pub fn counters(&self, partitions: &[u16]) -> Vec<String> {
        partitions.iter().map(|partition| self.counter(*partition)).collect()
    }

    /// Returns the channel of a partition.
    ///
    /// Pub/sub has no databases: the name has the number of the database, except for database 0,
    /// where it is the name that every build has used.
    pub fn channel(&self, partition: u16) -> String {
        match self.database {
            0 => format!("{}:{{{partition}}}:b", self.prefix),
            database => format!("{}:{{{partition}}}:b:{database}", self.prefix),
        }
    }

    /// The partition of a partition's channel.
    pub fn partition_of_channel(&self, channel: &str) -> Option<u16> {
        self.partition_in(channel.as_bytes()).filter(|partition| self.channel(*partition) == channel)
    }

    /// The channel of one replica, in the slot of `partition`.
    ///
    /// Ids of replicas are random: no other deployment has the name.
    pub fn replica_channel(&self, partition: u16, replica: u64) -> String {
        format!("{}:{{{}}}:e:{replica:016x}", self.prefix, self.registrar(partition))
    }

    /// Returns true if `channel` is a channel of `replica`.
    pub fn is_replica_channel(&self, channel: &str, replica: u64) -> bool {
        let own = channel.rsplit_once(":e:").map(|(_, id)| u64::from_str_radix(id, 16));
        own == Some(Ok(replica))
    }

    /// The entry of a key. Namespaces have no colon, so this is unambiguous.
    pub fn entry(&self, key: KeyRef<'_>) -> Bytes {
        self.beside('v', key)
    }

    /// A glob for the entries and leases of a namespace in all partitions.
    ///
    /// No part of it comes from a caller.
    pub fn all_entries(&self, namespace: &str) -> String {
        format!("{}:{{*}}:[vl]:{namespace}:*", self.prefix)
    }

    /// A glob for the entries of a namespace, in all partitions, whose keys begin with `begin`.
    pub fn entries_from(&self, namespace: &str, begin: &str) -> String {
        let mut glob = format!("{}:{{*}}:v:{namespace}:", self.prefix);
        for character in begin.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '\\') {
                glob.push('\\');
            }
            glob.push(character);
        }
        glob.push('*');
        glob
    }

    /// A glob for the entries of all namespaces, in all partitions.
    pub fn entries_of_all(&self) -> String {
        format!("{}:{{*}}:v:*", self.prefix)
    }

    /// The partition in the name of an entry or a lease.
    pub fn partition_in(&self, name: &[u8]) -> Option<u16> {
        let tag = name.get(self.prefix.len() + 2..)?;
        let digits = &tag[..tag.iter().position(|byte| *byte == b'}')?];
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|partition| *partition < self.partitions)
    }

    /// The lease of a key.
    pub fn lease(&self, key: KeyRef<'_>) -> Bytes {
        self.beside('l', key)
    }

    /// The remembered source version of a key.
    pub fn source(&self, key: KeyRef<'_>) -> Bytes {
        self.beside('x', key)
    }

    /// The remembered outcome of a request to write a key.
    pub fn request(&self, key: KeyRef<'_>, request: &RequestId) -> Bytes {
        let partition = key.partition(self.partitions);
        let (namespace, length) = (key.namespace.name(), request.0.len());
        let name = format!("{}:{{{partition}}}:q:{namespace}:{length}:", self.prefix).into_bytes();
        [&name, &request.0[..], key.bytes].concat().into()
    }

    /// A name of that kind for a key.
    fn beside(&self, kind: char, key: KeyRef<'_>) -> Bytes {
        let partition = key.partition(self.partitions);
        let counter = self.counter_name(partition).as_bytes();
        // It ends with the kind of the counter.
        let beginning = &counter[..counter.len().saturating_sub(1)];
        let mut encoded = [0; 4];
        let kind = kind.encode_utf8(&mut encoded).as_bytes();
        [beginning, kind, b":", key.namespace.name().as_bytes(), b":", key.bytes].concat().into()
    }

    /// The young and the old hash of invalidated prefixes and tags.
    pub fn invalidation_hashes(&self, partition: u16, namespace: &str) -> [Bytes; 2] {
        ['t', 'o'].map(|kind| format!("{}:{{{partition}}}:{kind}:{namespace}", self.prefix).into())
    }

    /// The key in the name of an entry or a lease of `namespace`.
    pub fn key_in<'a>(&self, name: &'a [u8], namespace: &str) -> Option<&'a [u8]> {
        let tag = name.get(self.prefix.len() + 2..)?;
        let rest = &tag[tag.iter().position(|byte| *byte == b'}')? + 1..];
        let rest = rest.strip_prefix(b":v:").or(rest.strip_prefix(b":l:"))?;
        rest.strip_prefix(namespace.as_bytes())?.strip_prefix(b":")
    }

    /// The note of a replica, in the slot of `partition`.
    pub fn note(&self, partition: u16, replica: u64) -> String {
        format!("{}:{{{partition}}}:f:{replica:016x}", self.prefix)
    }

    /// The hot-key list, in the slot of `partition`.
    pub fn hot_keys(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:h", self.prefix)
    }

    /// The run-time settings of all replicas, in the slot of `partition`.
    pub fn settings(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:p", self.prefix)
    }

    /// The latest estimate of keys and memory of namespaces, in the slot of `partition`.
    pub fn keyspace(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:s", self.prefix)
    }

    /// The claim on the next estimate, in the slot of `partition`.
    pub fn keyspace_claim(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:s:c", self.prefix)
    }

    /// Returns the namespace in a name that belongs to one: an entry, a lease, a remembered source
    /// version or request, or invalidated prefixes and tags.
    pub fn namespace_in<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        let tag = name.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":{")?;
        let (digits, rest) = tag.split_at(tag.iter().position(|byte| *byte == b'}')?);
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|partition: &u16| *partition < self.partitions)?;
        let [b'}', b':', kind, b':', rest @ ..] = rest else { return None };
        let namespace = match kind {
            b'v' | b'l' | b'x' | b'q' => &rest[..rest.iter().position(|byte| *byte == b':')?],
            b't' | b'o' => rest,
            _ => return None,
        };
        std::str::from_utf8(namespace).ok().filter(|namespace| limits::namespace("namespace", namespace).is_ok())
    }

    /// The field of a counter with the invalidations by selector of a namespace.
    pub fn invalidation_field(&self, namespace: &str) -> String {
        format!("n:{namespace}")
    }
}

/// The counter of a partition.
fn counter(prefix: &str, partition: u16) -> String {
    format!("{prefix}:{{{partition}}}:c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::namespace::{NamespaceRules, Namespaces};

    #[test]
    fn a_name_says_its_partition_and_its_key() {
        let rules = NamespaceRules { limit: 1, ..NamespaceRules::default() };
        let namespace = Namespaces::new(rules, 4).get("namespace", "n").expect("room");
        let keys = KeySchema::new("a:b", 4, false);
        for key in ["k", "a:{7}:v:n:k", "", "é}"] {
            let key = KeyRef::new(&namespace, key.as_bytes());
            for name in [keys.entry(key), keys.lease(key)] {
                assert_eq!(keys.key_in(&name, "n"), Some(key.bytes));
                assert_eq!(keys.partition_in(&name), Some(key.partition(4)));
                assert_eq!(keys.key_in(&name, "other"), None);
            }
        }
        assert_eq!(keys.key_in(keys.counter(3).as_bytes(), "n"), None);
        assert_eq!(keys.partition_in(b"a:b:{9}:v:n:k"), None);
    }

    #[test]
    fn a_channel_has_the_number_of_a_database_other_than_the_first() {
        let keys = KeySchema::new("p", 4, false);
        assert_eq!(keys.clone().in_database(0).channel(3), "p:{3}:b");
        assert_eq!(keys.clone().in_database(1).channel(3), "p:{3}:b:1");
        assert_eq!(keys.clone().in_database(15).channel(3), "p:{3}:b:15");
        for database in [0, 1] {
            let keys = keys.clone().in_database(database);
            assert_eq!(keys.partition_of_channel(&keys.channel(3)), Some(3));
            assert_eq!(keys.partition_of_channel(&keys.replica_channel(3, 1)), None);
            assert!(!keys.is_replica_channel(&keys.channel(3), 1));
            assert!(keys.is_replica_channel(&keys.replica_channel(3, 1), 1));
        }
    }

    #[test]
    fn every_name_of_a_namespace_says_which() {
        let rules = NamespaceRules { limit: 1, ..NamespaceRules::default() };
        let namespace = Namespaces::new(rules, 4).get("namespace", "n").expect("room");
        let keys = KeySchema::new("a:b", 4, false);
        let key = KeyRef::new(&namespace, b"k:{7}:v:m:k");
        let request = RequestId(Bytes::from_static(b"r"));
        let [young, old] = keys.invalidation_hashes(3, "n");
        for name in [keys.entry(key), keys.lease(key), keys.source(key), keys.request(key, &request), young, old] {
            assert_eq!(keys.namespace_in(&name), Some("n"), "{name:?}");
        }
        let of_none = [keys.counter(3), keys.settings(0), keys.hot_keys(0), keys.note(0, 1)];
        for name in of_none.into_iter().chain([keys.keyspace(0), keys.keyspace_claim(0)]) {
            assert_eq!(keys.namespace_in(name.as_bytes()), None, "{name}");
        }
        for foreign in ["", "a:b", "a:b:{9}:v:n:k", "c:{1}:v:n:k", "a:b:{1}:v:n", "a:b:{1}:v::k", "a:b:{1}:v:\u{e9}:k"]
        {
            assert_eq!(keys.namespace_in(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn what_keys_begin_with_is_no_wildcard() {
        let keys = KeySchema::new("p", 4, false);
        assert_eq!(keys.entries_from("n", "user:"), "p:{*}:v:n:user:*");
        assert_eq!(keys.entries_from("n", "a*[é]?\\"), "p:{*}:v:n:a\\*\\[é\\]\\?\\\\*");
    }

    #[test]
    fn groups_share_a_slot() {
        let groups = |sharded| KeySchema::new("p", 4, sharded).groups(&[1, 3]).map(<[u16]>::to_vec).collect::<Vec<_>>();
        assert_eq!(groups(false), [vec![1, 3]]);
        assert_eq!(groups(true), [vec![1], vec![3]]);
    }
}

#[cfg(test)]
#[path = "keys_apart_tests.rs"]
mod apart_tests;
