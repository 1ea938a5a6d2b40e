//! Admission: limits on requests and bytes in flight, shared among connections and peers.
//!
//! A connection may take more of a resource while it holds no more than half of what is left, and a
//! peer (an IP address) while it holds no more than a multiple of what is left. So one connection
//! can have a third of it, several together most of it, and each leaves room for one more, of its
//! own peer as of others. Shares bind only near the limit: a busy proxy in front of all callers is
//! not slowed down.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

pub use super::config::AdmissionLimits;
use super::peer::{Amounts, PeerState, Peers};
use super::resource::{RESOURCES, Resource};
use crate::cache::error::CacheError;
use crate::cache::stats::Counter;
use crate::cache::tier::RETRY_AFTER;

/// Most bytes of health and reflection calls in memory: these calls are small.
const MAX_PROBE_BYTES: usize = 32 << 20;

/// Bytes that a request or a response may take whatever its connection holds, so that a large
/// response that waits does not keep small calls out.
const SMALL_AMOUNT_BYTES: usize = 32 << 10;

/// Admission control of this replica: its limits, and what is taken of them.
pub struct Admission {
    limits: [usize; RESOURCES],
    used: Amounts,
    /// How much a peer may hold, in multiples of what is left. `None` if any amount.
    peer_ratio: Option<f64>,
    peers: Peers,
    connections_limit: usize,
    connections: AtomicUsize,
    waiting_answers: Arc<Semaphore>,
    shed: Counter,
    /// Connections closed because their peers sent too much that carries no request.
    pub floods: Counter,
}

/// The resources that one connection holds.
pub struct Account {
    load: Arc<Admission>,
    address: IpAddr,
    peer: Arc<PeerState>,
    used: Amounts,
}

/// A limit that was reached.
pub(crate) struct LimitReached {
    /// Name of the limit.
    pub what: &'static str,
    /// The limit.
    pub limit: usize,
}

// === impl Admission ===

impl Admission {
    /// Creates the admission control, with nothing taken.
    pub fn new(limits: AdmissionLimits) -> Admission {
        let share = limits.peer_share;
        Admission {
            // A client watches health once on each connection.
            limits: [
                limits.requests,
                limits.bytes,
                limits.probes,
                MAX_PROBE_BYTES,
                limits.waiting,
                limits.watches,
                limits.connections,
            ],
            used: Amounts::default(),
            peer_ratio: (share < 1.0).then(|| share / (1.0 - share)),
            peers: Peers::default(),
            connections_limit: limits.connections,
            connections: AtomicUsize::new(0),
            waiting_answers: Arc::new(Semaphore::new(limits.bytes / 2)),
            shed: Counter::default(),
            floods: Counter::default(),
        }
    }

    /// Returns the number of requests that wait for another caller, or have waited and are being
    /// answered.
    pub fn waiting(&self) -> usize {
        self.used(Resource::Waiting)
    }

    /// Returns the limit of waiting requests.
    pub fn waiting_limit(&self) -> usize {
        self.limits[Resource::Waiting as usize]
    }

    /// Returns the bytes of responses to requests that have waited, and their limit: half of the
    /// bytes in flight; the rest is for others.
    pub(crate) fn waiting_answers(&self) -> (&Arc<Semaphore>, usize) {
        (&self.waiting_answers, self.bytes_limit() / 2)
    }

    /// Returns the requests in flight. A request counts until the last byte of its response is
    /// written to the connection.
    pub fn in_flight(&self) -> usize {
        self.used(Resource::Requests)
    }

    /// Returns the limit of requests in flight.
    pub fn limit(&self) -> usize {
        self.limits[Resource::Requests as usize]
    }

    /// Returns the bytes in flight.
    pub fn bytes(&self) -> usize {
        self.used(Resource::Bytes)
    }

    /// Returns the limit of bytes in flight.
    pub fn bytes_limit(&self) -> usize {
        self.limits[Resource::Bytes as usize]
    }

    /// Returns the number of requests refused because a limit was reached.
    pub fn shed(&self) -> u64 {
        self.shed.get()
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns the limit of open connections, which the accept loop enforces.
    pub fn connections_limit(&self) -> usize {
        self.connections_limit
    }

    /// Counts a connection for as long as the guard lives.
    pub fn track_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// Opens the account of a new connection from `address`.
    pub fn account(self: &Arc<Self>, address: IpAddr) -> Arc<Account> {
        let address = address.to_canonical();
        let peer = self.peers.enter(address, 2 * self.connections_limit);
        Arc::new(Account { load: self.clone(), address, peer, used: Amounts::default() })
    }

    fn used(&self, resource: Resource) -> usize {
        self.used[resource as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, refusal: LimitReached) -> CacheError {
        self.shed.inc();
        let LimitReached { what, limit } = refusal;
        CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) }
    }
}

// === impl Account ===

impl Account {
    /// Returns the admission control of the replica.
    pub fn load(&self) -> &Arc<Admission> {
        &self.load
    }

    /// Returns the address of the peer.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Admits a request. A refusal is counted.
    pub fn admit(self: &Arc<Self>, resource: Resource) -> Result<RequestPermit, CacheError> {
        self.check(resource, 1, 1).map_err(|refusal| self.load.refuse(refusal))?;
        self.add(resource, 1);
        Ok(RequestPermit { account: self.clone(), resource })
    }

