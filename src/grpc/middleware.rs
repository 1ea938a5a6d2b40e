//! The guard before every RPC, health and reflection included: admission, the deadline, the size of the request, and a net for panics.

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
use super::slow_requests::Course;
use super::status::status;
use super::tracked_body;
use super::tracked_body::{CountedResponse, ReadOptions, RequestBody, TrackedResponseBody, Unread, WriteProgress};
use crate::cache::admission::limits::Resource;
use crate::cache::admission::slot::RequestSlot;
use crate::cache::error::{CacheError, Violation};
use crate::cache::quoted::quoted_bytes;

/// The core ends at the deadline by itself, and says more; this is for what does not.
const NET: Duration = Duration::from_millis(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that comes back with the response, bytes.
const REQUEST_ID_SIZE: usize = 128;
/// Memory of a request beside its body: its stream and its task.
const OVERHEAD: usize = 16 << 10;
/// Memory of a header beside its name and value.
const HEADER_OVERHEAD: usize = 64;
/// Largest message of a health or reflection call.
pub const MAX_PROBE_MESSAGE: usize = 64 << 10;
/// Bytes that a stream of requests can have in memory: the window of its connection.
const MAX_UNREAD: usize = 1 << 20;

/// When the caller, or the service's own cap, ends an RPC. In the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Time left.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// When an RPC that may last has to end. In the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct StreamLifetime {
    /// Its connection is asked to go.
    pub going: CancellationToken,
    /// When its caller leaves, if that was said.
    pub deadline: Option<Instant>,
}

/// What every RPC has to pass.
pub struct AdmissionGate {
    /// Longest an RPC may take, whatever its caller says.
    pub max_deadline: Duration,
    /// Longest time for the body of a request.
    pub body_timeout: Duration,
    /// Duration from which on a request is logged; none: no request is.
    pub slow_request: Option<Duration>,
    /// Largest request that is read.
    pub max_request_size: usize,
    /// The messages of requests.
    pub schema: Schema,
}

/// Serves one RPC, no longer than its caller waits. It takes a place when its request is complete.
pub async fn serve<B, Call, Work>(
    gate: &AdmissionGate,
    flow: &Arc<WriteProgress>,
    going: &CancellationToken,
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
    let served = admit(gate, flow, going, method, request, call).await;
    let mut response = served.unwrap_or_else(|error| refuse(&error));
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn admit<B, Call, Work>(
    gate: &AdmissionGate,
    flow: &Arc<WriteProgress>,
    going: &CancellationToken,
    method: &Method,
    request: Request<B>,
    call: Call,
) -> Result<Response<TrackedResponseBody>, CacheError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    Call: FnOnce(Request<RequestBody<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let begun = Instant::now();
    let asked = timeout_of(request.headers())?;
    let deadline = begun + asked.unwrap_or(gate.max_deadline).min(gate.max_deadline);
    let (account, places, bytes, max_message) = match method.is_probe() {
        true => (flow.account(), Resource::Probes, Resource::ProbeBytes, MAX_PROBE_MESSAGE),
        false => (flow.account(), Resource::Requests, Resource::Bytes, gate.max_request_size),
    };
    let mut taken = account.take(bytes, overhead(request.headers()))?;
    // A connection may have more streams than may be in work: the others wait, as they would at the client. They are read before, as they
    // share the window of their connection with those in work. Health and reflection have places of their own.
    let enter = async || {
        if method.is_probe() {
            return Ok(None);
        }
        let entered = timeout_at(deadline.into(), flow.streams().enter()).await;
        entered.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })
    };
    let (mut parts, body) = request.into_parts();
    let (permits, body, taken) = if method.shape == CallShape::Conversation {
        let permits = (enter().await?, account.admit(places)?);
        taken.grow(MAX_UNREAD)?;
        (permits, RequestBody::Stream { body, _taken: taken }, None)
    } else {
        let reading = ReadOptions { max_message, patience: gate.body_timeout, deadline: deadline.into() };
        let message = tracked_body::read(body, reading, &mut taken).await.map_err(|unread| match unread {
            Unread::Refused(error) => error,
            Unread::Late => CacheError::Incomplete { limit: gate.body_timeout },
        })?;
        let message = decompression::unpack(message, &mut parts.headers, max_message, &mut taken)?;
        let permits = (enter().await?, account.admit(places)?);
        // What is still compressed cannot be read: it is refused without being decoded.
        if !message.is_compressed() {
            taken.grow(gate.schema.measure(method.input, message.bytes())?)?;
        }
        (permits, RequestBody::Whole(message), Some(taken))
    };
    // What lasts, and what waits for its caller, is not slow.
    let slow_from = gate.slow_request.filter(|_| method.shape == CallShape::Answered).map(|slow| begun + slow);
    let course = slow_from.map(|_| Course { path: parts.uri.clone(), begun, queued: begun.elapsed() });
    let place = RequestSlot::slow_from(account.clone(), flow.streams().clone(), permits, slow_from);
    let place = match taken {
        Some(taken) => place.with_request(taken),
        None => place,
    };
    let mut request = Request::from_parts(parts, body);
    let end = match method.shape {
        CallShape::Lasting => asked.map(|asked| begun + asked),
        CallShape::Answered | CallShape::Conversation => Some(deadline),
    };
    request.extensions_mut().insert(Deadline(deadline));
    request.extensions_mut().insert(StreamLifetime { going: going.clone(), deadline: end });
    request.extensions_mut().insert(place.clone());
    let left = Deadline(deadline).left();
    let response = timeout(left + NET, caught(call(request))).await;
    place.end_request();
    if let Some(course) = course {
        course.end(&place, response.as_ref().ok());
    }
    let response = response.map_err(|_| CacheError::DeadlineExceeded { outcome_unknown_for: None })?;
    if let Some(error) = unread(&response, max_message) {
        return Err(error);
    }
    let is_watch = method.shape == CallShape::Lasting && !method.is_probe();
    if is_watch {
        place.release();
    }
    let refusable = method.refusable && !place.has_waited() && !place.is_owed();
    let counted = CountedResponse { flow: flow.clone(), resource: bytes, place: (!is_watch).then_some(place) };
    let mut response = response.map(|body| TrackedResponseBody::counted(body, counted));
    if method.shape == CallShape::Answered {
        response.body_mut().encode_first(refusable)?;
    }
    Ok(response)
}

