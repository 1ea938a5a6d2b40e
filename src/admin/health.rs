//! `/livez` and `/readyz`. Without Redis a replica stays alive and ready: it still answers.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::watch;

use super::snapshot::state_name;
use crate::cache::fleet::health::Health;
use crate::cache::tier::TierStatus;

pub fn routes(health: watch::Receiver<Health>, l2: Arc<dyn TierStatus>) -> Router {
    let ready = move |headers: HeaderMap| async move {
        let health = *health.borrow();
        readiness(health, &l2.report().reason, wants_json(&headers))
    };
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"))
}

/// Response of `/readyz`: whether callers should use this replica, and if not why; the state of
/// Redis for information.
fn readiness(health: Health, reason: &str, json: bool) -> Response {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (why, state) = (health.not_ready.map(|why| why.to_string()), state_name(health.l2));
    if json {
        let document = json!({
            "ready": health.is_ready(),
            "reasons": why.into_iter().collect::<Vec<_>>(),
            "redis": { "state": state, "reason": reason },
        });
        return (
            status,
            [(CONTENT_TYPE, "application/json")],
            format!(
                "{document}
"
            ),
        )
            .into_response();
    }
    let first = why.unwrap_or_else(|| "ready".to_owned());
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    (status, format!("{first}\nredis {state}{reason}\n")).into_response()
}
