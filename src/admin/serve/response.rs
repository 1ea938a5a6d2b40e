//! Response in progress: keeps its connection busy until its body has ended.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use crate::net::certificate::ClientCertificate;
use crate::net::connections::{Activity, ConnectionSlot};

/// Caller of a request: an extension of the request.
#[derive(Clone)]
pub struct HttpCaller {
    /// The address of the caller.
    pub address: IpAddr,
    /// The verified certificate of its connection. `None` without one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Slot of its connection.
    pub slot: Arc<ConnectionSlot>,
}

/// Marks a connection as answering. Its drop marks the connection as waiting for a request.
pub struct UnderWay(Arc<ConnectionSlot>);

/// Body of a response.
pub struct TrackedResponse {
    body: Body,
    _under_way: UnderWay,
}

// === impl HttpCaller ===

impl HttpCaller {
    pub(super) fn begin(&self) -> UnderWay {
        self.slot.set(Activity::Answering);
        UnderWay(self.slot.clone())
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(Activity::Waiting);
    }
}

// === impl TrackedResponse ===

impl TrackedResponse {
    pub(super) fn new(body: Body, under_way: UnderWay) -> TrackedResponse {
        TrackedResponse { body, _under_way: under_way }
    }
}

impl HttpBody for TrackedResponse {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
