//! The health service, grpc.health.v1.
//!
//! The names "", "readiness" and that of the cache service follow readiness. "liveness" is SERVING
//! as long as the process runs, the name of the admin service until the process shuts down, "redis"
//! while Redis is healthy, and "l1-only" if no Redis is configured. For any other name Check
//! returns NOT_FOUND and Watch sends SERVICE_UNKNOWN. A Watch ends at the caller's deadline or when
//! its connection shuts down.

use std::pin::Pin;

use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::middleware;
use super::middleware::StreamLifetime;
use crate::cache::fleet::health;
use crate::cache::quoted::quoted;
use crate::cache::tier::L2State;
use crate::pb::{admin_service_server, cache_service_server};

/// The health service.
#[derive(Clone)]
pub struct HealthApi {
    state: watch::Receiver<health::Health>,
    admin: bool,
}

impl HealthApi {
    /// Creates a health service that follows `state`.
    ///
    /// `admin` is true if the admin service is served.
    pub fn new(state: watch::Receiver<health::Health>, admin: bool) -> HealthApi {
        HealthApi { state, admin }
    }

    /// Returns true if this replica should receive calls.
    pub(super) fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    fn serving(&self, service: &str, state: health::Health) -> Option<bool> {
        match service {
            // SERVING during a drain, too: it ends the drain.
            admin_service_server::SERVICE_NAME => self.admin.then_some(!state.is_ending()),
            service => serving(service, state),
        }
    }

    fn response(&self, service: &str, state: health::Health) -> HealthCheckResponse {
        let status = match self.serving(service, state) {
            Some(true) => ServingStatus::Serving,
            Some(false) => ServingStatus::NotServing,
            None => ServingStatus::ServiceUnknown,
        };
        HealthCheckResponse { status: status.into() }
    }
}

fn serving(service: &str, state: health::Health) -> Option<bool> {
    match service {
        "" | cache_service_server::SERVICE_NAME | "readiness" => Some(state.is_ready()),
        "liveness" => Some(true),
        "redis" => Some(state.l2 == L2State::Healthy),
        "l1-only" => Some(state.l2 == L2State::Disabled),
        _ => None,
    }
}

#[tonic::async_trait]
impl Health for HealthApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        let state = *self.state.borrow();
        match self.serving(service, state) {
            Some(_) => Ok(Response::new(self.response(service, state))),
            None => Err(Status::not_found(format!("no service {}", quoted(service)))),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let lifetime = request.extensions().get::<StreamLifetime>().cloned().unwrap_or_default();
        let service = request.into_inner().service;
        // The last field is the last status sent; `None` before the first.
        let begin = Some((self.clone(), service, lifetime, None));
        let changes = unfold(begin, |state| async move {
            let (mut health, service, lifetime, last) = state?;
            loop {
                let state = *health.state.borrow_and_update();
                let next = health.response(&service, state);
                if last != Some(next) {
                    return Some((Ok(next), Some((health, service, lifetime, Some(next)))));
                }
                tokio::select! {
                    biased;
                    end = middleware::stream_end(&lifetime) => return Some((Err(end?), None)),
                    changed = health.state.changed() => changed.ok()?,
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
