//! What stands before every RPC: the limit of RPCs in flight, the deadline, and a net for panics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::body::{Flow, Guarded, Metered};
use super::status::status;
use crate::cache::error::{CacheError, Violation};
use crate::cache::load::Load;
use crate::cache::quoted::quoted_bytes;
use crate::cache::place::Place;

/// The core ends at the deadline by itself, and says more; this is for what does not.
const NET: Duration = Duration::from_millis(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that comes back with the response, bytes.
const REQUEST_ID_SIZE: usize = 128;

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
#[derive(Clone, Debug)]
pub struct Leave {
    /// Its connection is asked to go.
    pub going: CancellationToken,
    /// When its caller leaves, if that was said.
    pub deadline: Option<Instant>,
}

/// What every RPC has to pass.
pub struct Gate {
    /// The load and its limit.
    pub load: Arc<Load>,
    /// Longest an RPC may take, whatever its caller says.
    pub max_deadline: Duration,
    /// Largest request that is read.
    pub max_request_size: usize,
}

/// Serves one RPC, no longer than its caller waits.
pub async fn unary<B, Call, Work>(
    gate: &Gate,
    flow: &Arc<Flow>,
    mut request: Request<B>,
    call: Call,
) -> Response<Guarded>
where
    Call: FnOnce(Request<Metered<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let request_id = request.headers().get(REQUEST_ID).filter(|id| is_echoed(id)).cloned();
    let asked = match timeout_of(request.headers()) {
        Ok(asked) => asked,
        Err(violation) => return refuse(&violation.into()),
    };
    let left = asked.unwrap_or(gate.max_deadline).min(gate.max_deadline);
    let deadline = Deadline(Instant::now() + left);
    // A connection may have more streams than may be in work: the others wait here, as they would at the client.
    let Ok(stream) = tokio::time::timeout(left, flow.streams().enter()).await else {
        return refuse(&CacheError::DeadlineExceeded { outcome_unknown_for: None });
    };
    let place = match gate.load.place() {
        Ok(place) => Place::new(gate.load.clone(), flow.streams().clone(), (stream, place)),
        Err(error) => return refuse(&error),
    };
    let left = deadline.left();
    request.extensions_mut().insert(deadline);
    request.extensions_mut().insert(place.clone());
    let request = request.map(|body| Metered::new(body, gate.load.clone()));
    let mut response = match tokio::time::timeout(left + NET, caught(call(request))).await {
        Ok(response) => match unread(&response, gate) {
            Some(error) => refuse(&error),
            None => response.map(|body| Guarded::counted(body, place, gate.load.clone(), flow.clone())),
        },
        Err(_) => refuse(&CacheError::DeadlineExceeded { outcome_unknown_for: None }),
    };
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Serves one RPC that may last. It needs a place only until it stands.
pub async fn lasting<B, Call, Work>(
    gate: &Gate,
    flow: &Arc<Flow>,
    going: &CancellationToken,
    mut request: Request<B>,
    call: Call,
) -> Response<Guarded>
where
    Call: FnOnce(Request<Metered<B>>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    let asked = match timeout_of(request.headers()) {
        Ok(asked) => asked,
        Err(violation) => return refuse(&violation.into()),
    };
    let deadline = asked.map(|left| Instant::now() + left);
    let left = asked.unwrap_or(gate.max_deadline).min(gate.max_deadline);
    let Ok(_stream) = tokio::time::timeout(left, flow.streams().enter()).await else {
        return refuse(&CacheError::DeadlineExceeded { outcome_unknown_for: None });
    };
    let _place = match gate.load.place() {
        Ok(place) => place,
        Err(error) => return refuse(&error),
    };
    request.extensions_mut().insert(Leave { going: going.clone(), deadline });
    let request = request.map(|body| Metered::new(body, gate.load.clone()));
    let left = asked.unwrap_or(gate.max_deadline).min(gate.max_deadline);
    match tokio::time::timeout(left + NET, caught(call(request))).await {
        Ok(response) => match unread(&response, gate) {
            Some(error) => refuse(&error),
            None => response.map(|body| Guarded::lasting(body, gate.load.clone())),
        },
        Err(_) => refuse(&CacheError::DeadlineExceeded { outcome_unknown_for: None }),
    }
}

/// Serves one RPC that is not counted and may last: health and reflection.
pub async fn streaming<B, Call, Work>(
    going: &CancellationToken,
    mut request: Request<B>,
    call: Call,
) -> Response<Guarded>
where
    Call: FnOnce(Request<B>) -> Work,
    Work: Future<Output = Result<Response<Body>, Infallible>>,
{
    request.extensions_mut().insert(Leave { going: going.clone(), deadline: None });
    caught(call(request)).await.map(Guarded::uncounted)
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

/// A request that tonic could not read, in words of our own. Its statuses are told from ours by having no details.
fn unread<B>(response: &Response<B>, gate: &Gate) -> Option<CacheError> {
    let said = Status::from_header_map(response.headers()).filter(|said| said.details().is_empty())?;
    match said.code() {
        // As it arrived, or as it unpacks.
        Code::OutOfRange | Code::ResourceExhausted => {
            Some(CacheError::Exhausted { what: "message size", limit: gate.max_request_size, retry_after: None })
        }
        Code::Internal => Some(unreadable(said.message()).into()),
        _ => None,
    }
}

fn refuse(error: &CacheError) -> Response<Guarded> {
    status(error).into_http::<Body>().map(Guarded::uncounted)
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
    value.to_str().ok().and_then(timeout).map(Some).ok_or_else(wrong)
}

/// At most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
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
    use super::*;
    use crate::cache::place::Streams;

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

    fn gate() -> Gate {
        Gate { load: Arc::new(Load::new(1, 1024, 1)), max_deadline: Duration::from_secs(1), max_request_size: 1024 }
    }

    fn flow(gate: &Gate) -> Arc<Flow> {
        Arc::new(Flow::new(Streams::new(2, &gate.load)))
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_of_its_own_rpc() {
        let gate = gate();
        let call = |_: Request<Metered<()>>| async { panic!("a bug") };
        let response = unary(&gate, &flow(&gate), Request::new(()), call).await;
        assert_eq!(response.headers()["grpc-status"], "13");
        drop(response);
        assert_eq!(gate.load.in_flight(), 0);
    }

    #[tokio::test]
    async fn an_rpc_beyond_the_limit_is_refused_and_a_place_is_held_until_the_body_is_gone() {
        let gate = gate();
        let call = |_: Request<Metered<()>>| async { Ok(Response::new(Body::empty())) };
        let first = unary(&gate, &flow(&gate), Request::new(()), call).await;
        let second = unary(&gate, &flow(&gate), Request::new(()), call).await;
        assert_eq!(second.headers()["grpc-status"], "8");
        assert_eq!((gate.load.in_flight(), gate.load.shed()), (1, 1));
        drop(first);
        let third = unary(&gate, &flow(&gate), Request::new(()), call).await;
        assert!(third.headers().get("grpc-status").is_none());
    }

    #[tokio::test]
    async fn an_rpc_that_waits_gives_its_place_and_its_stream_to_others() {
        let load = Arc::new(Load::new(1, 1024, 1).with_waiting(1));
        let gate = Gate { load, ..gate() };
        let flow = Arc::new(Flow::new(Streams::new(1, &gate.load)));
        let waits = |request: Request<Metered<()>>| async move {
            let place = request.extensions().get::<Place>().expect("a place");
            Ok(match place.wait() {
                Ok(()) => Response::new(Body::empty()),
                Err(error) => status(&error).into_http(),
            })
        };
        let works = |_: Request<Metered<()>>| async { Ok(Response::new(Body::empty())) };
        let waiting = unary(&gate, &flow, Request::new(()), waits).await;
        assert_eq!((gate.load.in_flight(), gate.load.waiting()), (0, 1));
        let working = unary(&gate, &flow, Request::new(()), works).await;
        assert!(working.headers().get("grpc-status").is_none());
        assert_eq!((gate.load.in_flight(), gate.load.waiting()), (1, 1));
        // A stream beyond those of the connection waits until another ends, and a waiting place is not to be had twice.
        let mut third = std::pin::pin!(unary(&gate, &flow, Request::new(()), waits));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(working);
        let third = third.await;
        assert_eq!(third.headers()["grpc-status"], "8");
        drop((waiting, third));
        assert_eq!((gate.load.in_flight(), gate.load.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn an_expired_deadline_says_so() {
        let gate = gate();
        let mut request = Request::new(());
        request.headers_mut().insert("grpc-timeout", "1m".parse().expect("a header"));
        let call = |_: Request<Metered<()>>| std::future::pending();
        let response = unary(&gate, &flow(&gate), request, call).await;
        assert_eq!(response.headers()["grpc-status"], "4");
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_read_is_the_callers_mistake() {
        let call = |_: Request<Metered<()>>| async { Ok(Status::internal("invalid wire type").into_http()) };
        let response = unary(&gate(), &flow(&gate()), Request::new(()), call).await;
        assert_eq!(response.headers()["grpc-status"], "3");
        let call = |_: Request<Metered<()>>| async { Ok(status(&CacheError::Internal).into_http()) };
        let response = unary(&gate(), &flow(&gate()), Request::new(()), call).await;
        assert_eq!(response.headers()["grpc-status"], "13");
    }
}
