//! Bodies whose bytes count as in flight, and how the responses of a connection move: a peer that does not read is noticed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::time::sleep;
use tonic::Status;
use tracing::Span;

use super::header_size;
use super::spans::RpcSpan;
use super::status::status;
use crate::cache::load::Load;
use crate::cache::place::{Place, Streams};

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
        if self.load.add_bytes(bytes) > self.load.bytes_limit() {
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
    span: Option<RpcSpan>,
}

struct Count {
    flow: Arc<Flow>,
    _place: Place,
}

impl Guarded {
    pub(super) fn uncounted(body: tonic::body::Body) -> Guarded {
        Guarded { body, bytes: 0, load: None, counted: None, span: None }
    }

    /// Of what may last: it needs no place.
    pub(super) fn lasting(body: tonic::body::Body, load: Arc<Load>) -> Guarded {
        Guarded { body, bytes: 0, load: Some(load), counted: None, span: None }
    }

    pub(super) fn counted(body: tonic::body::Body, place: Place, load: Arc<Load>, flow: Arc<Flow>) -> Guarded {
        flow.open.fetch_add(1, Ordering::Relaxed);
        Guarded { body, bytes: 0, load: Some(load), counted: Some(Count { flow, _place: place }), span: None }
    }

    /// Ends the span when it ends.
    pub(super) fn traced(mut self, span: RpcSpan) -> Guarded {
        self.span = Some(span);
        self
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What is done for the body is done for the RPC.
        let within = self.span.as_ref().map_or(Span::none(), RpcSpan::span);
        let mut frame = ready!(within.in_scope(|| Pin::new(&mut self.body).poll_frame(context)));
        if let Some(Ok(frame)) = &mut frame {
            frame.trailers_mut().map(header_size::limit);
        }
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.remaining());
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref())
            && let Some(span) = self.span.take()
        {
            span.trailed(trailers);
        }
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

/// The streams of one connection, and how its responses move.
pub struct Flow {
    streams: Arc<Streams>,
    open: AtomicUsize,
    moved: AtomicU64,
}

impl Flow {
    /// The flow of a new connection.
    pub(super) fn new(streams: Streams) -> Flow {
        Flow { streams: Arc::new(streams), open: AtomicUsize::new(0), moved: AtomicU64::new(0) }
    }

    /// The limits of its streams.
    pub(super) fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

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
