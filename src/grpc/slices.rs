//! Number of keys of the next slice of a stream of values, by the sizes of the values before.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::admission::limits::{Account, TakenAmounts};
use crate::cache::admission::resource::Resource;
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::CacheError;

/// Maximum size of a message, unless one value alone is larger. By default clients accept 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Maximum number of keys in the first slice, whose value sizes are unknown.
const MAX_FIRST_SLICE_KEYS: usize = 128;
/// Interval at which room for the next slice is checked.
const ROOM_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Target size of a slice. After a smaller one the slice grows, after a larger one it shrinks.
const TARGET_SLICE_BYTES: std::ops::Range<usize> = 1 << 20..8 << 20;

/// The size of the next slice.
pub struct Slices {
    /// The account of the caller's connection. `None` if values are not counted.
    account: Option<Arc<Account>>,
    clock: Arc<dyn Clock>,
    deadline: Moment,
    /// Maximum number of keys of the next slice.
    keys: usize,
    /// Average value size of the last slice in bytes.
    value_size: usize,
}

// === impl Slices ===

impl Slices {
    /// Creates the first slice, whose values may have `value_size` bytes each.
    pub fn new(
        account: Option<Arc<Account>>,
        clock: Arc<dyn Clock>,
        deadline: Moment,
        bytes_limit: usize,
        value_size: usize,
    ) -> Slices {
        let keys = (bytes_limit / 2 / value_size.max(1)).clamp(1, MAX_FIRST_SLICE_KEYS);
        Slices { account, clock, deadline, keys, value_size: 0 }
    }

    /// Returns the number of keys of the next slice, of `left` keys.
    pub fn keys(&self, left: usize) -> usize {
        self.keys.min(left)
    }

    /// Waits for room for the next slice of `left` keys, while the caller reads the last one.
    ///
    /// The first slice does not wait: its value sizes are unknown.
    pub async fn wait_for_room(&mut self, left: usize) -> Result<Option<TakenAmounts>, CacheError> {
        let Some(account) = self.account.clone().filter(|_| self.value_size > 0) else { return Ok(None) };
        loop {
            let keys = self.keys(left);
            let bytes = keys.saturating_mul(self.value_size);
            if let Some(room) = account.try_take(Resource::Bytes, with_message_bytes(bytes)) {
                return Ok(Some(room));
            }
            if keys > 1 {
                self.keys = keys / 2;
            } else if self.clock.now() < self.deadline {
                tokio::time::sleep(ROOM_POLL_INTERVAL).await;
            } else {
                return Err(CacheError::DeadlineExceeded { outcome_unknown_for: None });
            }
        }
    }

    /// Records the bytes of the values of a slice of `keys` keys.
    pub fn record(&mut self, bytes: usize, keys: usize) {
        self.value_size = bytes / keys.max(1);
        if bytes < TARGET_SLICE_BYTES.start {
            self.keys = self.keys.saturating_mul(4);
        } else if bytes > TARGET_SLICE_BYTES.end {
            self.keys = (self.keys / 2).max(1);
        }
    }
}

/// Returns the bytes of a slice and of its first encoded message.
pub fn with_message_bytes(bytes: usize) -> usize {
    bytes + bytes.min(MAX_MESSAGE_BYTES) * 9 / 8
}
