//! Bodies of requests: read whole before they are served, and counted while they are in memory.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::cache::admission::limits::TakenAmounts;
use crate::cache::error::{CacheError, Violation};

/// Bytes before a message: the compression flag and the length.
pub const PREFIX_BYTES: usize = 5;
/// Received bytes that extend the timeout of a body by its full length, so that a caller on a slow
/// connection is not cut off while it makes progress.
const EXTENSION_BYTES: usize = 64 << 10;

/// Limits for reading the body of a request.
#[derive(Clone, Copy)]
pub struct ReadOptions {
    /// Maximum size of the message in bytes.
    pub max_message: usize,
    /// Timeout for the next 64 KiB, or for the end of the body.
    pub timeout: Duration,
    /// The deadline of the request.
    pub deadline: Instant,
}

/// Reason why a request was not read.
pub enum ReadError {
    /// It is invalid or exceeds a limit, or its deadline passed.
    Rejected(CacheError),
    /// It was not complete before the timeout.
    TimedOut,
}

impl From<CacheError> for ReadError {
    fn from(error: CacheError) -> Self {
        ReadError::Rejected(error)
    }
}

/// Reads the only message of a request. Adds its bytes to `taken` as they arrive.
pub async fn read<B>(mut body: B, reading: ReadOptions, taken: &mut TakenAmounts) -> Result<ReceivedMessage, ReadError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let started_at = Instant::now();
    let mut received = ReceivedBytes::default();
    loop {
        let extensions = 1 + u32::try_from(received.len() / EXTENSION_BYTES).unwrap_or(u32::MAX - 1);
        let read_deadline = started_at + reading.timeout.saturating_mul(extensions).min(Duration::from_secs(1 << 20));
        let frame = match timeout_at(read_deadline.min(reading.deadline), body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(received.message()?),
            // The caller reset the stream or its connection broke: no one reads the response.
            Ok(Some(Err(_))) => return Err(ReadError::Rejected(incomplete())),
            Err(_) if read_deadline < reading.deadline => return Err(ReadError::TimedOut),
            Err(_) => return Err(ReadError::Rejected(CacheError::DeadlineExceeded { outcome_unknown_for: None })),
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

/// The received part of a body: a single frame uncopied, several frames copied together.
///
/// A frame can keep a much larger read buffer alive.
#[derive(Default)]
struct ReceivedBytes {
    first: Bytes,
    joined: Vec<u8>,
}

impl ReceivedBytes {
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
        // Doubles like a vector, but never beyond the declared size of the message.
        let needed = self.joined.len() + data.len();
        if needed > self.joined.capacity() {
            let whole = self.declared().map_or(needed, |length| PREFIX_BYTES + length).max(needed);
            let room = (2 * self.joined.capacity()).clamp(needed, whole);
            self.joined.reserve_exact(room - self.joined.len());
        }
        self.joined.extend_from_slice(&data);
    }

    /// Returns the declared length of the message.
    fn declared(&self) -> Option<usize> {
        let prefix: [u8; PREFIX_BYTES] = self.bytes().get(..PREFIX_BYTES)?.try_into().ok()?;
        let [_, length @ ..] = prefix;
        Some(u32::from_be_bytes(length) as usize)
    }

    fn check(&self, max_message: usize) -> Result<(), CacheError> {
        match self.declared() {
            Some(length) if length > max_message => {
                Err(CacheError::Exhausted { what: "message size", limit: max_message, retry_after: None })
            }
            Some(length) if self.len() > PREFIX_BYTES + length => {
                Err(Violation::new("request", "must be one message; was more than one").into())
            }
            _ => Ok(()),
        }
    }

    fn message(self) -> Result<ReceivedMessage, CacheError> {
        if self.declared().is_none_or(|length| self.len() < PREFIX_BYTES + length) {
            return Err(incomplete());
        }
        let mut prefix = if self.joined.is_empty() { self.first } else { Bytes::from(self.joined) };
        let message = prefix.split_off(PREFIX_BYTES);
        Ok(ReceivedMessage { prefix, message })
    }
}

/// A received message and its prefix.
pub struct ReceivedMessage {
    prefix: Bytes,
    message: Bytes,
}

impl ReceivedMessage {
    /// Creates a message that is not compressed.
    pub fn new(message: Vec<u8>) -> ReceivedMessage {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        ReceivedMessage { prefix: Bytes::from([&[0], &length[..]].concat()), message: message.into() }
    }

    /// Returns true if the message is flagged as compressed.
    pub fn is_compressed(&self) -> bool {
        self.prefix.first() == Some(&1)
    }

    /// Returns the encoded message.
    pub fn bytes(&self) -> &[u8] {
        &self.message
    }
}

/// Result of the first poll of a body. `None` if it was not polled, or had nothing to give.
pub struct PeekedFrame<E>(Option<Option<Result<Frame<Bytes>, E>>>);

impl<E> PeekedFrame<E> {
    /// The frame of a body that is not polled yet.
    pub const NONE: PeekedFrame<E> = PeekedFrame(None);

    /// Returns the content of `body` if all of it has arrived in one frame.
    pub fn whole<B>(&mut self, body: &mut B) -> Option<&Bytes>
    where
        B: Body<Data = Bytes, Error = E> + Unpin,
    {
        // A body that is not ready is polled again, with the waker of its task.
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            self.0 = Some(frame);
        }
        let data = self.0.as_ref()?.as_ref()?.as_ref().ok()?.data_ref()?;
        body.is_end_stream().then_some(data)
    }
}

/// A body whose first frame may have been read.
pub struct PeekedBody<B: Body> {
    /// The result of its first poll.
    pub first: PeekedFrame<B::Error>,
    /// The rest.
    pub rest: B,
}

impl<B> Body for PeekedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.first.0.take() {
            Some(first) => Poll::Ready(first),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.0.is_none() && self.rest.is_end_stream()
    }
}

/// The body of a request as the service receives it.
pub enum RequestBody<B> {
    /// A received message.
    ///
    /// The prefix is a frame of its own, so that the decoder reserves exactly the size of the
    /// message.
    Whole(ReceivedMessage),
    /// A stream of messages.
    Stream {
        /// The body.
        body: B,
        /// Memory that is counted for it.
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
