//! Responses to requests and connections that are not gRPC.
//!
//! None of them reaches a service, and no body is read: a browser can send `text/plain` to other
//! origins without a preflight, and no such request may take effect.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tonic::Status;
use tonic::body::Body;

use super::request_headers::{REQUEST_ID, echoed_id};
use super::tracked_body::TrackedResponseBody;
use crate::cache::quoted::quoted;
use crate::net::peer::Peer;
use crate::sync::Mutex;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// First bytes of the binary form of the PROXY protocol.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_V1: &[u8] = b"PROXY ";
/// Reason in the GOAWAY of a connection with the PROXY protocol, for the caller behind the proxy.
const PROXY_REFUSED: &str = "this server does not speak the PROXY protocol: switch it off at the proxy";
/// Minimum interval of warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Hint for peers that do not speak gRPC: what does, and where the dashboard is.
#[derive(Clone, Debug)]
pub struct Hint {
    protocol: &'static str,
    dashboard: Option<String>,
}

/// Returns the response to a request that is not gRPC, or `None` if it is gRPC.
///
/// `ready` is true if this replica should receive calls.
pub fn refusal<B>(request: &Request<B>, ready: bool, hint: &Hint) -> Option<Response<Body>> {
    let (method, path) = (request.method(), request.uri().path());
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Some(text(status, hint.with_dashboard(), method == Method::HEAD));
    }
    if method != Method::POST {
        let hint = format!("{}gRPC calls are POST requests.\n", hint.protocol);
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, hint, method == Method::HEAD);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    if is_grpc(request.headers()) {
        return None;
    }
    let rule = "Requests have the content type application/grpc. gRPC-Web, Connect and JSON need a proxy.";
    let hint = format!("{}{rule}\n", hint.protocol);
    let mut response = text(StatusCode::UNSUPPORTED_MEDIA_TYPE, hint, false);
    response.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/grpc"));
    Some(response)
}

/// Returns true if the content type is that of gRPC with protobuf: `application/grpc` or
/// `application/grpc+proto`, with any parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else { return false };
    let Ok(first) = first.to_str() else { return false };
    let essence = first.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|grpc| essence.eq_ignore_ascii_case(grpc))
}

fn text(status: StatusCode, text: String, without_body: bool) -> Response<Body> {
    let length = HeaderValue::from(text.len());
    let body = if without_body { Body::empty() } else { Body::new(Full::new(Bytes::from(text))) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

// === impl Hint ===

impl Hint {
    /// Creates a hint. `dashboard` is its URL, `is_tls` is true if an address of the service speaks
    /// TLS.
    pub fn new(dashboard: Option<String>, is_tls: bool) -> Hint {
        let protocol =
            if is_tls { "This port speaks gRPC (HTTP/2).\n" } else { "This port speaks gRPC (HTTP/2 without TLS).\n" };
        Hint { protocol, dashboard }
    }

    fn with_dashboard(&self) -> String {
        let dashboard = self.dashboard.as_ref().map(|url| format!("The dashboard is at {url}\n"));
        format!("{}{}", self.protocol, dashboard.unwrap_or_default())
    }
}

/// Adds the method and the service to an UNIMPLEMENTED without a message.
pub fn explain_unimplemented(path: &str, headers: &mut HeaderMap) {
    let is_bare = headers.get(Status::GRPC_STATUS).is_some_and(|code| code == "12");
    if !is_bare || headers.get(Status::GRPC_MESSAGE).is_some_and(|message| !message.is_empty()) {
        return;
    }
    let text = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service, method)) => format!("unknown method {} of service {}", quoted(method), quoted(service)),
        None => format!("unknown path {}: must be /<service>/<method>", quoted(path)),
    };
    // The encoder takes any text.
    let _ = Status::unimplemented(text).add_header(headers);
}

/// Counts connections that begin with the PROXY protocol, for a warning at an interval.
#[derive(Default)]
pub struct ProxyWarnings(Mutex<Warned>);

#[derive(Default)]
struct Warned {
    last: Option<Instant>,
    since: u64,
}

// === impl ProxyWarnings ===

impl ProxyWarnings {
    /// Returns the response to a peer whose connection begins with `preface`, which is not that of
    /// HTTP/2.
    ///
    /// Logs the PROXY protocol: the proxy is misconfigured, and its callers cannot see why.
    pub fn answer(&self, preface: &[u8], peer: Peer, hint: &Hint) -> Vec<u8> {
        if self.is_proxy(preface, peer) {
            return go_away(PROXY_REFUSED);
        }
        tracing::debug!(%peer, "a connection is not HTTP/2");
        upgrade_required(&hint.with_dashboard())
    }

    /// Returns the response to a peer that sent `first` to a port that speaks TLS: an explanation
    /// by HTTP/1.1, or nothing.
    ///
    /// A gRPC client receives nothing: it would count the connection as established, and reconnect
    /// without a pause.
    pub fn answer_plain_text(&self, first: &[u8], peer: Peer) -> Vec<u8> {
        if self.is_proxy(first, peer) {
            return Vec::new();
        }
        tracing::debug!(%peer, "a peer without TLS called a port that speaks TLS");
        let is_http1 = first.first().is_some_and(u8::is_ascii_uppercase) && !first.starts_with(b"PRI ");
        if is_http1 { tls_required() } else { Vec::new() }
    }

