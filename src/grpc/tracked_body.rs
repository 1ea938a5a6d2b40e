//! Bodies. Requests are read whole before they are served. Responses count as in flight until HTTP/2 has written their bytes to the connection,
//! however much of them it has taken over before.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;
use tracing::Span;

use super::header_size;
use super::rpc_span::RpcSpan;
use crate::cache::admission::limits::{Account, Resource, TakenAmounts};
use crate::cache::admission::slot::{RequestSlot, Streams};
use crate::cache::error::{CacheError, Violation};

/// Bytes before a message: a flag, and its length.
const PREFIX: usize = 5;
/// What arrives of a body extends its time: a caller on a slow connection keeps the time that a caller without a body gets.
const PROGRESS: usize = 64 << 10;

/// How a request's body is read.
#[derive(Clone, Copy)]
pub struct ReadOptions {
    /// Longest message.
    pub max_message: usize,
    /// Longest time until the next 64 KiB have arrived, or the end.
    pub patience: Duration,
    /// The deadline of the request.
    pub deadline: Instant,
}

/// Why a request was not read.
pub enum Unread {
    /// It broke a rule or a limit, or its deadline passed.
    Refused(CacheError),
    /// It was not complete in time.
    Late,
}

impl From<CacheError> for Unread {
    fn from(error: CacheError) -> Self {
        Unread::Refused(error)
    }
}

/// Reads the one message of a request. Its bytes are added to `taken` as they arrive.
pub async fn read<B>(mut body: B, reading: ReadOptions, taken: &mut TakenAmounts) -> Result<ReceivedMessage, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let begun = Instant::now();
    let mut received = Received::default();
    loop {
        let extensions = 1 + u32::try_from(received.len() / PROGRESS).unwrap_or(u32::MAX - 1);
        let patience = begun + reading.patience.saturating_mul(extensions).min(Duration::from_secs(1 << 20));
        let frame = match timeout_at(patience.min(reading.deadline), body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(received.message()?),
            // The caller has reset the stream, or its connection has broken: there is no one to read the answer.
            Ok(Some(Err(_))) => return Err(Unread::Refused(incomplete())),
            Err(_) if patience < reading.deadline => return Err(Unread::Late),
            Err(_) => return Err(Unread::Refused(CacheError::DeadlineExceeded { outcome_unknown_for: None })),
        };
        if let Ok(data) = frame.into_data() {
            taken.grow(data.len())?;
            received.push(data);
            received.check(reading.max_message)?;
        }
    }
}

fn incomplete() -> CacheError {
    Violation::new("request", "must be one whole message").into()
}

/// What has arrived of a body: one frame as it came, several copied together. A frame can keep a much larger read buffer alive.
#[derive(Default)]
struct Received {
    first: Bytes,
    joined: Vec<u8>,
}

impl Received {
    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined }
    }

    fn push(&mut self, data: Bytes) {
        if self.bytes().is_empty() {
            self.first = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined = std::mem::take(&mut self.first).to_vec();
        }
        // Grows as a vector does, but to no more than what the message is said to have.
        let needed = self.joined.len() + data.len();
        if needed > self.joined.capacity() {
            let whole = self.declared().map_or(needed, |length| PREFIX + length).max(needed);
            let room = (2 * self.joined.capacity()).clamp(needed, whole);
            self.joined.reserve_exact(room - self.joined.len());
        }
        self.joined.extend_from_slice(&data);
    }

    /// The length that the message is said to have.
    fn declared(&self) -> Option<usize> {
        let prefix: [u8; PREFIX] = self.bytes().get(..PREFIX)?.try_into().ok()?;
        let [_, length @ ..] = prefix;
        Some(u32::from_be_bytes(length) as usize)
    }

    fn check(&self, max_message: usize) -> Result<(), CacheError> {
        match self.declared() {
            Some(length) if length > max_message => {
                Err(CacheError::Exhausted { what: "message size", limit: max_message, retry_after: None })
            }
            Some(length) if self.len() > PREFIX + length => {
                Err(Violation::new("request", "must be one message; was more than one").into())
            }
            _ => Ok(()),
        }
    }

    fn message(self) -> Result<ReceivedMessage, CacheError> {
        if self.declared().is_none_or(|length| self.len() < PREFIX + length) {
            return Err(incomplete());
        }
        let mut prefix = if self.joined.is_empty() { self.first } else { Bytes::from(self.joined) };
        let message = prefix.split_off(PREFIX);
        Ok(ReceivedMessage { prefix, message })
    }
}

/// A request that has arrived: one message and its prefix.
pub struct ReceivedMessage {
    prefix: Bytes,
    message: Bytes,
}

impl ReceivedMessage {
    /// A message that is not compressed.
    pub fn new(message: Vec<u8>) -> ReceivedMessage {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        ReceivedMessage { prefix: Bytes::from([&[0], &length[..]].concat()), message: message.into() }
    }

    /// True if the caller says that it is compressed.
    pub fn is_compressed(&self) -> bool {
        self.prefix.first() == Some(&1)
    }

    /// The encoded message.
    pub fn bytes(&self) -> &[u8] {
        &self.message
    }
}

/// A request's body, as it is handed to the service.
pub enum RequestBody<B> {
    /// A message that has arrived. The prefix is a frame of its own, so that the decoder reserves exactly what the message needs.
    Whole(ReceivedMessage),
    /// A stream of messages.
    Stream {
        /// The body.
        body: B,
        /// What it holds.
        _taken: TakenAmounts,
    },
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            RequestBody::Whole(ReceivedMessage { prefix, message }) => {
                let next = if prefix.is_empty() { message } else { prefix };
                let next = std::mem::take(next);
                Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
            }
            RequestBody::Stream { body, .. } => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Whole(ReceivedMessage { prefix, message }) => prefix.is_empty() && message.is_empty(),
            RequestBody::Stream { body, .. } => body.is_end_stream(),
        }
    }
}

