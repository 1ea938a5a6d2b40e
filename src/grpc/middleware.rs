//! Middleware of every RPC, also of health: admission, deadline, request size, panics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::access::{ConnectionAccess, RequestAccess};
use super::decoded_size::Schema;
use super::decompression;
use super::method_names::{CallShape, Method};
use super::request_body;
use super::request_body::{ReadError, ReadOptions, RequestBody};
use super::request_headers::{REQUEST_ID, client_timeout_of, echoed_id, overhead};
use super::slow_requests::RequestTiming;
use super::status::status;
use super::tracked_body::{CountedResponse, TrackedResponseBody, WriteProgress};
use crate::auth::{LimitedUse, UsageGuard};
use crate::cache::admission::limits::{RequestPermit, TakenAmounts};
use crate::cache::admission::resource::Resource;
use crate::cache::admission::slot::RequestSlot;
use crate::cache::error::{CacheError, Violation};

/// Time past the deadline after which an RPC is cancelled.
///
/// The core ends at the deadline itself, with a more precise error; this is for code that does not.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(5);
/// Maximum size of a message of a health or reflection call.
pub const MAX_PROBE_MESSAGE_BYTES: usize = 64 << 10;
/// Bytes that a request stream can hold in memory: the flow-control window of its connection.
const STREAM_WINDOW_BYTES: usize = 1 << 20;

/// Deadline of an RPC: the caller's, capped by the service. Stored in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the remaining time.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// When a long-lived RPC has to end. Stored in the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct StreamLifetime {
    /// Cancelled when the connection shuts down.
    pub closing: CancellationToken,
    /// The caller's deadline, if it sent one.
    pub deadline: Option<Instant>,
}

/// The limits that every RPC is checked against.
pub struct AdmissionGate {
    /// Maximum duration of an RPC, also if the caller's timeout is longer.
    pub max_deadline: Duration,
    /// Timeout for the body of a request.
    pub body_timeout: Duration,
    /// Minimum duration of a request that is logged as slow.
    ///
    /// `None` if slow requests are not logged.
    pub slow_request: Option<Duration>,
    /// Maximum size of a request in bytes.
    pub max_request_size: usize,
    /// The message types of requests.
    pub schema: Schema,
}

/// The RPC that the middleware serves, and the state of its connection.
#[derive(Clone, Copy)]
pub struct RpcContext<'a> {
    /// The limits of the service.
    pub gate: &'a AdmissionGate,
    /// Write progress of the connection.
    pub progress: &'a Arc<WriteProgress>,
    /// Cancelled when the connection shuts down.
    pub closing: &'a CancellationToken,
    /// The callers of the connection.
    pub access: &'a Arc<ConnectionAccess>,
    /// The method.
    pub method: &'a Method,
}

/// Start and deadline of an RPC.
#[derive(Clone, Copy)]
struct RpcTimes {
    started_at: Instant,
    client_timeout: Option<Duration>,
    deadline: Instant,
}

/// Places of a request: on its connection, at the replica, and of its identity.
type Permits = (Option<OwnedSemaphorePermit>, RequestPermit, Option<UsageGuard>);

/// A request that was received within the limits, and what it takes of them.
struct ReceivedRequest<B> {
    request: Request<RequestBody<B>>,
    permits: Permits,
    /// Memory of the request. `None` if its body keeps it.
    taken: Option<TakenAmounts>,
}

