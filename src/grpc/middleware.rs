//! Middleware of every RPC, also of health: admission, deadline, request size, panics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::time::{sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::decoded_size::Schema;
use super::decompression;
use super::method_names::{CallShape, Method};
use super::slow_requests::RequestTiming;
use super::status::status;
use super::tracked_body;
use super::tracked_body::{CountedResponse, ReadError, ReadOptions, RequestBody, TrackedResponseBody, WriteProgress};
use crate::cache::admission::limits::Resource;
use crate::cache::admission::slot::RequestSlot;
use crate::cache::error::{CacheError, Violation};
use crate::cache::quoted::quoted_bytes;

/// Time past the deadline after which an RPC is cancelled.
///
/// The core ends at the deadline itself, with a more precise error; this is for code that does not.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a request id that is echoed in the response.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// Memory of a request without its body: its stream and its task.
const REQUEST_OVERHEAD_BYTES: usize = 16 << 10;
/// Memory of a header without its name and value.
const HEADER_OVERHEAD_BYTES: usize = 64;
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

/// Serves one RPC until its deadline at most. The RPC takes a slot when its request is complete.
pub async fn serve<B, Call, Work>(
    gate: &AdmissionGate,
    progress: &Arc<WriteProgress>,
    closing: &CancellationToken,
    method: &Method,
    request: Request<B>,
    call: Call,
) -> Response<TrackedResponseBody>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    Call: FnOnce(Request<RequestBody<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let request_id = request.headers().get(REQUEST_ID).filter(|id| is_echoed(id)).cloned();
    let served = admit(gate, progress, closing, method, request, call).await;
    let mut response = served.unwrap_or_else(|error| refuse(&error));
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn admit<B, Call, Work>(
    gate: &AdmissionGate,
    progress: &Arc<WriteProgress>,
    closing: &CancellationToken,
    method: &Method,
    request: Request<B>,
    call: Call,
) -> Result<Response<TrackedResponseBody>, CacheError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    Call: FnOnce(Request<RequestBody<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let started_at = Instant::now();
    let client_timeout = client_timeout_of(request.headers())?;
    let deadline = started_at + client_timeout.unwrap_or(gate.max_deadline).min(gate.max_deadline);
    let (account, slots, bytes, max_message) = if method.is_probe() {
        (progress.account(), Resource::Probes, Resource::ProbeBytes, MAX_PROBE_MESSAGE_BYTES)
    } else {
        (progress.account(), Resource::Requests, Resource::Bytes, gate.max_request_size)
    };
    let mut taken = account.take(bytes, overhead(request.headers()))?;
    // A connection may have more streams than may be active. The others wait here, as they would at
    // the client. They are read first, because they share the connection's flow-control window with
    // the active ones. Health and reflection have slots of their own.
    let enter = async || {
        if method.is_probe() {
            return Ok(None);
        }
        let entered = timeout_at(deadline.into(), progress.streams().enter()).await;
        entered.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })
    };
    let (mut parts, body) = request.into_parts();
    let (permits, body, taken) = if method.shape == CallShape::RequestStream {
        let permits = (enter().await?, account.admit(slots)?);
        taken.grow(STREAM_WINDOW_BYTES)?;
        (permits, RequestBody::Stream { body, _taken: taken }, None)
    } else {
        let reading = ReadOptions { max_message, timeout: gate.body_timeout, deadline: deadline.into() };
        let message = tracked_body::read(body, reading, &mut taken).await.map_err(|unread| match unread {
            ReadError::Rejected(error) => error,
            ReadError::TimedOut => CacheError::Incomplete { limit: gate.body_timeout },
        })?;
        let message = decompression::unpack(message, &mut parts.headers, max_message, &mut taken)?;
        let permits = (enter().await?, account.admit(slots)?);
        // A message that is still compressed cannot be measured. It is rejected without being
        // decoded.
        if !message.is_compressed() {
            taken.grow(gate.schema.measure(method.input, message.bytes())?)?;
        }
        (permits, RequestBody::Whole(message), Some(taken))
    };
    // Long-lived RPCs and request streams do not count as slow.
    let slow_from = gate.slow_request.filter(|_| method.shape == CallShape::Bounded).map(|slow| started_at + slow);
    let timing = slow_from.map(|_| RequestTiming { path: parts.uri.clone(), started_at, queued: started_at.elapsed() });
    let slot = RequestSlot::slow_from(account.clone(), progress.streams().clone(), permits, slow_from);
    let slot = match taken {
        Some(taken) => slot.with_request(taken),
        None => slot,
    };
    let mut request = Request::from_parts(parts, body);
    let end = match method.shape {
        CallShape::LongLived => client_timeout.map(|client_timeout| started_at + client_timeout),
        CallShape::Bounded | CallShape::RequestStream => Some(deadline),
    };
    request.extensions_mut().insert(Deadline(deadline));
    request.extensions_mut().insert(StreamLifetime { closing: closing.clone(), deadline: end });
    request.extensions_mut().insert(slot.clone());
    let left = Deadline(deadline).left();
    let response = timeout(left + DEADLINE_MARGIN, catch_panic(call(request))).await;
    slot.end_request();
    if let Some(timing) = timing {
        timing.end(&slot, response.as_ref().ok());
    }
    let response = response.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })?;
    if let Some(error) = decode_error(&response, max_message) {
        return Err(error);
    }
    let is_watch = method.shape == CallShape::LongLived && !method.is_probe();
    if is_watch {
        slot.release();
    }
    let refusable = method.refusable && !slot.has_waited() && !slot.is_owed();
    let counted = CountedResponse { progress: progress.clone(), resource: bytes, slot: (!is_watch).then_some(slot) };
    let mut response = response.map(|body| TrackedResponseBody::counted(body, counted));
    if method.shape == CallShape::Bounded {
        response.body_mut().encode_first(refusable)?;
    }
    Ok(response)
}