/// A response's body. A request keeps its place until the last byte is written: a caller that does not read holds a place, and memory that
/// counts.
pub struct TrackedResponseBody {
    body: tonic::body::Body,
    /// What was polled of the body in advance.
    first: Option<First>,
    counted: Option<CountedResponse>,
    span: Option<RpcSpan>,
}

/// The first frame of a body, or its end, with what it holds.
struct First(Option<Result<Frame<Bytes>, Status>>, Option<TakenAmounts>);

/// How the bytes of a response are counted.
#[derive(Clone)]
pub struct CountedResponse {
    /// The flow of the connection.
    pub flow: Arc<WriteProgress>,
    /// What they count as.
    pub resource: Resource,
    /// The place of the request. `None`: it needs none any more.
    pub place: Option<RequestSlot>,
}

/// A piece of a response, until it is written.
pub struct ResponseChunk {
    bytes: Bytes,
    written: Option<Unwritten>,
}

/// What a piece of a response holds until it is written.
struct Unwritten {
    flow: Arc<WriteProgress>,
    _taken: TakenAmounts,
    _place: Option<RequestSlot>,
}

// === impl Guarded ===

impl TrackedResponseBody {
    /// The body of a refusal, which has no bytes.
    pub(super) fn uncounted(body: tonic::body::Body) -> TrackedResponseBody {
        TrackedResponseBody { body, first: None, counted: None, span: None }
    }

    /// A body that counts from now on.
    pub(super) fn counted(body: tonic::body::Body, counted: CountedResponse) -> TrackedResponseBody {
        TrackedResponseBody { body, first: None, counted: Some(counted), span: None }
    }

    /// Takes the first message if it is there: encoded, its size is known. If `refusable` it needs room.
    pub(super) fn encode_first(&mut self, refusable: bool) -> Result<(), CacheError> {
        let Some(counted) = &self.counted else { return Ok(()) };
        if self.body.is_end_stream() {
            return Ok(());
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        // A body that is not ready is polled again by the connection, with a waker of its own.
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut context) else { return Ok(()) };
        let size = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map(resident);
        let account = counted.flow.account();
        let taken = match size {
            Some(size) if refusable => Some(account.take(counted.resource, size)?),
            size => size.map(|size| account.charge(counted.resource, size)),
        };
        self.first = Some(First(frame, taken));
        Ok(())
    }

    /// Ends the span when it ends.
    pub(super) fn traced(mut self, span: RpcSpan) -> TrackedResponseBody {
        self.span = Some(span);
        self
    }

    fn chunk(&self, bytes: Bytes, taken: Option<TakenAmounts>) -> ResponseChunk {
        let Some(counted) = self.counted.as_ref().filter(|_| !bytes.is_empty()) else {
            return ResponseChunk { bytes, written: None };
        };
        let flow = counted.flow.clone();
        let taken = taken.unwrap_or_else(|| flow.account().charge(counted.resource, resident(&bytes)));
        flow.waiting.fetch_add(1, Ordering::Relaxed);
        ResponseChunk { bytes, written: Some(Unwritten { flow, _taken: taken, _place: counted.place.clone() }) }
    }
}

/// Memory of an encoded message. Its buffer has exactly its size; the allocator rounds up by at most an eighth.
fn resident(bytes: &Bytes) -> usize {
    bytes.len() + bytes.len() / 8
}

impl Body for TrackedResponseBody {
    type Data = ResponseChunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ResponseChunk>, Status>>> {
        let First(mut frame, taken) = match self.first.take() {
            Some(first) => first,
            None => {
                // What is done for the body is done for the RPC.
                let within = self.span.as_ref().map_or(Span::none(), RpcSpan::span);
                First(ready!(within.in_scope(|| Pin::new(&mut self.body).poll_frame(context))), None)
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

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

// === impl Chunk ===

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
            unwritten.flow.moved.fetch_add(1, Ordering::Relaxed);
        }
        // HTTP/2 may keep the last piece of a connection until it writes another.
        if self.bytes.is_empty() {
            self.bytes = Bytes::new();
            self.written = None;
        }
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.flow.waiting.fetch_sub(1, Ordering::Relaxed);
        self.flow.moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// How the responses of one connection move, what the connection holds, and its streams.
pub struct WriteProgress {
    account: Arc<Account>,
    streams: Arc<Streams>,
    /// Pieces of responses that are not written.
    waiting: AtomicUsize,
    /// Grows when bytes are written.
    moved: AtomicU64,
}

impl WriteProgress {
    /// The flow of a new connection.
    pub fn new(account: Arc<Account>, streams: Streams) -> WriteProgress {
        let (waiting, moved) = (AtomicUsize::new(0), AtomicU64::new(0));
        WriteProgress { account, streams: Arc::new(streams), waiting, moved }
    }

    /// What the connection holds.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The limits of its streams.
    pub(super) fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Returns when responses wait and none has moved for `patience`: the peer does not read.
    pub(super) async fn stalled(&self, patience: Duration) {
        loop {
            let (waiting, moved) = (self.waiting.load(Ordering::Relaxed), self.moved.load(Ordering::Relaxed));
            sleep(patience).await;
            let still = self.waiting.load(Ordering::Relaxed) > 0 && self.moved.load(Ordering::Relaxed) == moved;
            if waiting > 0 && still {
                return;
            }
        }
    }
}
