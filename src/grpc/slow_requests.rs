//! Requests that take long, in the log: which, how long, and what is known of where the time went.

use std::time::{Duration, Instant};

use http::Response;
use tonic::{Code, Status};

use super::method_names::status_name;
use crate::cache::admission::slot::{Facts, RequestSlot};
use crate::cache::log_fields::{SLOW_REQUESTS, millis};

/// The course of one request.
pub struct Course {
    /// Its path: `/twintier.v1.CacheService/Get`.
    pub path: http::Uri,
    /// Time at which its head had come.
    pub begun: Instant,
    /// Wait for its work to begin: its body, and a place among the requests in work.
    pub queued: Duration,
}

impl Course {
    /// Logs the request, if it took long. A response that did not come in time is none.
    pub fn end<B>(&self, place: &RequestSlot, response: Option<&Response<B>>) {
        if !place.is_slow() {
            return;
        }
        let status =
            response.map(|response| Status::from_header_map(response.headers()).map_or(Code::Ok, |it| it.code()));
        let code = status_name(status.unwrap_or(Code::DeadlineExceeded));
        let Facts { namespace, key, outcome, tier, degraded } = place.facts().cloned().unwrap_or_default();
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        tracing::info!(
            target: SLOW_REQUESTS,
            rpc = self.path.path().trim_start_matches('/'),
            namespace,
            key,
            took_ms = millis(self.begun.elapsed()),
            queued_ms = millis(self.queued),
            code,
            outcome,
            tier,
            lease_wait = place.has_waited(),
            degraded,
            "slow request"
        );
    }
}