/// Refuses a method that is not served.
pub fn unimplemented<B>(request: &Request<B>) -> Response<TrackedResponseBody> {
    let mut response = Status::unimplemented("").into_http::<Body>().map(TrackedResponseBody::uncounted);
    if let Some(id) = request.headers().get(REQUEST_ID).filter(|id| is_echoed(id)) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}

/// Memory of a request before its body.
fn overhead(headers: &HeaderMap) -> usize {
    let size = |(name, value): (&HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + HEADER_OVERHEAD;
    OVERHEAD + headers.iter().map(size).sum::<usize>()
}

/// Returns when an RPC that lasts has to end: with a status at its deadline, without one when its connection is asked to go.
pub async fn end(leave: &StreamLifetime) -> Option<Status> {
    let deadline = async {
        match leave.deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = leave.going.cancelled() => None,
        () = deadline => Some(status(&CacheError::DeadlineExceeded { outcome_unknown_for: None })),
    }
}

/// A panic ends its own RPC only.
async fn caught<Work>(work: Work) -> Response<Body>
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

/// A request that tonic could not read, in words of our own.
fn unread<B>(response: &Response<B>, max_message: usize) -> Option<CacheError> {
    cause(&Status::from_header_map(response.headers())?, max_message)
}

/// The status of a message of a stream that tonic could not read, in words of our own.
pub fn restated(said: &Status) -> Option<Status> {
    cause(said, MAX_PROBE_MESSAGE).map(|error| status(&error))
}

/// Why tonic could not read a message. Its statuses are told from ours by having no details.
fn cause(said: &Status, max_message: usize) -> Option<CacheError> {
    match said.code() {
        _ if !said.details().is_empty() => None,
        // As it arrived, or as it unpacks.
        Code::OutOfRange | Code::ResourceExhausted => {
            Some(CacheError::Exhausted { what: "message size", limit: max_message, retry_after: None })
        }
        Code::Internal => Some(unreadable(said.message()).into()),
        _ => None,
    }
}

fn refuse(error: &CacheError) -> Response<TrackedResponseBody> {
    status(error).into_http::<Body>().map(TrackedResponseBody::uncounted)
}

/// Returns whether a request id comes back with the response: one of visible ASCII and of a sensible length.
fn is_echoed(id: &HeaderValue) -> bool {
    id.len() <= REQUEST_ID_SIZE && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// A request that tonic could not read, as a broken rule.
fn unreadable(said: &str) -> Violation {
    if said == "Missing request message." {
        return Violation::new("request", "must be one message; was none");
    }
    let cause = said.trim_start_matches("failed to decode Protobuf message: ");
    Violation::new("request", format!("cannot be read: {cause}"))
}

/// The header grpc-timeout. One that is malformed is refused: its caller would wait for `server.max_deadline`.
fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Violation> {
    const RULE: &str = "must be at most eight digits and a unit of H, M, S, m, u or n";
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong = || Violation::new("grpc-timeout", format!("{RULE}; was {}", quoted_bytes(value.as_bytes())));
    value.to_str().ok().and_then(parse_timeout).map(Some).ok_or_else(wrong)
}

/// At most eight digits and a unit.
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
    use crate::grpc::method_names::Served;

    #[test]
    fn a_timeout_is_eight_digits_and_a_unit() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            timeout_of(&headers)
        };
        assert_eq!(timeout_of(&HeaderMap::new()), Ok(None));
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

    /// A connection of a service with one place.
    fn flow() -> Arc<WriteProgress> {
        flow_of(2, 0)
    }

    /// A connection with so many streams in work, of a service with one place and so many waiting places.
    fn flow_of(streams: usize, waiting: usize) -> Arc<WriteProgress> {
        let limits =
            AdmissionLimits { requests: 1, bytes: 64 << 10, probes: 1, connections: 1, waiting, peer_share: 0.8 };
        let load = Arc::new(Admission::new(limits));
        Arc::new(WriteProgress::new(load.account([127, 0, 0, 1].into()), Streams::new(streams, &load)))
    }

    const METHOD: Method =
        Method { service: Served::Cache, shape: CallShape::Answered, input: usize::MAX, refusable: true };

    /// Serves a request with the message "hi".
    async fn serve_one<Work>(
        flow: &Arc<WriteProgress>,
        timeout: &'static str,
        call: impl FnOnce(Request<RequestBody<Full<Bytes>>>) -> Work,
    ) -> Response<TrackedResponseBody>
    where
        Work: Future<Output = Result<Response<Body>, Infallible>>,
    {
        let mut request = Request::new(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")));
        request.headers_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
        serve(&gate(), flow, &CancellationToken::new(), &METHOD, request, call).await
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_its_own_rpc() {
        let flow = flow();
        let response = serve_one(&flow, "1S", |_| async { panic!("a bug") }).await;
        assert_eq!(response.headers()["grpc-status"], "13");
        drop(response);
        assert_eq!(flow.account().load().in_flight(), 0);
    }

    #[tokio::test]
    async fn a_request_holds_its_place_until_its_last_byte_is_written() {
        let flow = flow();
        let load = flow.account().load().clone();
        let call = |_| async { Ok(Response::new(Body::new(Full::new(Bytes::from_static(b"abc"))))) };
        let mut first = serve_one(&flow, "1S", call).await;
        let second = serve_one(&flow, "1S", call).await;
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
        let third = serve_one(&flow, "1S", call).await;
        assert!(third.headers().get("grpc-status").is_none());
    }

    #[tokio::test]
    async fn a_request_that_waits_gives_its_place_and_its_stream_to_others() {
        let flow = flow_of(1, 1);
        let load = flow.account().load().clone();
        let waits = |request: Request<RequestBody<Full<Bytes>>>| async move {
            let place = request.extensions().get::<RequestSlot>().expect("a place");
            Ok(match place.wait() {
                Ok(()) => Response::new(Body::empty()),
                Err(error) => status(&error).into_http(),
            })
        };
        let works = |_| async { Ok(Response::new(Body::empty())) };
        let waiting = serve_one(&flow, "1S", waits).await;
        assert_eq!((load.in_flight(), load.waiting()), (0, 1));
        let working = serve_one(&flow, "1S", works).await;
        assert!(working.headers().get("grpc-status").is_none());
        assert_eq!((load.in_flight(), load.waiting()), (1, 1));
        // A stream beyond those of the connection waits until another ends, and a waiting place is not to be had twice.
        let mut third = std::pin::pin!(serve_one(&flow, "10S", waits));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(working);
        let third = third.await;
        assert_eq!(third.headers()["grpc-status"], "8");
        drop((waiting, third));
        assert_eq!((load.in_flight(), load.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_large_response_is_refused_where_there_is_no_room() {
        let flow = flow();
        let large = Bytes::from(vec![0; 62 << 10]);
        let call = |_| async { Ok(Response::new(Body::new(Full::new(large)))) };
        let response = serve_one(&flow, "1S", call).await;
        assert_eq!(response.headers()["grpc-status"], "8");
        assert_eq!(flow.account().load().bytes(), 0);
    }

    #[tokio::test]
    async fn an_expired_deadline_says_so() {
        let response = serve_one(&flow(), "1m", |_| std::future::pending()).await;
        assert_eq!(response.headers()["grpc-status"], "4");
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_read_is_the_callers_mistake() {
        let call = |_| async { Ok(Status::internal("invalid wire type").into_http()) };
        assert_eq!(serve_one(&flow(), "1S", call).await.headers()["grpc-status"], "3");
        let call = |_| async { Ok(status(&CacheError::Internal).into_http()) };
        assert_eq!(serve_one(&flow(), "1S", call).await.headers()["grpc-status"], "13");
    }
}
