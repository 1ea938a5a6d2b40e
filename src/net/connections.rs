//! The open connections of a server, limited in all and for each peer. Where there is no room, a connection that sends no request gives way
//! to a new one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::close;

/// Most connections without a slot that are closed in an orderly way at once. More are closed at once.
const MAX_TURNED_AWAY: usize = 64;
/// Longest time for that.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Most connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all peers together.
    pub connections: usize,
    /// Of one peer.
    pub per_peer: usize,
}

/// A limit of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The limit of all connections.
    All,
    /// The limit of the connections of one peer.
    Peer,
}

/// The state of a connection. Decides in which order connections give way: the first variants first, the last one never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Waits for a request.
    Waiting,
    /// Answers a request.
    Answering,
    /// Must not be closed in favour of another.
    Protected,
}

/// The open connections of a server.
pub struct Connections {
    limits: ConnectionLimits,
    state: Mutex<ConnectionsState>,
    turned_away: Semaphore,
}

/// The place of one connection, until it is dropped.
pub struct ConnectionSlot {
    connections: Arc<Connections>,
    peer: Peer,
    id: u64,
    evicted: CancellationToken,
}

/// Result of [`Connections::admit`].
pub struct Admission {
    /// The place of the connection, or `None` if there is no room.
    pub slot: Option<ConnectionSlot>,
    /// The limit that is reached, if any. With a slot, another connection was evicted.
    pub reached: Option<ConnectionLimit>,
}

/// A peer as it is counted: an IPv4 address, or the first 64 bits of an IPv6 address, which are assigned to one host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Peer(IpAddr);

#[derive(Default)]
struct ConnectionsState {
    /// Numbers ids and changes of activity, in the order of time.
    clock: u64,
    total: usize,
    peers: HashMap<Peer, HashMap<u64, ConnectionEntry>>,
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

