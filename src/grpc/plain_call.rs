//! Plain calls: requests of one small message and few headers, which need nothing of the middleware
//! but its limits.
//!
//! They are checked like all others, and cost no generated service, no generated messages, and no
//! body that is polled.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use prost::encoding::decode_varint;
use tokio::time::timeout_at;
use tonic::{Code, Status};

use super::header_size;
use super::method_names::Method;
use super::middleware;
use super::middleware::{AdmissionGate, DEADLINE_MARGIN};
use super::request_body::PREFIX_BYTES;
use super::request_headers::{REQUEST_ID, REQUEST_OVERHEAD_BYTES, echoed_id, header_memory, parse_timeout};
use super::rpc_metrics;
use super::rpc_metrics::RpcMetrics;
use super::slow_requests::RequestTiming;
use super::tracked_body::{ReadySlot, TrackedResponseBody, WriteProgress};
use crate::auth::UsageGuard;
use crate::cache::admission::limits::TakenAmounts;
use crate::cache::admission::resource::Resource;
use crate::cache::admission::slot::Facts;
use crate::cache::error::CacheError;
use crate::cache::stats::LabeledHistograms;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The response to a plain call.
pub type PlainResponse = Response<TrackedResponseBody>;

/// A plain call that the service has accepted.
pub enum Begun {
    /// It is answered.
    Answered(PlainResponse),
    /// It is to be polled for its answer.
    Waits(Pin<Box<dyn Future<Output = PlainResponse> + Send>>),
}

/// The requests of a method that may be plain.
#[derive(Clone, Copy)]
pub struct PlainMessages {
    /// Path of the method.
    pub path: &'static str,
    /// Maximum size of a message.
    pub max_bytes: usize,
    /// Number of its texts.
    pub texts: usize,
}

/// A method that has plain calls.
pub struct PlainMethod {
    messages: PlainMessages,
    /// Histogram of the duration of its calls, as table and row. `None` if it is not measured.
    timing: Option<(Arc<LabeledHistograms>, usize)>,
    /// Minimum duration of a request that is logged as slow.
    slow_request: Option<Duration>,
    /// Maximum duration of a call, also if the caller's timeout is longer.
    max_deadline: Duration,
    /// Memory of a request beside its headers, its body and its texts.
    request_size: usize,
    /// True if responses are compressed for callers that accept it.
    compresses: bool,
}

/// A plain call within the limits, and what it takes of them.
pub struct PlainCall {
    request_id: Option<HeaderValue>,
    started_at: Instant,
    deadline: Instant,
    slot: ReadySlot,
    /// Memory of the request.
    taken: TakenAmounts,
}

/// Result of the work of a call: the frame of its response, and facts if it is slow.
pub type Outcome = (Result<Bytes, CacheError>, Option<Facts>);

/// Headers of a request that does not need the general way.
pub struct PlainHeaders {
    /// The request id that the response repeats.
    pub request_id: Option<HeaderValue>,
    /// The timeout of the caller.
    pub timeout: Option<Duration>,
    /// Memory of the headers.
    pub memory: usize,
    /// Time at which they were read.
    pub started_at: Instant,
}

// === impl PlainMethod ===

impl PlainMethod {
    /// Prepares the plain calls of `method`. `None` if the limits are too small for them.
    pub fn new(
        messages: PlainMessages,
        gate: &AdmissionGate,
        method: &Method,
        timings: Option<&Arc<LabeledHistograms>>,
        compresses: bool,
    ) -> Option<PlainMethod> {
        let PlainMessages { path, max_bytes, texts } = messages;
        // The largest one must not exceed the limit of a decoded request.
        gate.schema.plain_size(method.input, max_bytes, texts)?;
        let decoded_size = gate.schema.plain_size(method.input, 0, texts)?;
        Some(PlainMethod {
            messages,
            timing: timings.map(|timings| (timings.clone(), rpc_metrics::row(timings, path))),
            slow_request: gate.slow_request,
            max_deadline: gate.max_deadline,
            request_size: REQUEST_OVERHEAD_BYTES + decoded_size,
            compresses,
        })
    }

