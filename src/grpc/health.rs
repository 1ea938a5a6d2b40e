//! grpc.health.v1. Names: "" and the service follow readiness, as does "readiness"; "liveness" serves as long as the process does; "redis"
//! serves while Redis is healthy; "l1-only" serves when no Redis is configured. Check on another name is NOT_FOUND, Watch says SERVICE_UNKNOWN.

use std::pin::Pin;

use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::cache::tier::L2State;
use crate::pb::cache_service_server::SERVICE_NAME;

/// What health is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthState {
    /// Callers should come here.
    pub ready: bool,
    /// State of the shared tier.
    pub l2: L2State,
}

/// The health service.
#[derive(Clone)]
pub struct HealthApi(watch::Receiver<HealthState>);

impl HealthApi {
    /// Health that follows `state`.
    pub fn new(state: watch::Receiver<HealthState>) -> HealthApi {
        HealthApi(state)
    }
}

fn serving(service: &str, state: HealthState) -> Option<bool> {
    match service {
        "" | SERVICE_NAME | "readiness" => Some(state.ready),
        "liveness" => Some(true),
        "redis" => Some(state.l2 == L2State::Healthy),
        "l1-only" => Some(state.l2 == L2State::Disabled),
        _ => None,
    }
}

fn response(service: &str, state: HealthState) -> HealthCheckResponse {
    let status = match serving(service, state) {
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
        None => ServingStatus::ServiceUnknown,
    };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        let state = *self.0.borrow();
        match serving(service, state) {
            Some(_) => Ok(Response::new(response(service, state))),
            None => Err(Status::not_found(format!("no service {service:?}"))),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        // The last status sent; none before the first.
        let begin = (self.0.clone(), service, None);
        let changes = unfold(begin, |(mut state, service, last)| async move {
            loop {
                let next = response(&service, *state.borrow_and_update());
                if last != Some(next) {
                    return Some((Ok(next), (state, service, Some(next))));
                }
                state.changed().await.ok()?;
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
