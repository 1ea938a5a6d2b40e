//! The service `twintier.v1.AdminService`: a look inside this replica, and its switches. Each RPC is parse, call, translate.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::convert::{self, Rules};
use super::guard::Deadline;
use super::service::CacheApi;
use super::stats::Observed;
use super::status::status;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::pb;

/// The service `twintier.v1.AdminService`.
pub struct AdminApi {
    observed: Arc<Observed>,
    rules: Arc<Rules>,
    draining: watch::Sender<bool>,
}

impl AdminApi {
    /// The service beside that of a cache. It tells `draining` whether this replica is to report that it does not serve.
    pub fn new(cache: &CacheApi, draining: watch::Sender<bool>) -> AdminApi {
        let (observed, rules) = cache.parts();
        AdminApi { observed, rules, draining }
    }

    async fn do_inspect(
        &self,
        request: &pb::InspectRequest,
        deadline: Moment,
    ) -> Result<pb::InspectResponse, CacheError> {
        let key = convert::inspect(&self.rules, request)?;
        let inspection = self.observed.cache.inspect(&key, deadline).await;
        Ok(convert::inspect_response(&key, inspection))
    }

    fn do_hot_keys(&self, request: &pb::HotKeysRequest) -> Result<pb::HotKeysResponse, CacheError> {
        let (namespace, limit) = convert::hot_keys(&self.rules, request)?;
        Ok(convert::hot_keys_response(self.observed.cache.hot_keys(limit, namespace.as_deref())))
    }

    fn deadline<T>(&self, request: &Request<T>) -> Moment {
        let now = self.rules.clock.now();
        request.extensions().get::<Deadline>().map_or(Moment::FOREVER, |deadline| now.plus(deadline.left()))
    }
}

fn answer<T>(result: Result<T, CacheError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status(&error))
}

#[tonic::async_trait]
impl pb::admin_service_server::AdminService for AdminApi {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let deadline = self.deadline(&request);
        answer(self.do_inspect(request.get_ref(), deadline).await)
    }

    async fn hot_keys(&self, request: Request<pb::HotKeysRequest>) -> Result<Response<pb::HotKeysResponse>, Status> {
        answer(self.do_hot_keys(request.get_ref()))
    }

    async fn list_policies(
        &self,
        _: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn set_policy(&self, _: Request<pb::SetPolicyRequest>) -> Result<Response<pb::SetPolicyResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn reset_policy(
        &self,
        _: Request<pb::ResetPolicyRequest>,
    ) -> Result<Response<pb::ResetPolicyResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainResponse>, Status> {
        let draining = request.get_ref().draining;
        if self.draining.send_replace(draining) != draining {
            tracing::warn!(draining, "told whether to report that this replica does not serve");
        }
        Ok(Response::new(pb::DrainResponse { draining }))
    }

    async fn reset_stats(&self, _: Request<pb::ResetStatsRequest>) -> Result<Response<pb::ResetStatsResponse>, Status> {
        self.observed.reset();
        tracing::info!("stats count from now on");
        Ok(Response::new(pb::ResetStatsResponse {}))
    }
}
