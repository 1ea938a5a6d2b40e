//! The decision whether a Set is plain, its checks, and its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body::Body;

use super::request::{MAX_MESSAGE_BYTES, TEXTS, read, text_bytes};
use super::response;
use crate::auth::{Demand, Verb};
use crate::cache::admission::slot::Facts;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::namespace::DEFAULT;
use crate::cache::stats::LabeledHistograms;
use crate::grpc::access::ConnectionAccess;
use crate::grpc::convert;
use crate::grpc::method_names::Method;
use crate::grpc::middleware::AdmissionGate;
use crate::grpc::plain_call::{Begun, PlainCall, PlainMessages, PlainMethod, PlainResponse};
use crate::grpc::request_body::PeekedFrame;
use crate::grpc::service::CacheApi;
use crate::grpc::tracked_body::WriteProgress;
use crate::pb;

/// Path of the method.
pub const PATH: &str = "/twintier.v1.CacheService/Set";
const MESSAGES: PlainMessages = PlainMessages { path: PATH, max_bytes: MAX_MESSAGE_BYTES, texts: TEXTS };

/// Answers plain Sets.
pub struct FastSet {
    api: Arc<CacheApi>,
    method: PlainMethod,
}

// === impl FastSet ===

impl FastSet {
    /// Prepares the answers of `method`, the Set. `None` if the limits are too small for a plain one.
    pub fn new(
        api: &Arc<CacheApi>,
        gate: &AdmissionGate,
        method: &Method,
        timings: Option<&Arc<LabeledHistograms>>,
        compresses: bool,
    ) -> Option<Arc<FastSet>> {
        let method = PlainMethod::new(MESSAGES, gate, method, timings, compresses)?;
        Some(Arc::new(FastSet { api: api.clone(), method }))
    }

    /// Begins the request if it is a plain Set and there is room for it.
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
        let set = read(body)?;
        let demand = Demand::key(Verb::Write, &set.namespace, set.key.as_bytes());
        let granted = access.grant_at_once(request.headers(), &demand)?;
        // The general way registers a namespace for its caller, and counts requests in flight.
        let name = if set.namespace.is_empty() { DEFAULT } else { &set.namespace };
        self.api.context.namespaces.find(name).filter(|namespace| !namespace.limits_in_flight())?;
        let memory = self.method.memory(&headers, body.len(), text_bytes(&set));
        let mut call = self.method.enter(headers, memory, progress)?;
        call.keep(access.record(granted, &demand));
        Some(Begun::Waits(Box::pin(self.clone().store(call, set))))
    }

    /// Stores the entry. If the future is dropped, a write that has begun is completed all the same.
    async fn store(self: Arc<Self>, call: PlainCall, request: pb::SetRequest) -> PlainResponse {
        let started_at = call.started_at();
        let deadline = self.api.context.clock.now().plus(call.left());
        let work = async {
            let mut facts = None;
            let record = |make: &dyn Fn() -> Facts| facts = self.method.is_slow(started_at).then(make);
            // Boxed: it is large, and the futures around it are moved.
            let frame = Box::pin(self.frame(request, deadline, record)).await;
            (frame, facts)
        };
        self.method.answer(call, false, work).await
    }

    async fn frame(
        &self,
        request: pb::SetRequest,
        deadline: Moment,
        record: impl FnOnce(&dyn Fn() -> Facts),
    ) -> Result<Bytes, CacheError> {
        let context = &self.api.context;
        let (set, _) = convert::set(context, request, deadline)?;
        let answer = self.api.store(set, record).await?;
        Ok(response::encode(&answer, context.partitions))
    }
}