/// Serves one RPC until its deadline at most. The RPC takes a slot when its request is complete.
pub async fn serve<B, Call, Work>(rpc: RpcContext<'_>, request: Request<B>, call: Call) -> Response<TrackedResponseBody>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    Call: FnOnce(Request<RequestBody<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let request_id = echoed_id(request.headers());
    let mut response = admit(rpc, request, call).await.unwrap_or_else(|error| refuse(&error));
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn admit<B, Call, Work>(
    rpc: RpcContext<'_>,
    request: Request<B>,
    call: Call,
) -> Result<Response<TrackedResponseBody>, CacheError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    Call: FnOnce(Request<RequestBody<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    // First: a caller without a credential gets no other answer.
    let access = RequestAccess::find(rpc.access, rpc.method, request.headers())?;
    let times = RpcTimes::begin(rpc.gate, request.headers())?;
    let ReceivedRequest { mut request, permits, taken } = rpc.receive(times, request, access.as_ref()).await?;
    // Long-lived RPCs and request streams do not count as slow.
    let slow = rpc.gate.slow_request.filter(|_| rpc.method.shape == CallShape::Bounded);
    let slow_from = slow.map(|slow| times.started_at + slow);
    let timing = slow_from.map(|_| RequestTiming {
        path: request.uri().clone(),
        started_at: times.started_at,
        queued: times.started_at.elapsed(),
    });
    let (account, streams) = (rpc.progress.account().clone(), rpc.progress.streams().clone());
    let slot = RequestSlot::slow_from(account, streams, permits, slow_from);
    let slot = match taken {
        Some(taken) => slot.with_request(taken),
        None => slot,
    };
    let deadline = Deadline(times.deadline);
    request.extensions_mut().insert(deadline);
    request.extensions_mut().insert(rpc.lifetime(times));
    request.extensions_mut().insert(slot.clone());
    let caller = RequestAccess::caller_key(access.as_ref(), slot.account().address());
    if let Some(access) = access {
        request.extensions_mut().insert(access);
    }
    let response = timeout(deadline.left() + DEADLINE_MARGIN, caller.scope(catch_panic(call(request)))).await;
    slot.end_request();
    if let Some(timing) = timing {
        timing.end(&slot, response.as_ref().ok());
    }
    let response = response.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })?;
    match decode_error(&response, rpc.max_message()) {
        Some(error) => Err(error),
        None => rpc.count(slot, response),
    }
}

// === impl RpcTimes ===

impl RpcTimes {
    fn begin(gate: &AdmissionGate, headers: &HeaderMap) -> Result<RpcTimes, CacheError> {
        let started_at = Instant::now();
        let client_timeout = client_timeout_of(headers)?;
        let deadline = started_at + client_timeout.unwrap_or(gate.max_deadline).min(gate.max_deadline);
        Ok(RpcTimes { started_at, client_timeout, deadline })
    }
}

// === impl RpcContext ===

impl RpcContext<'_> {
    /// Receives the request, and takes its memory and its slot.
    async fn receive<B>(
        self,
        times: RpcTimes,
        request: Request<B>,
        access: Option<&RequestAccess>,
    ) -> Result<ReceivedRequest<B>, CacheError>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let mut taken = self.progress.account().take(self.bytes(), overhead(request.headers()))?;
        let (mut parts, body) = request.into_parts();
        if self.method.shape == CallShape::RequestStream {
            let permits = self.enter(times, access).await?;
            taken.grow(STREAM_WINDOW_BYTES)?;
            let request = Request::from_parts(parts, RequestBody::Stream { body, _taken: taken });
            return Ok(ReceivedRequest { request, permits, taken: None });
        }
        let (max_message, timeout) = (self.max_message(), self.gate.body_timeout);
        let reading = ReadOptions { max_message, timeout, deadline: times.deadline.into() };
        let message = request_body::read(body, reading, &mut taken).await.map_err(|unread| match unread {
            ReadError::Rejected(error) => error,
            ReadError::TimedOut => CacheError::Incomplete { limit: timeout },
        })?;
        let message = decompression::unpack(message, &mut parts.headers, max_message, &mut taken)?;
        let permits = self.enter(times, access).await?;
        // A message that is still compressed cannot be measured. It is rejected without being
        // decoded.
        if !message.is_compressed() {
            taken.grow(self.gate.schema.measure(self.method.input, message.bytes())?)?;
        }
        let request = Request::from_parts(parts, RequestBody::Whole(message));
        Ok(ReceivedRequest { request, permits, taken: Some(taken) })
    }

    /// Waits for an active stream, and takes a slot.
    ///
    /// A connection may have more streams than may be active. The others wait here, as they would at
    /// the client. They are read first, because they share the connection's flow-control window with
    /// the active ones. Health and reflection have slots of their own.
    async fn enter(self, times: RpcTimes, access: Option<&RequestAccess>) -> Result<Permits, CacheError> {
        let of_identity = access.map_or(Ok(None), |access| access.begin(LimitedUse::InFlight))?;
        let account = self.progress.account();
        if self.method.is_probe() {
            let is_watch = self.method.shape == CallShape::LongLived;
            let resource = if is_watch { Resource::HealthWatches } else { Resource::Probes };
            return Ok((None, account.admit(resource)?, of_identity));
        }
        let entered = timeout_at(times.deadline.into(), self.progress.streams().enter()).await;
        let stream = entered.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })?;
        Ok((stream, account.admit(Resource::Requests)?, of_identity))
    }

    /// Counts the bytes of a response until they are written.
    fn count(self, slot: RequestSlot, response: Response<Body>) -> Result<Response<TrackedResponseBody>, CacheError> {
        let is_watch = self.method.shape == CallShape::LongLived && !self.method.is_probe();
        if is_watch {
            slot.release();
        }
        let refusable = self.method.refusable && !slot.has_waited() && !slot.is_owed();
        let (progress, slot) = (self.progress.clone(), (!is_watch).then_some(slot));
        let counted = CountedResponse { progress, resource: self.bytes(), slot };
        let mut response = response.map(|body| TrackedResponseBody::counted(body, counted));
        if self.method.shape == CallShape::Bounded {
            response.body_mut().encode_first(refusable)?;
        }
        Ok(response)
    }

    fn lifetime(self, times: RpcTimes) -> StreamLifetime {
        let deadline = match self.method.shape {
            CallShape::LongLived => times.client_timeout.map(|timeout| times.started_at + timeout),
            CallShape::Bounded | CallShape::RequestStream => Some(times.deadline),
        };
        StreamLifetime { closing: self.closing.clone(), deadline }
    }

    /// Returns the resource that the bytes of the RPC count as.
    fn bytes(self) -> Resource {
        if self.method.is_probe() { Resource::ProbeBytes } else { Resource::Bytes }
    }

    /// Returns the maximum size of a message of the request.
    fn max_message(self) -> usize {
        if self.method.is_probe() { MAX_PROBE_MESSAGE_BYTES } else { self.gate.max_request_size }
    }
}

