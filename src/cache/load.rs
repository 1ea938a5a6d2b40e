//! The load of this replica and its limits: requests in flight, bytes in flight, connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::CacheError;
use super::stats::Counter;
use super::tier::RETRY_AFTER;

/// The load of this replica, and its limits.
pub struct Load {
    places: Arc<Semaphore>,
    limit: usize,
    bytes: AtomicUsize,
    bytes_limit: usize,
    connections_limit: usize,
    shed: Counter,
    connections: AtomicUsize,
    waiting: Arc<Semaphore>,
    waiting_limit: usize,
    waiting_answers: Arc<Semaphore>,
}

// === impl Load ===

impl Load {
    /// At most `limit` requests and `bytes_limit` bytes in flight, on at most so many connections.
    pub fn new(limit: usize, bytes_limit: usize, connections_limit: usize) -> Load {
        Load {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            bytes: AtomicUsize::new(0),
            bytes_limit,
            connections_limit,
            shed: Counter::default(),
            connections: AtomicUsize::new(0),
            waiting: Arc::new(Semaphore::new(0)),
            waiting_limit: 0,
            waiting_answers: Arc::new(Semaphore::new(bytes_limit / 2)),
        }
    }

    /// The same with places for `limit` requests that wait for another caller.
    pub fn with_waiting(self, limit: usize) -> Load {
        Load { waiting: Arc::new(Semaphore::new(limit)), waiting_limit: limit, ..self }
    }

    /// Requests that wait for another caller, or have waited and are being answered.
    pub fn waiting(&self) -> usize {
        self.waiting_limit - self.waiting.available_permits()
    }

    /// Most requests that wait.
    pub fn waiting_limit(&self) -> usize {
        self.waiting_limit
    }

    /// A place among the requests that wait.
    pub(super) fn waiting_place(&self) -> Result<OwnedSemaphorePermit, CacheError> {
        self.waiting.clone().try_acquire_owned().map_err(|_| {
            let (what, limit) = ("server.max_waiting", self.waiting_limit);
            self.refuse(CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) })
        })
    }

    /// Bytes of responses to requests that have waited, and how many there may be: half of the bytes in flight, the rest is for others.
    pub(super) fn waiting_answers(&self) -> (&Arc<Semaphore>, usize) {
        (&self.waiting_answers, self.bytes_limit / 2)
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, error: CacheError) -> CacheError {
        self.shed.one();
        error
    }

    /// Requests in flight: until the last byte of the response is handed to the connection.
    pub fn in_flight(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// Requests refused because a limit was reached.
    pub fn shed(&self) -> u64 {
        self.shed.get()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Most open connections. Whoever accepts them keeps it.
    pub fn connections_limit(&self) -> usize {
        self.connections_limit
    }

    /// One connection more, for as long as the guard lives.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self.clone())
    }

    /// A place among the requests in flight.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, CacheError> {
        if self.bytes.load(Ordering::Relaxed) > self.bytes_limit {
            return Err(self.too_many_bytes());
        }
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.shed.one();
            CacheError::Exhausted { what: "server.max_in_flight", limit: self.limit, retry_after: Some(RETRY_AFTER) }
        })
    }

    /// Most requests in flight.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in flight.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Most bytes in flight.
    pub fn bytes_limit(&self) -> usize {
        self.bytes_limit
    }

    /// Bytes that count as in flight for as long as the guard lives. Also beyond the limit: they are there.
    pub fn keep(self: &Arc<Self>, bytes: usize) -> Kept {
        self.add_bytes(bytes);
        Kept(self.clone(), bytes)
    }

    /// The refusal of who brings more bytes than there is room for. It is counted.
    pub fn too_many_bytes(&self) -> CacheError {
        self.shed.one();
        let (what, limit) = ("server.max_bytes_in_flight", self.bytes_limit);
        CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) }
    }

    /// So many bytes more in flight. Returns how many there are then.
    pub fn add_bytes(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// So many fewer.
    pub fn sub_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A connection that is open.
pub struct Connected(Arc<Load>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes in memory that were not handed on yet.
pub struct Kept(Arc<Load>, usize);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.sub_bytes(self.1);
    }
}
