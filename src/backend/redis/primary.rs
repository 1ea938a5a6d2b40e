//! One primary of Redis, as this replica knows it: where it is, which partitions it serves, its clock.

use std::sync::Arc;

use tokio::sync::watch;

use super::Address;
use super::clock::RedisClock;
use super::health::{Health, PrimaryHealth};
use super::shared::Shared;

/// A primary.
pub struct Primary {
    /// Where it is.
    pub address: Address,
    /// What all share.
    pub shared: Arc<Shared>,
    /// Its clock.
    pub clock: RedisClock,
    /// What is known of it.
    pub health: PrimaryHealth,
    /// Told when a number line here belongs to another life than a connection was greeted in.
    pub other_life: watch::Sender<()>,
    partitions: watch::Sender<Arc<[u16]>>,
}

// === impl Primary ===

impl Primary {
    /// Nothing is known of it yet.
    pub fn new(address: Address, partitions: Arc<[u16]>, shared: &Arc<Shared>, health: &Arc<Health>) -> Primary {
        Primary {
            health: health.primary(&address, shared.config.connections),
            address,
            shared: shared.clone(),
            clock: RedisClock::default(),
            other_life: watch::Sender::new(()),
            partitions: watch::Sender::new(partitions),
        }
    }

    /// The partitions it serves.
    pub fn partitions(&self) -> Arc<[u16]> {
        self.partitions.borrow().clone()
    }

    /// The same, with word of changes.
    pub fn watch_partitions(&self) -> watch::Receiver<Arc<[u16]>> {
        self.partitions.subscribe()
    }

    /// It serves other partitions from now on.
    pub fn serve(&self, partitions: Arc<[u16]>) {
        self.partitions.send_if_modified(|now| std::mem::replace(now, partitions.clone()) != partitions);
    }
}
