//! Replies to reads, as a trip brings them.

use std::sync::Arc;

use fred::prelude::FredResult;
use fred::types::Value;

use crate::backend::redis::schema::partition_counter::PartitionCounter;
use crate::cache::clock::Moment;
use crate::cache::version::Version;

/// The reply to a read, in the order of its entries.
pub(super) struct EntriesReply {
    /// Time of sending.
    pub sent_at: Moment,
    /// The replies for each entry.
    pub entries: Vec<EntryReply>,
}

/// The replies for one entry.
pub(super) struct EntryReply {
    /// The counter of its partition.
    pub counter: Arc<CounterReply>,
    /// Remaining time to live by Redis, milliseconds; `None` if it was not requested.
    pub ttl: Option<FredResult<i64>>,
    /// The stored bytes.
    pub value: FredResult<Value>,
}

/// The counter of a partition as a trip found it.
pub(super) struct CounterReply {
    /// The position of the partition that this replica had seen when the trip was sent.
    pub floor: Version,
    /// The counter.
    pub line: FredResult<PartitionCounter>,
}
