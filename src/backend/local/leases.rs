//! Leases without L2: granted under the lock of the partition.

use super::partition::LocalLease;
use super::sequencer::Local;
use crate::cache::clock::Moment;
use crate::cache::entry::Tags;
use crate::cache::key::Key;
use crate::cache::tier::bus::BusSink as _;
use crate::cache::tier::{Acquired, BoxFuture, L2Error, LeaseClaim, LeaseRelease, LeaseStore};

impl LeaseStore for Local {
    fn acquire<'a>(&'a self, key: &'a Key, claim: LeaseClaim, _: Moment) -> BoxFuture<'a, Result<Acquired, L2Error>> {
        Box::pin(async move { Ok(self.acquire_now(key, claim)) })
    }

    fn release<'a>(&'a self, key: &'a Key, release: LeaseRelease, _: Moment) -> BoxFuture<'a, Result<bool, L2Error>> {
        Box::pin(async move { Ok(self.release_now(key, release)) })
    }
}

// === impl Local ===

impl Local {
    fn acquire_now(&self, key: &Key, claim: LeaseClaim) -> Acquired {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut state = self.lock(partition);
        let now = self.clock.now();
        if self.live(key.as_ref()).is_some_and(|held| Some(held.entry.version) != claim.seen) {
            return Acquired::Present;
        }
        match self.lease(&state, key, [&Tags::default(); 2]) {
            Some((LocalLease { id: Some(_), .. }, expires_at)) => return Acquired::Held(expires_at.since(now)),
            Some((LocalLease { id: None, .. }, expires_at)) => return Acquired::Paused(expires_at.since(now)),
            None => {}
        }
        let lease = LocalLease { id: Some(claim.lease), granted_at: now, position: self.position(&state) };
        state.leases.insert(key.clone(), lease, now.plus(claim.duration), now);
        Acquired::Granted
    }

    fn release_now(&self, key: &Key, release: LeaseRelease) -> bool {
        let partition = self.coherence.partition_of(key.as_ref());
        let mut state = self.lock(partition);
        let now = self.clock.now();
        let lease = self.lease(&state, key, [&Tags::default(); 2]);
        let held = lease.is_some_and(|(lease, _)| lease.id == Some(release.lease));
        if held {
            state.leases.remove(key);
            if !release.pause.is_zero() {
                let pause = LocalLease { id: None, granted_at: now, position: self.position(&state) };
                state.leases.insert(key.clone(), pause, now.plus(release.pause), now);
            }
        }
        drop(state);
        if held {
            self.coherence.released(key.namespace().name().as_bytes(), key.bytes(), release.failed);
        }
        held
    }
}
