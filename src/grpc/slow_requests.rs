//! The log of slow requests: method, duration, and where the time was spent.

use std::time::{Duration, Instant};

use http::Response;
use tonic::{Code, Status};

use super::method_names::status_name;
use crate::cache::admission::slot::{Facts, RequestSlot};
use crate::cache::log_fields::{SLOW_REQUESTS, millis};

/// Timing of one request.
pub struct RequestTiming {
    /// Its path, such as `/twintier.v1.CacheService/Get`.
    pub path: http::Uri,
    /// When its headers had arrived.
    pub started_at: Instant,
    /// Time until its work began: the wait for its body and for a slot.
    pub queued: Duration,
}

impl RequestTiming {
    /// Logs the request if it was slow. `response` is `None` if the deadline passed first.
    pub fn end<B>(&self, slot: &RequestSlot, response: Option<&Response<B>>) {
        if !slot.is_slow() {
            return;
        }
        let status =
            response.map(|response| Status::from_header_map(response.headers()).map_or(Code::Ok, |it| it.code()));
        let facts = slot.facts().cloned().unwrap_or_default();
        self.log(status.unwrap_or(Code::DeadlineExceeded), facts, slot.has_waited());
    }

    /// Logs a slow request.
    pub fn log(&self, code: Code, facts: Facts, has_waited: bool) {
        let Facts { namespace, key, outcome, tier, degraded } = facts;
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        tracing::info!(
            target: SLOW_REQUESTS,
            rpc = self.path.path().trim_start_matches('/'),
            namespace,
            key,
            took_ms = millis(self.started_at.elapsed()),
            queued_ms = millis(self.queued),
            code = status_name(code),
            outcome,
            tier,
            lease_wait = has_waited,
            degraded,
            "slow request"
        );
    }
}

/// Records the facts of a request that is slow so far.
pub fn record_if_slow(slot: Option<&RequestSlot>, facts: impl FnOnce() -> Facts) {
    if let Some(slot) = slot.filter(|slot| slot.is_slow()) {
        slot.set_facts(facts());
    }
}

/// Returns the facts of a request of a namespace.
pub fn namespace_facts(name: &str) -> Facts {
    Facts { namespace: name.to_owned(), ..Facts::default() }
}