    /// Reads the headers of a request. `None` if it is of another method, or not plain.
    pub fn headers<B>(&self, request: &Request<B>) -> Option<PlainHeaders> {
        if request.uri().path() != self.messages.path || request.method() != http::Method::POST {
            return None;
        }
        PlainHeaders::read(request.headers(), self.compresses)
    }

    /// Returns the memory of a request with a body and texts of so many bytes.
    pub fn memory(&self, headers: &PlainHeaders, body: usize, texts: usize) -> usize {
        headers.memory + self.request_size + body + texts
    }

    /// Returns the most memory of a request.
    pub fn max_memory(&self, headers: &PlainHeaders) -> usize {
        let max_bytes = self.messages.max_bytes;
        self.memory(headers, PREFIX_BYTES + max_bytes, max_bytes)
    }

    /// Takes a slot and the memory of a request. `None` if there is no room for both at once.
    pub fn enter(&self, headers: PlainHeaders, memory: usize, progress: &Arc<WriteProgress>) -> Option<PlainCall> {
        let taken = progress.account().try_take(Resource::Bytes, memory)?;
        let slot = ReadySlot::enter(progress, 0)?;
        Some(self.call(headers, slot, taken))
    }

    /// Creates the call of a request that has its slot and its memory.
    pub fn call(&self, headers: PlainHeaders, slot: ReadySlot, taken: TakenAmounts) -> PlainCall {
        let PlainHeaders { request_id, timeout, started_at, .. } = headers;
        let timeout = timeout.unwrap_or(self.max_deadline).min(self.max_deadline);
        PlainCall { request_id, started_at, deadline: started_at + timeout, slot, taken }
    }

    /// Returns true if a call that started at `started_at` is slow by now.
    pub fn is_slow(&self, started_at: Instant) -> bool {
        self.slow_request.is_some_and(|slow| started_at.elapsed() >= slow)
    }

    /// Waits for the work of a call, until its deadline at most. A panic is an answer: INTERNAL.
    ///
    /// The response is refused if it is `refusable` and there is no room for it.
    pub async fn answer(
        &self,
        call: PlainCall,
        refusable: bool,
        work: impl Future<Output = Outcome> + Send,
    ) -> PlainResponse {
        let PlainCall { request_id, started_at, deadline, slot, taken } = call;
        let metrics = self.timing.as_ref().map(|(table, row)| RpcMetrics::begin_at(table, *row, started_at));
        let work = AssertUnwindSafe(work).catch_unwind();
        let (frame, facts) = match timeout_at((deadline + DEADLINE_MARGIN).into(), work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => (Err(middleware::panicked()), None),
            Err(_) => (Err(CacheError::DeadlineExceeded { outcome_unknown_for: None }), None),
        };
        drop(taken);
        let response = respond(frame, slot, refusable, request_id);
        let code = code_of(response.headers());
        if let Some(metrics) = metrics {
            metrics.end_with(code);
        }
        if self.is_slow(started_at) {
            self.log_slow(started_at, code, facts.unwrap_or_default());
        }
        response
    }

    /// Records a call that was answered at once, and logs it if it has facts: it was slow.
    pub fn answered(&self, started_at: Instant, facts: Option<Facts>, response: &PlainResponse) {
        if let Some((table, row)) = &self.timing {
            table.observe(*row, code_of(response.headers()) as usize, started_at.elapsed());
        }
        if let Some(facts) = facts {
            self.log_slow(started_at, code_of(response.headers()), facts);
        }
    }

    fn log_slow(&self, started_at: Instant, code: Code, facts: Facts) {
        let path = Uri::from_static(self.messages.path);
        RequestTiming { path, started_at, queued: Duration::ZERO }.log(code, facts, false);
    }
}

// === impl PlainCall ===

impl PlainCall {
    /// Keeps the place of the call among those of its identity.
    pub fn keep(&mut self, of_identity: Option<UsageGuard>) {
        self.slot.keep(of_identity);
    }

