//! The middleware of RPCs: admission, deadline, request size, panics.

use bytes::Buf as _;
use http_body_util::{BodyExt as _, Full};

use super::*;
use crate::auth::{Auth, AuthSettings, Authority};
use crate::cache::admission::limits::{Admission, AdmissionLimits};
use crate::cache::admission::slot::Streams;
use crate::cache::policy::Limits;
use crate::grpc::access::Rule;
use crate::grpc::method_names::ServiceKind;
use crate::net::peer::Peer;

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
    let limits = AdmissionLimits {
        requests: 1,
        bytes: 64 << 10,
        probes: 1,
        watches: 8,
        connections: 1,
        waiting,
        peer_share: 0.8,
    };
    let load = Arc::new(Admission::new(limits));
    Arc::new(WriteProgress::new(load.account([127, 0, 0, 1].into()), Streams::new(streams, &load)))
}

const METHOD: Method = Method {
    service: ServiceKind::Cache,
    rule: Rule::Request,
    shape: CallShape::Bounded,
    input: usize::MAX,
    refusable: true,
};

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
    let (gate, closing) = (gate(), CancellationToken::new());
    let auth = Auth::build(&AuthSettings::default()).expect("no credentials");
    let access = ConnectionAccess::new(Arc::new(Authority::new(auth)), None, Peer::Unix);
    let rpc = RpcContext { gate: &gate, progress, closing: &closing, access: &access, method: &METHOD };
    serve(rpc, request, call).await
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
