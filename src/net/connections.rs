//! The open connections of a server, limited in total and for each peer.
//!
//! At a limit, a connection without a request is evicted for a new one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::close;
use crate::sync::Mutex;

/// Maximum number of rejected connections that are closed gracefully at a time. Others are dropped.
const MAX_TURNED_AWAY: usize = 64;
/// Timeout for closing a rejected connection gracefully.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum numbers of open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Limit for all peers together.
    pub connections: usize,
    /// Limit for one peer.
    pub per_peer: usize,
}

/// A limit of [`ConnectionLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The limit of all connections.
    All,
    /// The limit of the connections of one peer.
    Peer,
}

/// The state of a connection.
///
/// Connections are evicted in the order of the variants, the last one never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Waits for a request.
    Waiting,
    /// Answers a request.
    Answering,
    /// Is never evicted.
    Protected,
}

/// The open connections of a server.
pub struct Connections {
    limits: ConnectionLimits,
    state: Mutex<ConnectionsState>,
    turned_away: Semaphore,
}

/// The slot of one connection, until it is dropped.
pub struct ConnectionSlot {
    connections: Arc<Connections>,
    peer: PeerKey,
    id: u64,
    evicted: CancellationToken,
}

/// Result of [`Connections::admit`].
pub struct AdmittedConnection {
    /// The slot of the connection, or `None` if there is no room.
    pub slot: Option<ConnectionSlot>,
    /// The limit that is reached, if any. With a slot, another connection was evicted.
    pub reached: Option<ConnectionLimit>,
}

/// A peer as it is counted: an IPv4 address, or the first 64 bits of an IPv6 address, which are
/// assigned to one host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PeerKey(IpAddr);

#[derive(Default)]
struct ConnectionsState {
    /// Counter that orders ids and changes of activity by time.
    clock: u64,
    total: usize,
    peers: HashMap<PeerKey, HashMap<u64, ConnectionEntry>>,
}

struct ConnectionEntry {
    activity: Activity,
    since: u64,
    evicted: CancellationToken,
}

// === impl Connections ===

impl Connections {
    /// Creates an empty table.
    pub fn new(limits: ConnectionLimits) -> Arc<Connections> {
        Arc::new(Connections { limits, state: Mutex::default(), turned_away: Semaphore::new(MAX_TURNED_AWAY) })
    }

    /// Returns the limits.
    pub fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Finds a slot for a connection of `peer`, which begins with this activity.
    ///
    /// At the limit of a peer, one of its own connections is evicted. At the total limit, the peer
    /// with the most unprotected connections loses one; a peer with more of them never evicts a
    /// connection of a peer with fewer. The connection that has waited longest is evicted first. If
    /// all are protected, the new connection is rejected.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, activity: Activity) -> AdmittedConnection {
        let peer = PeerKey::of(peer);
        let mut state = self.lock();
        let own = state.count(peer);
        let reached = if own >= self.limits.per_peer {
            Some(ConnectionLimit::Peer)
        } else {
            (state.total >= self.limits.connections).then_some(ConnectionLimit::All)
        };
        let victim = match reached {
            None => None,
            Some(ConnectionLimit::Peer) => state.first_to_go(peer).map(|(_, id)| (peer, id)),
            Some(ConnectionLimit::All) => state.first_to_go_for(peer),
        };
        match victim {
            Some((peer, id)) => state.remove(peer, id),
            None if reached.is_some() => return AdmittedConnection { slot: None, reached },
            None => {}
        }
        let (id, evicted) = (state.tick(), CancellationToken::new());
        let entry = ConnectionEntry { activity, since: id, evicted: evicted.clone() };
        state.peers.entry(peer).or_default().insert(id, entry);
        state.total += 1;
        AdmittedConnection { slot: Some(ConnectionSlot { connections: self.clone(), peer, id, evicted }), reached }
    }

    /// Writes `message` to a connection without a slot and closes it.
    pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, message: &[u8]) {
        let Ok(_permit) = self.turned_away.try_acquire() else { return };
        // Few bytes: the send buffer of the socket takes them.
        let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, stream.write_all(message)).await;
        close::orderly(stream, TURN_AWAY_TIMEOUT).await;
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionsState> {
        self.state.lock()
    }
}

// === impl ConnectionsState ===

impl ConnectionsState {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn count(&self, peer: PeerKey) -> usize {
        self.peers.get(&peer).map_or(0, HashMap::len)
    }

    /// Returns the connections of a peer that may be evicted.
    fn evictable(&self, peer: PeerKey) -> impl Iterator<Item = (&u64, &ConnectionEntry)> {
        let entries = self.peers.get(&peer).into_iter().flatten();
        entries.filter(|(_, entry)| entry.activity != Activity::Protected)
    }

    /// Returns the connection of `peer` that is evicted first: the start of its activity, and its
    /// id.
    fn first_to_go(&self, peer: PeerKey) -> Option<(u64, u64)> {
        let first = self.evictable(peer).min_by_key(|(_, entry)| (entry.activity, entry.since));
        first.map(|(id, entry)| (entry.since, *id))
    }

    /// Returns the connection that is evicted for a new one of `peer`.
    fn first_to_go_for(&self, peer: PeerKey) -> Option<(PeerKey, u64)> {
        let own = self.evictable(peer).count();
        let counted = self.peers.keys().map(|other| (self.evictable(*other).count(), *other));
        let heavier = counted.filter(|(count, other)| *other == peer || *count > own);
        let firsts = heavier.filter_map(|(count, other)| Some((count, other, self.first_to_go(other)?)));
        let first = firsts.max_by_key(|(count, _, (since, _))| (*count, std::cmp::Reverse(*since)));
        first.map(|(_, peer, (_, id))| (peer, id))
    }

    /// Removes a connection, if it is still present.
    fn remove(&mut self, peer: PeerKey, id: u64) {
        let Some(entries) = self.peers.get_mut(&peer) else { return };
        let Some(entry) = entries.remove(&id) else { return };
        entry.evicted.cancel();
        self.total -= 1;
        if entries.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

// === impl ConnectionSlot ===

impl ConnectionSlot {
    /// Sets the activity of the connection.
    pub fn set(&self, activity: Activity) {
        let mut state = self.connections.lock();
        let since = state.tick();
        let entry = state.peers.get_mut(&self.peer).and_then(|entries| entries.get_mut(&self.id));
        if let Some(entry) = entry {
            (entry.activity, entry.since) = (activity, since);
        }
    }

    /// Returns the activity of the connection and a number that grows with each change.
    ///
    /// `None` if it was evicted.
    pub fn activity(&self) -> Option<(Activity, u64)> {
        let state = self.connections.lock();
        let entry = state.peers.get(&self.peer)?.get(&self.id)?;
        Some((entry.activity, entry.since))
    }

    /// Completes when the connection is evicted and has to be closed.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Closes the connection after it was evicted.
    pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) {
        self.connections.turn_away(stream, &[]).await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().remove(self.peer, self.id);
    }
}

// === impl PeerKey ===

/// Returns the address that identifies a peer: the IPv4 address, or the /64 of the IPv6 address.
pub fn peer_address(address: IpAddr) -> IpAddr {
    PeerKey::of(address).0
}

impl PeerKey {
    fn of(address: IpAddr) -> PeerKey {
        match address.to_canonical() {
            IpAddr::V4(address) => PeerKey(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                PeerKey(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
