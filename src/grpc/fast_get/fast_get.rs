//! The decision whether a Get is plain, and its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body::Body;

use super::request::{MAX_MESSAGE_BYTES, PlainGet, TEXTS};
use super::response;
use crate::auth::{Demand, Verb};
use crate::cache::admission::resource::Resource;
use crate::cache::key::Key;
use crate::cache::stats::LabeledHistograms;
use crate::grpc::access::ConnectionAccess;
use crate::grpc::get::{AnswerAtOnce, AtOnce, NotInMemory};
use crate::grpc::method_names::Method;
use crate::grpc::middleware;
use crate::grpc::middleware::AdmissionGate;
use crate::grpc::plain_call::{Begun, PlainCall, PlainMessages, PlainMethod, PlainResponse, respond};
use crate::grpc::request_body::PeekedFrame;
use crate::grpc::service::CacheApi;
use crate::grpc::tracked_body::{ReadySlot, WriteProgress};

/// Path of the method.
pub const PATH: &str = "/twintier.v1.CacheService/Get";
const MESSAGES: PlainMessages = PlainMessages { path: PATH, max_bytes: MAX_MESSAGE_BYTES, texts: TEXTS };

/// Answers plain Gets.
pub struct FastGet {
    api: Arc<CacheApi>,
    method: PlainMethod,
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
    ) -> Option<Arc<FastGet>> {
        let method = PlainMethod::new(MESSAGES, gate, method, timings, compresses)?;
        Some(Arc::new(FastGet { api: api.clone(), method }))
    }

    /// Answers the request if it is a plain Get, at once if its entry is fresh in memory.
    ///
    /// Otherwise nothing has happened but that the first frame of its body may have been read, into
    /// `peeked`.
    pub fn begin<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        peeked: &mut PeekedFrame<B::Error>,
        progress: &Arc<WriteProgress>,
        access: &ConnectionAccess,
    ) -> Option<Begun>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let headers = self.method.headers(request)?;
        let body = peeked.whole(request.body_mut())?;
        let plain = PlainGet::read(body)?;
        let demand = Demand::key(Verb::Read, plain.namespace, plain.key.as_bytes());
        let granted = access.grant_at_once(request.headers(), &demand)?;
        let mut slot = ReadySlot::enter(progress, self.method.max_memory(&headers))?;
        match self.look_up(&plain, headers.started_at) {
            AtOnce::Answered(AnswerAtOnce { answer, facts }) => {
                slot.keep(access.record(granted, &demand));
                let frame = answer.map(|answer| response::encode(&answer, self.api.context.partitions));
                let response = respond(frame, slot, true, headers.request_id);
                self.method.answered(headers.started_at, facts, &response);
                Some(Begun::Answered(response))
            }
            AtOnce::NotInMemory(key) => {
                let memory = self.method.memory(&headers, body.len(), plain.text_bytes());
                let Some(taken) = progress.account().try_take(Resource::Bytes, memory) else {
                    request.extensions_mut().insert(NotInMemory);
                    return None;
                };
                slot.keep(access.record(granted, &demand));
                let call = self.method.call(headers, slot, taken);
                Some(Begun::Waits(Box::pin(self.clone().read(call, key))))
            }
            AtOnce::General => None,
        }
    }

    /// Asks memory. A panic is an answer: INTERNAL.
    fn look_up(&self, plain: &PlainGet<'_>, started_at: Instant) -> AtOnce {
        let is_slow = || self.method.is_slow(started_at);
        let work = AssertUnwindSafe(|| self.api.get_at_once(plain.namespace, plain.key, is_slow));
        let panicked = |_| AtOnce::Answered(AnswerAtOnce { answer: Err(middleware::panicked()), facts: None });
        catch_unwind(work).unwrap_or_else(panicked)
    }

    /// Reads an entry that memory does not have.
    async fn read(self: Arc<Self>, call: PlainCall, key: Key) -> PlainResponse {
        let started_at = call.started_at();
        let deadline = self.api.context.clock.now().plus(call.left());
        let work = async {
            let is_slow = || self.method.is_slow(started_at);
            // Boxed: it is large, and the futures around it are moved.
            let read = Box::pin(self.api.get_beyond_memory(&key, deadline, is_slow));
            let AnswerAtOnce { answer, facts } = read.await;
            (answer.map(|answer| response::encode(&answer, self.api.context.partitions)), facts)
        };
        self.method.answer(call, true, work).await
    }
}
