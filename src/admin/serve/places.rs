//! Places for connections: so many in all, and so many of them for one address, so that nobody keeps the others out alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most connections at once; more are closed.
const CONNECTIONS: usize = 64;
/// Most of one address.
const OF_ONE_PEER: usize = 16;

/// How many places each address has.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place, until it is dropped.
pub struct Place {
    places: Places,
    peer: IpAddr,
}

// === impl Places ===

impl Places {
    /// A place for `peer`, if there is one.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let mut taken = self.lock();
        if taken.values().sum::<usize>() >= CONNECTIONS || taken.get(&peer).is_some_and(|own| *own >= OF_ONE_PEER) {
            return None;
        }
        *taken.entry(peer).or_default() += 1;
        Some(Place { places: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.peer) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn one_address_has_so_many_and_all_have_so_many() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..OF_ONE_PEER).map(|_| places.take(peer(1)).expect("a place")).collect();
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(places.take(peer(1)).is_none() && places.take(mapped).is_none());
        for n in 2..=4 {
            taken.extend((0..OF_ONE_PEER).filter_map(|_| places.take(peer(n))));
        }
        assert_eq!(taken.len(), CONNECTIONS);
        assert!(places.take(peer(5)).is_none());
        taken.remove(0);
        assert!(places.take(peer(5)).is_some());
        drop(taken);
        assert!(places.lock().is_empty());
    }
}
