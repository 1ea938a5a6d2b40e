//! grpc.health.v1. Names: "" and the cache's service follow readiness, as does "readiness"; "liveness" serves as long as the process does, the
//! administration's service until it ends; "redis" serves while Redis is healthy; "l1-only" serves when no Redis is configured. Check on another name is NOT_FOUND, Watch says SERVICE_UNKNOWN.
//! A watch lasts until its caller's deadline, or until its connection is asked to close.

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
    /// Health that follows `state`; whether there is a service for administration.
    pub fn new(state: watch::Receiver<health::Health>, admin: bool) -> HealthApi {
        HealthApi { state, admin }
    }

    /// Returns whether callers should come here.
    pub(super) fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    fn serving(&self, service: &str, state: health::Health) -> Option<bool> {
        match service {
            // Also while drained: it is what ends that.
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
        let leave = request.extensions().get::<StreamLifetime>().cloned().unwrap_or_default();
        let service = request.into_inner().service;
        // The last status sent; `None` before the first.
        let begin = Some((self.clone(), service, leave, None));
        let changes = unfold(begin, |state| async move {
            let (mut health, service, leave, last) = state?;
            loop {
                let state = *health.state.borrow_and_update();
                let next = health.response(&service, state);
                if last != Some(next) {
                    return Some((Ok(next), Some((health, service, leave, Some(next)))));
                }
                tokio::select! {
                    biased;
                    end = middleware::end(&leave) => return Some((Err(end?), None)),
                    changed = health.state.changed() => changed.ok()?,
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