    /// Returns the time that the call started at.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Returns the remaining time of the caller.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Returns the response with a frame, or with the status of an error.
pub fn respond(
    frame: Result<Bytes, CacheError>,
    slot: ReadySlot,
    refusable: bool,
    request_id: Option<HeaderValue>,
) -> PlainResponse {
    let mut response = ready(frame, slot, refusable).unwrap_or_else(|error| {
        let mut refused = middleware::refuse(&error);
        header_size::limit(refused.headers_mut());
        refused
    });
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn ready(frame: Result<Bytes, CacheError>, mut slot: ReadySlot, refusable: bool) -> Result<PlainResponse, CacheError> {
    let frame = frame?;
    if refusable {
        slot.take(&frame)?;
    } else {
        slot.charge(&frame);
    }
    let mut response = Response::new(TrackedResponseBody::ready(frame, slot));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    Ok(response)
}

/// Returns the status in the headers of a response. A success has it in the trailers.
fn code_of(headers: &HeaderMap) -> Code {
    Status::from_header_map(headers).map_or(Code::Ok, |status| status.code())
}

// === impl PlainHeaders ===

impl PlainHeaders {
    /// Reads the headers. Returns `None` if one of them asks for more than the plain way.
    pub fn read(headers: &HeaderMap, compresses: bool) -> Option<PlainHeaders> {
        let started_at = Instant::now();
        let (mut memory, mut is_grpc, mut timeout, mut has_request_id) = (0, false, None, false);
        for (name, value) in headers {
            memory += header_memory(name, value);
            match name.as_str() {
                "content-type" if !is_grpc && is_plain_type(value) => is_grpc = true,
                "content-type" | "grpc-encoding" => return None,
                "grpc-accept-encoding" if compresses => return None,
                "grpc-timeout" if timeout.is_none() => timeout = Some(value.to_str().ok().and_then(parse_timeout)?),
                _ => has_request_id |= name == REQUEST_ID,
            }
        }
        let request_id = if has_request_id { echoed_id(headers) } else { None };
        is_grpc.then_some(PlainHeaders { request_id, timeout, memory, started_at })
    }
}

fn is_plain_type(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"application/grpc" | b"application/grpc+proto")
}

/// Returns the message of a body: exactly one, not compressed, of at most `max_bytes` bytes.
pub fn plain_message(body: &[u8], max_bytes: usize) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX_BYTES)?;
    let [0, length @ ..] = <[u8; PREFIX_BYTES]>::try_from(prefix).ok()? else { return None };
    (message.len() <= max_bytes && u32::from_be_bytes(length) as usize == message.len()).then_some(message)
}

/// Takes a text with its length.
pub fn text<'a>(message: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(payload(message)?).ok()
}

/// Takes the bytes of a field with their length.
pub fn payload<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(message).ok()?).ok()?;
    let (payload, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_change_the_answer_are_not_plain() {
        let plain = |more: &[(&'static str, &'static str)], compresses| {
            let mut headers = HeaderMap::new();
            for (name, value) in more {
                headers.append(*name, HeaderValue::from_static(value));
            }
            PlainHeaders::read(&headers, compresses).is_some()
        };
        let grpc = ("content-type", "application/grpc");
        let accepts = ("grpc-accept-encoding", "gzip");
        assert!(plain(&[grpc], true) && plain(&[("content-type", "application/grpc+proto")], true));
        assert!(plain(&[grpc, ("te", "trailers"), ("grpc-timeout", "5S"), ("x-request-id", "1")], true));
        assert!(plain(&[grpc, accepts], false) && !plain(&[grpc, accepts], true));
        for other in [
            &[][..],
            &[grpc, grpc],
            &[("content-type", "application/grpc; charset=utf-8")],
            &[grpc, ("grpc-encoding", "identity")],
            &[grpc, ("grpc-timeout", "5")],
            &[grpc, ("grpc-timeout", "5S"), ("grpc-timeout", "6S")],
        ] {
            assert_eq!(plain(other, false), other.len() == 3, "{other:?}");
        }
    }
}
