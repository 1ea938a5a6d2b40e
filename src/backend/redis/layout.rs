//! Names in Redis. The hash tag is the partition's and never holds user bytes, so that all names of a partition share a Cluster slot.

use bytes::Bytes;

use crate::cache::key::KeyRef;

/// The names of one deployment.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: String,
    partitions: u16,
}

impl Layout {
    /// The names under `prefix`, which holds no braces.
    pub fn new(prefix: &str, partitions: u16) -> Layout {
        Layout { prefix: prefix.to_owned(), partitions }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The counter of a partition.
    pub fn counter(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:c", self.prefix)
    }

    /// The counters of all partitions, in order.
    pub fn counters(&self) -> Vec<String> {
        (0..self.partitions).map(|partition| self.counter(partition)).collect()
    }

    /// The channel of a partition.
    pub fn channel(&self, partition: u16) -> String {
        format!("{}:{{{partition}}}:b", self.prefix)
    }

    /// The channel of a replica's echoes.
    pub fn echo_channel(&self, replica: u64) -> String {
        format!("{}:{{0}}:e:{replica:016x}", self.prefix)
    }

    /// The entry of a key. Namespaces have no colon, so this is unambiguous.
    pub fn entry(&self, key: KeyRef<'_>) -> Bytes {
        let partition = key.partition(self.partitions);
        let mut name = format!("{}:{{{partition}}}:v:{}:", self.prefix, key.namespace.name()).into_bytes();
        name.extend_from_slice(key.bytes);
        name.into()
    }

    /// The field of a counter that holds a namespace's last invalidation.
    pub fn invalidation_field(&self, namespace: &str) -> String {
        format!("n:{namespace}")
    }
}
