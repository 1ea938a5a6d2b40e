//! The decision whether a request is answered at once, and its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body;
use tonic::{Code, Status};

use super::request::{MAX_MESSAGE_BYTES, PlainGet, PlainHeaders, TEXTS};
use super::response;
use crate::cache::admission::slot::Facts;
use crate::cache::error::CacheError;
use crate::cache::stats::LabeledHistograms;
use crate::cache::tiered::GetAnswer;
use crate::grpc::get::{AnswerAtOnce, NotAtOnce, NotInMemory};
use crate::grpc::header_size;
use crate::grpc::method_names::Method;
use crate::grpc::middleware;
use crate::grpc::middleware::AdmissionGate;
use crate::grpc::request_body::{PREFIX_BYTES, PeekedFrame};
use crate::grpc::request_headers::{REQUEST_ID, REQUEST_OVERHEAD_BYTES};
use crate::grpc::rpc_metrics;
use crate::grpc::service::CacheApi;
use crate::grpc::slow_requests::RequestTiming;
use crate::grpc::tracked_body::{ReadySlot, TrackedResponseBody, WriteProgress};

/// Path of the method.
pub const PATH: &str = "/twintier.v1.CacheService/Get";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Answers Gets at once.
pub struct FastGet {
    api: Arc<CacheApi>,
    /// Histogram of the duration of Gets, as table and row. `None` if it is not measured.
    timing: Option<(Arc<LabeledHistograms>, usize)>,
    /// Minimum duration of a request that is logged as slow.
    slow_request: Option<Duration>,
    /// Most memory of a request without its headers.
    request_size: usize,
    /// True if responses are compressed for callers that accept it.
    compresses: bool,
}

// === impl FastGet ===

impl FastGet {
    /// Prepares the answers of `method`, the Get. `None` if the limits are too small for a plain one.
    pub fn new(
        api: &Arc<CacheApi>,
        gate: &AdmissionGate,
        method: &Method,
        timings: Option<&Arc<LabeledHistograms>>,
        compresses: bool,
    ) -> Option<FastGet> {
        let decoded_size = gate.schema.plain_size(method.input, MAX_MESSAGE_BYTES, TEXTS)?;
        Some(FastGet {
            api: api.clone(),
            timing: timings.map(|timings| (timings.clone(), rpc_metrics::row(timings, PATH))),
            slow_request: gate.slow_request,
            request_size: REQUEST_OVERHEAD_BYTES + PREFIX_BYTES + MAX_MESSAGE_BYTES + decoded_size,
            compresses,
        })
    }

    /// Answers the request if it is a plain Get of an entry that is fresh in memory.
    ///
    /// Otherwise nothing has happened but that the first frame of its body may have been read, into
    /// `peeked`.
    pub fn answer<B>(
        &self,
        request: &mut Request<B>,
        peeked: &mut PeekedFrame<B::Error>,
        progress: &Arc<WriteProgress>,
    ) -> Option<Response<TrackedResponseBody>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.uri().path() != PATH || request.method() != http::Method::POST {
            return None;
        }
        let started_at = Instant::now();
        let headers = PlainHeaders::read(request.headers(), self.compresses)?;
        let body = peeked.whole(request.body_mut())?;
        let plain = PlainGet::read(body)?;
        let slot = ReadySlot::enter(progress, headers.memory + self.request_size)?;
        let AnswerAtOnce { answer, facts } = match self.look_up(&plain, started_at) {
            Ok(answer) => answer,
            Err(NotAtOnce::NotInMemory) => {
                request.extensions_mut().insert(NotInMemory);
                return None;
            }
            Err(NotAtOnce::Counted) => return None,
        };
        let mut response = self.respond(answer, slot).unwrap_or_else(|error| {
            let mut refused = middleware::refuse(&error);
            header_size::limit(refused.headers_mut());
            refused
        });
        if let Some(id) = headers.request_id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.measure(started_at, facts, response.headers());
        Some(response)
    }

    /// Asks memory. A panic is an answer: INTERNAL.
    fn look_up(&self, plain: &PlainGet<'_>, started_at: Instant) -> Result<AnswerAtOnce, NotAtOnce> {
        let is_slow = || self.slow_request.is_some_and(|slow| started_at.elapsed() >= slow);
        let work = AssertUnwindSafe(|| self.api.get_at_once(plain.namespace, plain.key, is_slow));
        let panicked = |_| Ok(AnswerAtOnce { answer: Err(middleware::panicked()), facts: None });
        catch_unwind(work).unwrap_or_else(panicked)
    }

    fn respond(
        &self,
        answer: Result<GetAnswer, CacheError>,
        mut slot: ReadySlot,
    ) -> Result<Response<TrackedResponseBody>, CacheError> {
        let frame = response::encode(&answer?, self.api.context.partitions);
        slot.take(&frame)?;
        let mut response = Response::new(TrackedResponseBody::ready(frame, slot));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        Ok(response)
    }

    /// Records the duration, and logs a slow request.
    fn measure(&self, started_at: Instant, facts: Option<Facts>, headers: &HeaderMap) {
        // A success has its status in the trailers.
        let code = || Status::from_header_map(headers).map_or(Code::Ok, |status| status.code());
        if let Some((table, row)) = &self.timing {
            table.observe(*row, code() as usize, started_at.elapsed());
        }
        if let Some(facts) = facts {
            let timing = RequestTiming { path: Uri::from_static(PATH), started_at, queued: Duration::ZERO };
            timing.log(code(), facts, false);
        }
    }
}