/// Rejects a method that is not served.
pub fn unimplemented<B>(request: &Request<B>) -> Response<TrackedResponseBody> {
    let mut response = Status::unimplemented("").into_http::<Body>().map(TrackedResponseBody::uncounted);
    if let Some(id) = request.headers().get(REQUEST_ID).filter(|id| is_echoed(id)) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}

/// Returns the memory of a request without its body.
fn overhead(headers: &HeaderMap) -> usize {
    let size =
        |(name, value): (&HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES;
    REQUEST_OVERHEAD_BYTES + headers.iter().map(size).sum::<usize>()
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
        Err(_) => {
            tracing::error!("an RPC panicked");
            status(&CacheError::Internal).into_http()
        }
    }
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

fn refuse(error: &CacheError) -> Response<TrackedResponseBody> {
    status(error).into_http::<Body>().map(TrackedResponseBody::uncounted)
}

/// Returns true if a request id is echoed: visible ASCII of limited length.
fn is_echoed(id: &HeaderValue) -> bool {
    id.len() <= MAX_REQUEST_ID_BYTES && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Converts tonic's decoding error to a violation.
fn undecodable(message: &str) -> Violation {
    if message == "Missing request message." {
        return Violation::new("request", "must be one message; was none");
    }
    let cause = message.trim_start_matches("failed to decode Protobuf message: ");
    Violation::new("request", format!("cannot be read: {cause}"))
}

/// Parses the header grpc-timeout.
///
/// A malformed one is rejected: its caller would wait for `server.max_deadline`.
fn client_timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Violation> {
    const RULE: &str = "must be at most eight digits and a unit of H, M, S, m, u or n";
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong = || Violation::new("grpc-timeout", format!("{RULE}; was {}", quoted_bytes(value.as_bytes())));
    value.to_str().ok().and_then(parse_timeout).map(Some).ok_or_else(wrong)
}

/// Parses at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::cache::admission::limits::{Admission, AdmissionLimits};
    use crate::cache::admission::slot::Streams;
    use crate::cache::policy::Limits;
    use crate::grpc::method_names::ServiceKind;

    #[test]
    fn a_timeout_is_eight_digits_and_a_unit() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            client_timeout_of(&headers)
        };
        assert_eq!(client_timeout_of(&HeaderMap::new()), Ok(None));
        assert_eq!(parse("100m"), Ok(Some(Duration::from_millis(100))));
        assert_eq!(parse("99999999H"), Ok(Some(Duration::from_secs(99_999_999 * 3600))));
        assert_eq!(parse("5u"), Ok(Some(Duration::from_micros(5))));
        for bad in ["", "m", "100", "123456789m", "-1S", "1x", "1.5S", "1 S"] {
            let violation = parse(bad).expect_err(bad);
            assert_eq!(violation.field, "grpc-timeout");
            assert!(violation.description.ends_with(&format!("was {bad:?}")), "{violation:?}");
        }
    }

    fn gate() -> AdmissionGate {
        let schema = Schema::new(&Default::default(), &Limits::default());
        let second = Duration::from_secs(1);
        AdmissionGate { max_deadline: second, body_timeout: second, slow_request: None, max_request_size: 1024, schema }
    }

    /// A connection of a service with one slot.
    fn progress() -> Arc<WriteProgress> {
        progress_with(2, 0)
    }

    /// A connection with `streams` active streams, of a service with one slot and `waiting` waiting
    /// slots.
    fn progress_with(streams: usize, waiting: usize) -> Arc<WriteProgress> {
        let limits =
            AdmissionLimits { requests: 1, bytes: 64 << 10, probes: 1, connections: 1, waiting, peer_share: 0.8 };
        let load = Arc::new(Admission::new(limits));
        Arc::new(WriteProgress::new(load.account([127, 0, 0, 1].into()), Streams::new(streams, &load)))
    }

    const METHOD: Method =
        Method { service: ServiceKind::Cache, shape: CallShape::Bounded, input: usize::MAX, refusable: true };

    /// Serves a request with the message "hi".
    async fn serve_one<Work>(
        progress: &Arc<WriteProgress>,
        timeout: &'static str,
        call: impl FnOnce(Request<RequestBody<Full<Bytes>>>) -> Work,
    ) -> Response<TrackedResponseBody>
    where
        Work: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let mut request = Request::new(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")));
        request.headers_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
        serve(&gate(), progress, &CancellationToken::new(), &METHOD, request, call).await
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_its_own_rpc() {
        let progress = progress();
        let response = serve_one(&progress, "1S", |_| async { panic!("a bug") }).await;
        assert_eq!(response.headers()["grpc-status"], "13");
        drop(response);
        assert_eq!(progress.account().load().in_flight(), 0);
    }

    #[tokio::test]
    async fn a_request_holds_its_slot_until_its_last_byte_is_written() {
        let progress = progress();
        let load = progress.account().load().clone();
        let call = |_| async { Ok(Response::new(Body::new(Full::new(Bytes::from_static(b"abc"))))) };
        let mut first = serve_one(&progress, "1S", call).await;
        let second = serve_one(&progress, "1S", call).await;
        assert_eq!(second.headers()["grpc-status"], "8");
        assert_eq!((load.in_flight(), load.shed()), (1, 1));
        let frame = first.body_mut().frame().await.expect("a frame").expect("no error");
        let mut chunk = frame.into_data().ok().expect("data");
        drop(first);
        assert_eq!((load.in_flight(), load.bytes()), (1, 3));
        chunk.advance(2);
        assert_eq!((load.in_flight(), load.bytes()), (1, 3));
        chunk.advance(1);
        assert_eq!((load.in_flight(), load.bytes()), (0, 0));
        let third = serve_one(&progress, "1S", call).await;
        assert!(third.headers().get("grpc-status").is_none());
    }

    #[tokio::test]
    async fn a_waiting_request_frees_its_slot_and_its_stream() {
        let progress = progress_with(1, 1);
        let load = progress.account().load().clone();
        let waits = |request: Request<RequestBody<Full<Bytes>>>| async move {
            let slot = request.extensions().get::<RequestSlot>().expect("a slot");
            Ok(match slot.wait() {
                Ok(()) => Response::new(Body::empty()),
                Err(error) => status(&error).into_http(),
            })
        };
        let works = |_| async { Ok(Response::new(Body::empty())) };
        let waiting = serve_one(&progress, "1S", waits).await;
        assert_eq!((load.in_flight(), load.waiting()), (0, 1));
        let working = serve_one(&progress, "1S", works).await;
        assert!(working.headers().get("grpc-status").is_none());
        assert_eq!((load.in_flight(), load.waiting()), (1, 1));
        // A stream above the connection's limit waits until another ends. There is one waiting slot
        // only.
        let mut third = std::pin::pin!(serve_one(&progress, "10S", waits));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(working);
        let third = third.await;
        assert_eq!(third.headers()["grpc-status"], "8");
        drop((waiting, third));
        assert_eq!((load.in_flight(), load.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_large_response_is_rejected_without_room() {
        let progress = progress();
        let large = Bytes::from(vec![0; 62 << 10]);
        let call = |_| async { Ok(Response::new(Body::new(Full::new(large)))) };
        let response = serve_one(&progress, "1S", call).await;
        assert_eq!(response.headers()["grpc-status"], "8");
        assert_eq!(progress.account().load().bytes(), 0);
    }

    #[tokio::test]
    async fn an_expired_deadline_is_deadline_exceeded() {
        let response = serve_one(&progress(), "1m", |_| std::future::pending()).await;
        assert_eq!(response.headers()["grpc-status"], "4");
    }

    #[tokio::test]
    async fn an_undecodable_request_is_invalid_argument() {
        let call = |_| async { Ok(Status::internal("invalid wire type").into_http()) };
        assert_eq!(serve_one(&progress(), "1S", call).await.headers()["grpc-status"], "3");
        let call = |_| async { Ok(status(&CacheError::Internal).into_http()) };
        assert_eq!(serve_one(&progress(), "1S", call).await.headers()["grpc-status"], "13");
    }
}