    /// Returns true for the PROXY protocol, and logs it.
    fn is_proxy(&self, preface: &[u8], peer: Peer) -> bool {
        let is_proxy = preface.starts_with(PROXY_V1) || preface.starts_with(PROXY_V2);
        if let Some(connections) = is_proxy.then(|| self.count(Instant::now())).flatten() {
            tracing::warn!(%peer, connections, "a peer sent the PROXY protocol, which is not supported");
        }
        is_proxy
    }

    /// Counts a connection. Returns the number since the last warning if another one is due.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut warned = self.0.lock();
        warned.since += 1;
        if warned.last.is_some_and(|last| now.duration_since(last) < WARNING_INTERVAL) {
            return None;
        }
        warned.last = Some(now);
        Some(std::mem::take(&mut warned.since))
    }
}

/// Returns an HTTP/1.1 response for a caller without TLS.
fn tls_required() -> Vec<u8> {
    const HINT: &str = "This port speaks TLS: use https, or --tls of twintier.\n";
    format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{HINT}",
        HINT.len()
    )
    .into_bytes()
}

/// Returns an HTTP/1.1 response for a browser, curl without HTTP/2, or any other protocol.
fn upgrade_required(hint: &str) -> Vec<u8> {
    let length = hint.len();
    format!(
        "HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\nconnection: upgrade, close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\n\r\n{hint}"
    )
    .into_bytes()
}

/// Returns the HTTP/2 frames that open a connection and end it with a reason: SETTINGS and GOAWAY
/// (RFC 9113, sections 6.5 and 6.8).
fn go_away(reason: &str) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PROTOCOL_ERROR: u32 = 1;
    let mut frames = SETTINGS.to_vec();
    let length = u32::try_from(8 + reason.len()).unwrap_or_default();
    frames.extend(&length.to_be_bytes()[1..]);
    frames.extend([7, 0, 0, 0, 0, 0]);
    // No stream was processed.
    frames.extend(0_u32.to_be_bytes());
    frames.extend(PROTOCOL_ERROR.to_be_bytes());
    frames.extend(reason.as_bytes());
    frames
}

/// Rejects a method that is not served.
pub fn unimplemented<B>(request: &Request<B>) -> Response<TrackedResponseBody> {
    let mut response = Status::unimplemented("").into_http::<Body>().map(TrackedResponseBody::uncounted);
    if let Some(id) = echoed_id(request.headers()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &str, path: &str, content_types: &[&str]) -> Option<u16> {
        let mut request = Request::new(());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = path.parse().expect("a path");
        for content_type in content_types {
            request
                .headers_mut()
                .append(CONTENT_TYPE, HeaderValue::from_bytes(content_type.as_bytes()).expect("a header"));
        }
        refusal(&request, true, &Hint::new(None, false)).map(|response| response.status().as_u16())
    }

    #[test]
    fn grpc_is_recognized_by_its_content_type() {
        for grpc in
            ["application/grpc", "Application/GRPC+Proto", "application/grpc; charset=utf-8", "application/grpc ;a=b"]
        {
            assert_eq!(refused("POST", "/a/b", &[grpc]), None, "{grpc}");
        }
        let others = [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpc+json",
            "application/grpcx",
            "application/connect+proto",
            "application/proto",
            "application/json",
            "text/plain",
            "text/plain; application/grpc",
            "",
            "\u{e9}",
        ];
        for other in others {
            assert_eq!(refused("POST", "/a/b", &[other]), Some(415), "{other}");
        }
        assert_eq!(refused("POST", "/a/b", &[]), Some(415));
        assert_eq!(refused("POST", "/a/b", &["application/grpc", "text/plain"]), Some(415));
    }

    #[test]
    fn other_methods_are_refused_whatever_their_content_type() {
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "CONNECT", "TRACE", "post"] {
            assert_eq!(refused(method, "/a/b", &["application/grpc"]), Some(405), "{method}");
        }
        assert_eq!((refused("GET", "/", &[]), refused("HEAD", "/", &[])), (Some(200), Some(200)));
    }

    #[test]
    fn a_replica_that_is_not_ready_returns_503() {
        let response = refusal(&Request::new(()), false, &Hint::new(None, false)).expect("a GET of /");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn an_unknown_method_is_named() {
        let explained = |path: &str, status: Status| {
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).expect("text");
            explain_unimplemented(path, &mut headers);
            Status::from_header_map(&headers).expect("a status").message().to_owned()
        };
        let bare = || Status::unimplemented("");
        assert_eq!(explained("/a.B/Get", bare()), "unknown method \"Get\" of service \"a.B\"");
        assert_eq!(explained("/", bare()), "unknown path \"/\": must be /<service>/<method>");
        assert_eq!(explained("/a.B/Get", Status::unimplemented("compressed")), "compressed");
        assert_eq!(explained("/a.B/Get", Status::internal("")), "");
    }

    #[test]
    fn proxy_warnings_appear_at_most_once_a_minute() {
        let (proxied, begin) = (ProxyWarnings::default(), Instant::now());
        assert_eq!(proxied.count(begin), Some(1));
        assert_eq!((1..60).find_map(|second| proxied.count(begin + Duration::from_secs(second))), None);
        assert_eq!(proxied.count(begin + WARNING_INTERVAL), Some(60));
    }
}
