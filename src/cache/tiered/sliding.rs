//! Keys whose time to live is being extended because their entries were read.

use std::collections::HashSet;

use crate::cache::key::Key;
use crate::sync::Mutex;

/// Most concurrent extensions by sliding expiry. Entries beyond it are extended at their next read.
const MAX_CONCURRENT_EXTENSIONS: usize = 64;

/// Keys whose time to live is being extended by sliding expiry.
#[derive(Default)]
pub(super) struct SlidingExtensions(Mutex<HashSet<Key>>);

impl SlidingExtensions {
    /// Begins the extension of `key`. Returns false if one is in progress, or too many are.
    pub(super) fn begin(&self, key: &Key) -> bool {
        let mut keys = self.0.lock();
        keys.len() < MAX_CONCURRENT_EXTENSIONS && keys.insert(key.clone())
    }

    /// Ends the extension of `key`.
    pub(super) fn end(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}
