//! Bodies of responses, counted while they are in memory.
//!
//! They count as in flight until HTTP/2 has written their bytes to the connection, even if it has
//! buffered them before.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use tracing::Span;

use super::header_size;
pub use super::ready_slot::ReadySlot;
use super::rpc_span::RpcSpan;
pub use super::write_progress::WriteProgress;
use super::write_progress::allocated_bytes;
use crate::cache::admission::limits::TakenAmounts;
use crate::cache::admission::resource::Resource;
use crate::cache::admission::slot::RequestSlot;
use crate::cache::error::CacheError;

/// The status of a success.
const OK: HeaderValue = HeaderValue::from_static("0");

/// The body of a response.
///
/// A request keeps its slot until the last byte is written: a caller that does not read occupies a
/// slot and counted memory.
pub struct TrackedResponseBody(ResponseBody);

enum ResponseBody {
    /// A frame that is encoded already, and the trailers of a success behind it.
    Ready(Option<(Bytes, ReadySlot)>),
    /// The body of a service. Boxed, so that the other kind is moved at low cost.
    Service(Box<ServiceBody>),
}

struct ServiceBody {
    body: tonic::body::Body,
    /// The first frame, if it was polled in advance.
    first: Option<FirstFrame>,
    counted: Option<CountedResponse>,
    span: Option<RpcSpan>,
}

/// The first frame of a body, or its end, with the memory that is counted for it.
struct FirstFrame(Option<Result<Frame<Bytes>, Status>>, Option<TakenAmounts>);

/// Where the bytes of a response are counted.
#[derive(Clone)]
pub struct CountedResponse {
    /// Write progress of the connection.
    pub progress: Arc<WriteProgress>,
    /// The resource that the bytes count as.
    pub resource: Resource,
    /// The slot of the request. `None` if it was released.
    pub slot: Option<RequestSlot>,
}

/// A chunk of a response until it is written.
pub struct ResponseChunk {
    bytes: Bytes,
    written: Option<Unwritten>,
}

/// Resources that a chunk holds until it is written.
struct Unwritten {
    progress: Arc<WriteProgress>,
    _held: HeldUntilWritten,
}

enum HeldUntilWritten {
    Service { _taken: TakenAmounts, _slot: Option<RequestSlot> },
    Ready { _slot: ReadySlot },
}

// === impl TrackedResponseBody ===

impl TrackedResponseBody {
    /// Creates the body of a rejection, which has no bytes.
    pub(super) fn uncounted(body: tonic::body::Body) -> TrackedResponseBody {
        TrackedResponseBody::service(body, None)
    }

    /// Creates a body whose bytes are counted.
    pub(super) fn counted(body: tonic::body::Body, counted: CountedResponse) -> TrackedResponseBody {
        TrackedResponseBody::service(body, Some(counted))
    }

    /// Creates the body of a success with one message, which is encoded already.
    pub(super) fn ready(frame: Bytes, slot: ReadySlot) -> TrackedResponseBody {
        TrackedResponseBody(ResponseBody::Ready(Some((frame, slot))))
    }

    fn service(body: tonic::body::Body, counted: Option<CountedResponse>) -> TrackedResponseBody {
        TrackedResponseBody(ResponseBody::Service(Box::new(ServiceBody { body, first: None, counted, span: None })))
    }

    /// Polls the first message: once encoded, its size is known.
    ///
    /// If `refusable`, fails if there is no room for it.
    pub(super) fn encode_first(&mut self, refusable: bool) -> Result<(), CacheError> {
        match &mut self.0 {
            ResponseBody::Ready(_) => Ok(()),
            ResponseBody::Service(body) => body.encode_first(refusable),
        }
    }

    /// Attaches a span that ends with the body.
    pub(super) fn traced(mut self, span: RpcSpan) -> TrackedResponseBody {
        if let ResponseBody::Service(body) = &mut self.0 {
            body.span = Some(span);
        }
        self
    }
}

// === impl ServiceBody ===

impl ServiceBody {
    /// Polls the first message: once encoded, its size is known.
    ///
    /// If `refusable`, fails if there is no room for it.
    fn encode_first(&mut self, refusable: bool) -> Result<(), CacheError> {
        let Some(counted) = &self.counted else { return Ok(()) };
        if self.body.is_end_stream() {
            return Ok(());
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        // If it is not ready, the connection polls it again with its own waker.
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut context) else { return Ok(()) };
        let size = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map(allocated_bytes);
        let account = counted.progress.account();
        let taken = match size {
            Some(size) if refusable => Some(account.take(counted.resource, size)?),
            size => size.map(|size| account.charge(counted.resource, size)),
        };
        self.first = Some(FirstFrame(frame, taken));
        Ok(())
    }

    fn chunk(&self, bytes: Bytes, taken: Option<TakenAmounts>) -> ResponseChunk {
        let Some(counted) = self.counted.as_ref().filter(|_| !bytes.is_empty()) else {
            return ResponseChunk { bytes, written: None };
        };
        let progress = counted.progress.clone();
        let taken = taken.unwrap_or_else(|| progress.account().charge(counted.resource, allocated_bytes(&bytes)));
        let held = HeldUntilWritten::Service { _taken: taken, _slot: counted.slot.clone() };
        ResponseChunk { bytes, written: Some(Unwritten::new(progress, held)) }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<ResponseChunk>, Status>>> {
        let FirstFrame(mut frame, taken) = match self.first.take() {
            Some(first) => first,
            None => {
                // Work for the body belongs to the span of the RPC.
                let parent = self.span.as_ref().map_or(Span::none(), RpcSpan::span);
                FirstFrame(ready!(parent.in_scope(|| Pin::new(&mut self.body).poll_frame(context))), None)
            }
        };
        if let Some(Ok(frame)) = &mut frame {
            frame.trailers_mut().map(header_size::limit);
        }
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref())
            && let Some(span) = self.span.take()
        {
            span.trailed(trailers);
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.chunk(bytes, taken)))))
    }
}

impl Body for TrackedResponseBody {
    type Data = ResponseChunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ResponseChunk>, Status>>> {
        match &mut self.0 {
            ResponseBody::Service(body) => body.poll_frame(context),
            ResponseBody::Ready(frame) => Poll::Ready(Some(Ok(match frame.take() {
                Some((bytes, slot)) => {
                    let written = Unwritten::new(slot.progress().clone(), HeldUntilWritten::Ready { _slot: slot });
                    Frame::data(ResponseChunk { bytes, written: Some(written) })
                }
                None => Frame::trailers(HeaderMap::from_iter([(Status::GRPC_STATUS, OK)])),
            }))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            ResponseBody::Service(body) => body.first.is_none() && body.body.is_end_stream(),
            ResponseBody::Ready(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            ResponseBody::Service(body) if body.first.is_none() => body.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

// === impl ResponseChunk ===

impl Buf for ResponseChunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, written: usize) {
        self.bytes.advance(written);
        if let Some(unwritten) = &self.written {
            unwritten.progress.moved.fetch_add(1, Ordering::Relaxed);
        }
        // HTTP/2 may keep the last chunk of a connection until it writes another.
        if self.bytes.is_empty() {
            self.bytes = Bytes::new();
            self.written = None;
        }
    }
}

// === impl Unwritten ===

impl Unwritten {
    fn new(progress: Arc<WriteProgress>, held: HeldUntilWritten) -> Unwritten {
        progress.waiting.fetch_add(1, Ordering::Relaxed);
        Unwritten { progress, _held: held }
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
        self.progress.moved.fetch_add(1, Ordering::Relaxed);
    }
}
