//! Slot and memory of a request that is answered without the general way: [`ReadySlot`].

use std::sync::Arc;

use bytes::Bytes;

use super::write_progress::{WriteProgress, allocated_bytes};
use crate::auth::UsageGuard;
use crate::cache::admission::resource::Resource;
use crate::cache::error::CacheError;

/// Slot and memory of a request that was answered at once, until its response is written.
pub struct ReadySlot {
    progress: Arc<WriteProgress>,
    /// Memory of the response.
    bytes: usize,
    /// Its place among the requests of its identity.
    of_identity: Option<UsageGuard>,
}

// === impl ReadySlot ===

impl ReadySlot {
    /// Takes a slot for a request of this memory, if there is room for both at once.
    ///
    /// The memory is not taken: the request is gone before another is looked at.
    pub fn enter(progress: &Arc<WriteProgress>, memory: usize) -> Option<ReadySlot> {
        let (account, streams) = (progress.account(), progress.streams());
        let has_room = account.has_room(Resource::Bytes, memory) && account.has_room(Resource::Requests, 1);
        if !has_room || !streams.try_enter() {
            return None;
        }
        if account.hold(Resource::Requests, 1).is_err() {
            streams.leave();
            return None;
        }
        Some(ReadySlot { progress: progress.clone(), bytes: 0, of_identity: None })
    }

    /// Returns the write progress of its connection.
    pub(super) fn progress(&self) -> &Arc<WriteProgress> {
        &self.progress
    }

    /// Keeps the place of the request among those of its identity.
    pub fn keep(&mut self, of_identity: Option<UsageGuard>) {
        self.of_identity = of_identity;
    }

    /// Takes the memory of the response. Fails if there is no room for it.
    pub fn take(&mut self, frame: &Bytes) -> Result<(), CacheError> {
        let bytes = allocated_bytes(frame);
        self.progress.account().hold(Resource::Bytes, bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Takes the memory of the response even beyond the limits: its request has had an effect.
    pub fn charge(&mut self, frame: &Bytes) {
        self.bytes = allocated_bytes(frame);
        self.progress.account().count(Resource::Bytes, self.bytes);
    }
}

impl Drop for ReadySlot {
    fn drop(&mut self) {
        self.progress.account().give_back(Resource::Bytes, self.bytes);
        self.progress.account().give_back(Resource::Requests, 1);
        self.progress.streams().leave();
    }
}
