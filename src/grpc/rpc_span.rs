//! The trace span of an RPC, by OpenTelemetry's conventions for RPC servers.
//!
//! It ends when the response was sent or abandoned.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, Request};
use tonic::{Code, Status};
use tracing::Span;
use tracing::field::Empty;

use super::method_names::{OTHER, full_method_names, status_name};
use crate::cache::spans::{DEGRADED, ITEMS, NAMESPACE, OUTCOME, RPC, TARGET, TIER};
use crate::cache::tiered::{GetAnswer, GetOutcome, Tier};
use crate::net::peer::Peer;

const SYSTEM: &str = "rpc.system.name";
const METHOD: &str = "rpc.method";
const STATUS: &str = "rpc.response.status_code";
const ERROR_TYPE: &str = "error.type";
const PEER: &str = "network.peer.address";
const PEER_PORT: &str = "network.peer.port";

/// Creates the span of an RPC with these headers in the caller's trace, or a disabled span if the
/// RPC is not sampled.
pub type Tracing = Arc<dyn Fn(&HeaderMap, &dyn Fn() -> Span) -> Span + Send + Sync>;

/// The span of one RPC.
///
/// If it is dropped before the response has ended, the RPC counts as cancelled.
pub struct RpcSpan(Span);

// === impl RpcSpan ===

impl RpcSpan {
    /// Begins a span, or returns `None` if the RPC is not sampled.
    pub fn begin<B>(tracing: &Tracing, request: &Request<B>, peer: Peer) -> Option<RpcSpan> {
        let span = tracing(request.headers(), &|| {
            let method = method(request.uri().path());
            // The peer of a unix socket has no address.
            let peer = peer.socket_address();
            tracing::info_span!(
                target: TARGET,
                parent: None,
                RPC,
                otel.kind = "server",
                otel.name = method,
                otel.status_code = Empty,
                { SYSTEM } = "grpc",
                { METHOD } = method,
                { STATUS } = Empty,
                { ERROR_TYPE } = Empty,
                { PEER } = peer.map(|peer| peer.ip().to_string()),
                { PEER_PORT } = peer.map(|peer| peer.port()),
                { NAMESPACE } = Empty,
                { OUTCOME } = Empty,
                { TIER } = Empty,
                { DEGRADED } = Empty,
                { ITEMS } = Empty,
            )
        });
        (!span.is_disabled()).then_some(RpcSpan(span))
    }

    /// Returns the span, to run work in it.
    pub fn span(&self) -> Span {
        self.0.clone()
    }

    /// Handles the headers of the response.
    ///
    /// Ends the span if they contain a status; otherwise returns it for the body.
    pub fn answered(self, headers: &HeaderMap) -> Option<RpcSpan> {
        match Status::from_header_map(headers) {
            Some(status) => {
                self.ended(status.code());
                None
            }
            None => Some(self),
        }
    }

    /// Ends the span with the status in the trailers.
    pub fn trailed(self, trailers: &HeaderMap) {
        self.ended(Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code()));
    }

    fn ended(mut self, code: Code) {
        record(&std::mem::replace(&mut self.0, Span::none()), code);
    }
}

impl Drop for RpcSpan {
    fn drop(&mut self) {
        if !self.0.is_disabled() {
            record(&self.0, Code::Cancelled);
        }
    }
}

fn record(span: &Span, code: Code) {
    let name = status_name(code);
    span.record(STATUS, name);
    if is_server_error(code) {
        span.record(ERROR_TYPE, name).record("otel.status_code", "error");
    }
}

/// Returns the outcome of a Get and the tier that answered, as span attributes.
pub fn outcome_and_tier(answer: &GetAnswer) -> (&'static str, Option<&'static str>) {
    let (outcome, tier) = match &answer.outcome {
        GetOutcome::Hit { stale: Some(_), tier, .. } => ("stale", Some(tier)),
        GetOutcome::Hit { stale: None, tier, .. } => ("hit", Some(tier)),
        GetOutcome::Miss(_) => ("miss", None),
    };
    let tier = tier.map(|tier| match tier {
        Tier::L1 => "l1",
        Tier::L2 => "l2",
    });
    (outcome, tier)
}

/// Records the answer to a Get.
pub fn record_answer(span: &Span, namespace: &str, answer: &GetAnswer) {
    let (outcome, tier) = outcome_and_tier(answer);
    span.record(NAMESPACE, namespace).record(OUTCOME, outcome).record(TIER, tier).record(DEGRADED, answer.degraded);
}

/// Returns true for the codes that the conventions count as errors of the server.
fn is_server_error(code: Code) -> bool {
    let faults =
        [Code::Unknown, Code::DeadlineExceeded, Code::Unimplemented, Code::Internal, Code::Unavailable, Code::DataLoss];
    faults.contains(&code)
}

/// Returns the method of a path, or [`OTHER`] for an unknown one, so that callers cannot create
/// names.
fn method(path: &str) -> &'static str {
    static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| full_method_names().collect());
    path.strip_prefix('/').and_then(|method| METHODS.get(method)).map_or(OTHER, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_is_named_other() {
        assert_eq!(method("/twintier.v1.CacheService/Get"), "twintier.v1.CacheService/Get");
        for made_up in ["/twintier.v1.CacheService/Secret", "/a/b", "", "*"] {
            assert_eq!(method(made_up), OTHER);
        }
    }

    #[test]
    fn a_callers_mistake_is_not_an_error_of_the_server() {
        let faults = (0..17).map(Code::from_i32).filter(|code| is_server_error(*code)).map(status_name);
        let expected = ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
        assert_eq!(faults.collect::<Vec<_>>(), expected);
    }
}