/// Completes when a long-lived RPC has to end: with a status at its deadline, with `None` when its
/// connection shuts down.
pub async fn stream_end(lifetime: &StreamLifetime) -> Option<Status> {
    let deadline = async {
        match lifetime.deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = lifetime.closing.cancelled() => None,
        () = deadline => Some(status(&CacheError::DeadlineExceeded { outcome_unknown_for: None })),
    }
}

/// Turns a panic of an RPC into INTERNAL. Other RPCs continue.
async fn catch_panic<Work>(work: Work) -> Response<Body>
where
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    match std::panic::AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => status(&panicked()).into_http(),
    }
}

/// Logs the panic of an RPC, and returns its error.
pub fn panicked() -> CacheError {
    tracing::error!("an RPC panicked");
    CacheError::Internal
}

/// Returns the error of a request that tonic could not decode.
fn decode_error<B>(response: &Response<B>, max_message: usize) -> Option<CacheError> {
    error_of_tonic(&Status::from_header_map(response.headers())?, max_message)
}

/// Returns our status for a stream message that tonic could not decode.
pub fn restate(status_of_tonic: &Status) -> Option<Status> {
    error_of_tonic(status_of_tonic, MAX_PROBE_MESSAGE_BYTES).map(|error| status(&error))
}

/// Returns the error for a message that tonic could not decode.
///
/// Statuses of tonic have no details; ours do.
fn error_of_tonic(status_of_tonic: &Status, max_message: usize) -> Option<CacheError> {
    match status_of_tonic.code() {
        _ if !status_of_tonic.details().is_empty() => None,
        // The message is too large as received or decompressed.
        Code::OutOfRange | Code::ResourceExhausted => {
            Some(CacheError::Exhausted { what: "message size", limit: max_message, retry_after: None })
        }
        Code::Internal => Some(undecodable(status_of_tonic.message()).into()),
        _ => None,
    }
}

/// Returns the response to a request that failed.
pub fn refuse(error: &CacheError) -> Response<TrackedResponseBody> {
    status(error).into_http::<Body>().map(TrackedResponseBody::uncounted)
}

/// Converts tonic's decoding error to a violation.
fn undecodable(message: &str) -> Violation {
    if message == "Missing request message." {
        return Violation::new("request", "must be one message; was none");
    }
    let cause = message.trim_start_matches("failed to decode Protobuf message: ");
    Violation::new("request", format!("cannot be read: {cause}"))
}

#[cfg(test)]
#[path = "middleware_tests.rs"]
mod tests;
