//! The load of this replica and its limits: RPCs in flight, bytes in flight, and connections whose peers do not read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tonic::Status;

use super::status::status;
use crate::cache::error::CacheError;
use crate::cache::stats::Counter;
use crate::cache::tier::RETRY_AFTER;

/// The load of this replica, and its limits.
pub struct Load {
    places: Arc<Semaphore>,
    limit: usize,
    bytes: AtomicUsize,
    bytes_limit: usize,
    shed: Counter,
    connections: AtomicUsize,
}

// === impl Load ===

impl Load {
    /// At most `limit` RPCs and `bytes_limit` bytes in flight.
    pub fn new(limit: usize, bytes_limit: usize) -> Load {
        Load {
            places: Arc::new(Semaphore::new(limit)),
            limit,
            bytes: AtomicUsize::new(0),
            bytes_limit,
            shed: Counter::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// RPCs in flight: until the last byte of the response is handed to the connection.
    pub fn in_flight(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// RPCs refused because a limit was reached.
    pub fn shed(&self) -> u64 {
        self.shed.get()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// One connection more, for as long as the guard lives.
    pub(super) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self.clone())
    }

    /// A place among the RPCs in flight.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, CacheError> {
        if self.bytes.load(Ordering::Relaxed) > self.bytes_limit {
            return Err(self.too_many_bytes());
        }
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.shed.one();
            CacheError::Exhausted { what: "server.max_in_flight", limit: self.limit, retry_after: Some(RETRY_AFTER) }
        })
    }

    /// Most bytes in flight.
    pub(super) fn bytes_limit(&self) -> usize {
        self.bytes_limit
    }

    /// Bytes that count as in flight for as long as the guard lives. Also beyond the limit: they are there.
    pub(super) fn keep(self: &Arc<Self>, bytes: usize) -> Kept {
        self.add_bytes(bytes);
        Kept(self.clone(), bytes)
    }

    fn too_many_bytes(&self) -> CacheError {
        self.shed.one();
        let (what, limit) = ("server.max_bytes_in_flight", self.bytes_limit);
        CacheError::Exhausted { what, limit, retry_after: Some(RETRY_AFTER) }
    }

    fn add_bytes(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    fn sub_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

pub(super) struct Connected(Arc<Load>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes in memory that were not handed on yet.
pub(super) struct Kept(Arc<Load>, usize);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.sub_bytes(self.1);
    }
}

/// A request's body, whose bytes count as in flight until it is dropped. Beyond the limit it ends in an error.
pub struct Metered<B> {
    body: B,
    load: Arc<Load>,
    bytes: usize,
}

impl<B> Metered<B> {
    pub(super) fn new(body: B, load: Arc<Load>) -> Self {
        Metered { body, load, bytes: 0 }
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, bytes::Buf::remaining);
        self.bytes += bytes;
        if self.load.add_bytes(bytes) > self.load.bytes_limit {
            return Poll::Ready(Some(Err(status(&self.load.too_many_bytes()))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Metered<B> {
    fn drop(&mut self) {
        self.load.sub_bytes(self.bytes);
    }
}

/// A response's body. What was taken of it last counts as in flight until more is taken or it is dropped, for the connection takes more only
/// when the caller has made room. A counted one keeps the RPC's place, too: a caller who does not read holds a place, not memory without limit.
pub struct Guarded {
    body: tonic::body::Body,
    bytes: usize,
    load: Option<Arc<Load>>,
    counted: Option<Count>,
}

struct Count {
    flow: Arc<Flow>,
    _place: OwnedSemaphorePermit,
}

impl Guarded {
    pub(super) fn uncounted(body: tonic::body::Body) -> Guarded {
        Guarded { body, bytes: 0, load: None, counted: None }
    }

    /// Of what may last: it needs no place.
    pub(super) fn lasting(body: tonic::body::Body, load: Arc<Load>) -> Guarded {
        Guarded { body, bytes: 0, load: Some(load), counted: None }
    }

    pub(super) fn counted(
        body: tonic::body::Body,
        place: OwnedSemaphorePermit,
        load: Arc<Load>,
        flow: Arc<Flow>,
    ) -> Guarded {
        flow.open.fetch_add(1, Ordering::Relaxed);
        Guarded { body, bytes: 0, load: Some(load), counted: Some(Count { flow, _place: place }) }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.remaining());
        let before = std::mem::replace(&mut self.bytes, bytes);
        if let Some(load) = &self.load {
            load.add_bytes(bytes);
            load.sub_bytes(before);
        }
        if let Some(count) = &self.counted {
            count.flow.moved.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.sub_bytes(self.bytes);
        }
        if let Some(count) = &self.counted {
            count.flow.open.fetch_sub(1, Ordering::Relaxed);
            count.flow.moved.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How the responses of one connection move.
#[derive(Default)]
pub struct Flow {
    open: AtomicUsize,
    moved: AtomicU64,
}

impl Flow {
    /// Returns when responses wait and none has moved for `patience`: the peer does not read.
    pub(super) async fn stalled(&self, patience: Duration) {
        loop {
            let (open, moved) = (self.open.load(Ordering::Relaxed), self.moved.load(Ordering::Relaxed));
            sleep(patience).await;
            if open > 0 && self.open.load(Ordering::Relaxed) > 0 && self.moved.load(Ordering::Relaxed) == moved {
                return;
            }
        }
    }
}