    /// Takes an amount, if there is room for it. A refusal is counted.
    pub fn take(self: &Arc<Self>, resource: Resource, amount: usize) -> Result<TakenAmounts, CacheError> {
        self.check(resource, amount, amount).map_err(|refusal| self.load.refuse(refusal))?;
        Ok(self.charge(resource, amount))
    }

    /// Takes an amount like `take`, but does not count a refusal.
    pub fn try_take(self: &Arc<Self>, resource: Resource, amount: usize) -> Option<TakenAmounts> {
        self.check(resource, amount, amount).ok()?;
        Some(self.charge(resource, amount))
    }

    /// Takes an amount even beyond the limits: for what is in memory anyway.
    pub fn charge(self: &Arc<Self>, resource: Resource, amount: usize) -> TakenAmounts {
        self.add(resource, amount);
        TakenAmounts { account: self.clone(), resource, amount }
    }

    /// Returns true if there is room for an amount. A refusal is not counted.
    pub fn has_room(&self, resource: Resource, amount: usize) -> bool {
        self.check(resource, amount, amount).is_ok()
    }

    /// Takes an amount until `give_back`, if there is room for it. A refusal is counted.
    pub fn hold(&self, resource: Resource, amount: usize) -> Result<(), CacheError> {
        self.check(resource, amount, amount).map_err(|refusal| self.load.refuse(refusal))?;
        self.add(resource, amount);
        Ok(())
    }

    /// Takes an amount until `give_back`, even beyond the limits.
    pub fn count(&self, resource: Resource, amount: usize) {
        self.add(resource, amount);
    }

    /// Takes tokens for what the peer sends that carries no request. Returns false if it has too
    /// few.
    pub fn take_overhead(&self, tokens: NonZeroU32) -> bool {
        self.peer.take_overhead(tokens)
    }

    /// Checks that there is room for `amount` more of which a request would then hold `held`.
    fn check(&self, resource: Resource, amount: usize, held: usize) -> Result<(), LimitReached> {
        let index = resource as usize;
        let [limit, total] = [self.load.limits[index], self.load.used(resource)];
        let [of_peer, own] = [&self.peer.used[index], &self.used[index]].map(|amount| amount.load(Ordering::Relaxed));
        let [whole, share_of_peer, share_of_connection] = resource.names();
        let room = limit.saturating_sub(total);
        if room == 0 || amount > room {
            return Err(LimitReached { what: whole, limit });
        }
        // Byte shares are compared as they would be afterwards, because an amount can be large.
        // Request shares are compared as they are before, so that the last slot of a small limit
        // can be used.
        let amount = if resource.is_bytes() { amount } else { 0 };
        let (free, of_peer, own) = (room - amount, of_peer + amount, own + amount);
        let left_to_peer = match self.load.peer_ratio {
            Some(ratio) => {
                let most = (free as f64 * ratio) as usize;
                // A peer that has none may have one, however small its share of a small limit is.
                let is_first = !resource.is_bytes() && of_peer == 0;
                if !is_first && (of_peer > most || most == 0) {
                    return Err(LimitReached { what: share_of_peer, limit: most });
                }
                free.min(most.saturating_sub(of_peer).max(usize::from(is_first)))
            }
            None => free,
        };
        let most = left_to_peer.div_ceil(2);
        // Only while there is plenty: many small calls add up.
        let is_small = resource.is_bytes() && held <= SMALL_AMOUNT_BYTES && left_to_peer >= limit / 16;
        if own > most && !is_small {
            return Err(LimitReached { what: share_of_connection, limit: most });
        }
        Ok(())
    }

    fn add(&self, resource: Resource, amount: usize) {
        for used in [&self.load.used, &self.peer.used, &self.used] {
            used[resource as usize].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Gives an amount back.
    pub fn give_back(&self, resource: Resource, amount: usize) {
        for used in [&self.load.used, &self.peer.used, &self.used] {
            used[resource as usize].fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.load.peers.leave(self.address, &self.peer);
    }
}

/// A request in flight. Dropping it releases its slot.
pub struct RequestPermit {
    account: Arc<Account>,
    resource: Resource,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.account.give_back(self.resource, 1);
    }
}

/// An amount of a resource. Dropping it gives the amount back.
pub struct TakenAmounts {
    account: Arc<Account>,
    resource: Resource,
    amount: usize,
}

impl TakenAmounts {
    /// Gives back all but `amount`.
    pub fn shrink(&mut self, amount: usize) {
        let back = self.amount.saturating_sub(amount);
        self.account.give_back(self.resource, back);
        self.amount -= back;
    }

    /// Takes more, if there is room for it.
    pub fn grow(&mut self, amount: usize) -> Result<(), CacheError> {
        let checked = self.account.check(self.resource, amount, self.amount + amount);
        checked.map_err(|refusal| self.account.load.refuse(refusal))?;
        self.account.add(self.resource, amount);
        self.amount += amount;
        Ok(())
    }
}

impl Drop for TakenAmounts {
    fn drop(&mut self) {
        self.account.give_back(self.resource, self.amount);
    }
}

/// An open connection. Dropping it stops counting it.
pub struct ConnectionGuard(Arc<Admission>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