    /// Finds a place for a connection of `peer`, which begins with this activity.
    ///
    /// At its limit a peer loses one of its own connections. At the limit of all, the peer loses one that has the most of those that are not
    /// protected; a peer that has more of them never evicts one of a peer that has fewer. The one that waits longest goes first. If all are
    /// protected the new connection has no place.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, activity: Activity) -> Admission {
        let peer = Peer::of(peer);
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
            None if reached.is_some() => return Admission { slot: None, reached },
            None => {}
        }
        let (id, evicted) = (state.tick(), CancellationToken::new());
        let entry = ConnectionEntry { activity, since: id, evicted: evicted.clone() };
        state.peers.entry(peer).or_default().insert(id, entry);
        state.total += 1;
        Admission { slot: Some(ConnectionSlot { connections: self.clone(), peer, id, evicted }), reached }
    }

    /// Writes `message` and closes a connection that has no place.
    pub async fn turn_away(&self, stream: &mut TcpStream, message: &[u8]) {
        let Ok(_permit) = self.turned_away.try_acquire() else { return };
        // Few bytes: the send buffer of the socket takes them.
        let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, stream.write_all(message)).await;
        close::orderly(stream, TURN_AWAY_TIMEOUT).await;
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl ConnectionsState {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn count(&self, peer: Peer) -> usize {
        self.peers.get(&peer).map_or(0, HashMap::len)
    }

    /// The connections of a peer that may be evicted.
    fn evictable(&self, peer: Peer) -> impl Iterator<Item = (&u64, &ConnectionEntry)> {
        let entries = self.peers.get(&peer).into_iter().flatten();
        entries.filter(|(_, entry)| entry.activity != Activity::Protected)
    }

    /// The connection of `peer` that gives way first, and when it began what it does.
    fn first_to_go(&self, peer: Peer) -> Option<(u64, u64)> {
        let first = self.evictable(peer).min_by_key(|(_, entry)| (entry.activity, entry.since));
        first.map(|(id, entry)| (entry.since, *id))
    }

    /// The connection that gives way to a new one of `peer`.
    fn first_to_go_for(&self, peer: Peer) -> Option<(Peer, u64)> {
        let own = self.evictable(peer).count();
        let counted = self.peers.keys().map(|other| (self.evictable(*other).count(), *other));
        let heavier = counted.filter(|(count, other)| *other == peer || *count > own);
        let firsts = heavier.filter_map(|(count, other)| Some((count, other, self.first_to_go(other)?)));
        let first = firsts.max_by_key(|(count, _, (since, _))| (*count, std::cmp::Reverse(*since)));
        first.map(|(_, peer, (_, id))| (peer, id))
    }

    /// Removes a connection, which may be gone already.
    fn remove(&mut self, peer: Peer, id: u64) {
        let Some(entries) = self.peers.get_mut(&peer) else { return };
        let Some(entry) = entries.remove(&id) else { return };
        entry.evicted.cancel();
        self.total -= 1;
        if entries.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

// === impl Slot ===

impl ConnectionSlot {
    /// Changes what the connection does, from now on.
    pub fn set(&self, activity: Activity) {
        let mut state = self.connections.lock();
        let since = state.tick();
        let entry = state.peers.get_mut(&self.peer).and_then(|entries| entries.get_mut(&self.id));
        if let Some(entry) = entry {
            (entry.activity, entry.since) = (activity, since);
        }
    }

    /// Returns what the connection does, and a number that grows with each change. `None` if it was evicted.
    pub fn activity(&self) -> Option<(Activity, u64)> {
        let state = self.connections.lock();
        let entry = state.peers.get(&self.peer)?.get(&self.id)?;
        Some((entry.activity, entry.since))
    }

    /// Ends when another connection has taken the place: this one has to be closed.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Closes the connection after it was evicted.
    pub async fn turn_away(&self, stream: &mut TcpStream) {
        self.connections.turn_away(stream, &[]).await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().remove(self.peer, self.id);
    }
}

// === impl Peer ===

/// The address by which a peer is told from others: that of IPv4, or the /64 of IPv6.
pub fn peer_address(address: IpAddr) -> IpAddr {
    Peer::of(address).0
}

impl Peer {
    fn of(address: IpAddr) -> Peer {
        match address.to_canonical() {
            IpAddr::V4(address) => Peer(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Peer(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { connections: 8, per_peer: 3 };

    fn peer(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    fn table() -> Arc<Connections> {
        Connections::new(LIMITS)
    }

    fn admit(table: &Arc<Connections>, peer: IpAddr, activity: Activity) -> ConnectionSlot {
        table.admit(peer, activity).slot.expect("a slot")
    }

    fn is_evicted(slot: &ConnectionSlot) -> bool {
        assert_eq!(slot.activity().is_none(), slot.evicted.is_cancelled());
        slot.evicted.is_cancelled()
    }

    #[test]
    fn protected_connections_are_limited_for_each_peer_and_in_all() {
        let table = table();
        let mut slots: Vec<_> = (0..3).map(|_| admit(&table, peer(1), Activity::Protected)).collect();
        let refused = table.admit(peer(1), Activity::Waiting);
        assert!(refused.slot.is_none() && refused.reached == Some(ConnectionLimit::Peer));
        for n in [2, 2, 2, 3, 3] {
            let admission = table.admit(peer(n), Activity::Protected);
            assert_eq!(admission.reached, None);
            slots.extend(admission.slot);
        }
        let refused = table.admit(peer(3), Activity::Waiting);
        assert!(refused.slot.is_none() && refused.reached == Some(ConnectionLimit::All));
        slots.remove(0);
        assert!(table.admit(peer(3), Activity::Waiting).slot.is_some());
        drop(slots);
        assert!(table.lock().peers.is_empty() && table.lock().total == 0);
    }

    #[test]
    fn at_its_limit_a_peer_loses_the_connection_that_waits_longest() {
        let table = table();
        let slots: Vec<_> = (0..3).map(|_| admit(&table, peer(1), Activity::Waiting)).collect();
        slots[0].set(Activity::Answering);
        let admission = table.admit(peer(1), Activity::Waiting);
        assert_eq!(admission.reached, Some(ConnectionLimit::Peer));
        assert_eq!(slots.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
        slots[0].set(Activity::Waiting);
        let _second = admit(&table, peer(1), Activity::Answering);
        assert!(!is_evicted(&slots[0]) && is_evicted(&slots[2]));
        drop(slots);
        assert_eq!(table.lock().total, 2);
    }

    #[test]
    fn at_the_limit_of_all_the_heaviest_peer_gives_way() {
        let table = table();
        let light = [peer(1), peer(2)].map(|peer| admit(&table, peer, Activity::Waiting));
        let heavy: Vec<_> = (0..6).map(|n| admit(&table, peer(3 + n / 3), Activity::Waiting)).collect();
        heavy[0].set(Activity::Answering);
        let new = admit(&table, peer(5), Activity::Waiting);
        assert!(is_evicted(&heavy[1]) && !is_evicted(&heavy[0]) && !light.iter().any(is_evicted));
        // Of peers 3 and 4 with two and three connections, 4 is the heaviest now.
        let _other = admit(&table, peer(6), Activity::Waiting);
        assert!(is_evicted(&heavy[3]));
        drop((new, heavy));
    }

    #[test]
    fn a_peer_loses_its_own_connection_rather_than_one_of_a_peer_that_has_no_more() {
        let table = table();
        let slots: Vec<_> = (0..8).map(|n| admit(&table, peer(n / 2), Activity::Waiting)).collect();
        let _new = admit(&table, peer(3), Activity::Waiting);
        assert_eq!(slots.iter().position(is_evicted), Some(6));
    }

    #[test]
    fn protected_connections_are_not_held_against_a_peer() {
        let table = table();
        let slots: Vec<_> = (0..8).map(|n| admit(&table, peer(n / 2), Activity::Waiting)).collect();
        (0..2).for_each(|n| slots[n].set(Activity::Protected));
        let _new = admit(&table, peer(0), Activity::Waiting);
        assert_eq!(slots.iter().position(is_evicted), Some(2));
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_64_bits_of_ipv6() {
        let same = |one: &str, other: &str| {
            let of = |text: &str| Peer::of(text.parse().expect("an address"));
            of(one) == of(other)
        };
        assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }
}
