//! Progress of the responses of one connection: its account, its streams, and the bytes that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::cache::admission::limits::Account;
use crate::cache::admission::slot::Streams;

/// The unwritten responses of one connection, its counted memory and its streams.
pub struct WriteProgress {
    account: Arc<Account>,
    streams: Arc<Streams>,
    /// Number of unwritten chunks.
    pub(super) waiting: AtomicUsize,
    /// Counter that grows when bytes are written.
    pub(super) moved: AtomicU64,
}

// === impl WriteProgress ===

impl WriteProgress {
    /// Creates the state of a new connection.
    pub fn new(account: Arc<Account>, streams: Streams) -> WriteProgress {
        let (waiting, moved) = (AtomicUsize::new(0), AtomicU64::new(0));
        WriteProgress { account, streams: Arc::new(streams), waiting, moved }
    }

    /// Returns the account of the connection.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Returns the stream limits of the connection.
    pub(super) fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Completes when no byte of a waiting response was written for `limit`: the peer does not
    /// read.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let (waiting, moved) = (self.waiting.load(Ordering::Relaxed), self.moved.load(Ordering::Relaxed));
            sleep(limit).await;
            let still = self.waiting.load(Ordering::Relaxed) > 0 && self.moved.load(Ordering::Relaxed) == moved;
            if waiting > 0 && still {
                return;
            }
        }
    }
}

/// Returns the memory of an encoded message.
///
/// Its buffer has exactly its size; the allocator rounds up by at most an eighth.
pub(super) fn allocated_bytes(bytes: &Bytes) -> usize {
    bytes.len() + bytes.len() / 8
}
