//! Keys whose time to live is being extended because their entries were read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::cache::key::Key;

/// Most entries whose life is prolonged at once because they are read. Those left out are, when they are read again.
const MAX_CONCURRENT_EXTENSIONS: usize = 64;

/// The entries whose life is being prolonged because they are read.
#[derive(Default)]
pub(super) struct SlidingExtensions(Mutex<HashSet<Key>>);

impl SlidingExtensions {
    /// False: that of `key` is being prolonged already, or those of too many are.
    pub(super) fn begin(&self, key: &Key) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.len() < MAX_CONCURRENT_EXTENSIONS && keys.insert(key.clone())
    }

    /// Ends the extension of `key`.
    pub(super) fn end(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
