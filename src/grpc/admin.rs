//! The service `twintier.v1.AdminService`: a look inside this replica, and its switches. Each RPC is parse, call, translate.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::convert::{self, RequestContext};
use super::log_level::LogLevel;
use super::middleware::Deadline;
use super::service::CacheApi;
use super::stats::StatsReporter;
use super::status::status;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::fleet::policy_sync::PolicySync;
use crate::pb;

/// The service `twintier.v1.AdminService`.
pub struct AdminApi {
    reports: Arc<StatsReporter>,
    rules: Arc<RequestContext>,
    policies: Arc<PolicySync>,
    draining: watch::Sender<bool>,
    /// The level of the log; none: this process has no log of its own.
    log_level: Option<Arc<LogLevel>>,
}

impl AdminApi {
    /// The service beside that of a cache. It tells `draining` whether this replica is to report that it does not serve.
    pub fn new(
        cache: &CacheApi,
        policies: Arc<PolicySync>,
        draining: watch::Sender<bool>,
        log_level: Option<Arc<LogLevel>>,
    ) -> AdminApi {
        let (reports, rules) = cache.parts();
        AdminApi { reports, rules, policies, draining, log_level }
    }

    async fn do_inspect(
        &self,
        request: &pb::InspectRequest,
        deadline: Moment,
    ) -> Result<pb::InspectResponse, CacheError> {
        let key = convert::inspect(&self.rules, request)?;
        let inspection = self.reports.observed.cache.inspect(&key, deadline).await;
        Ok(convert::inspect_response(&key, inspection))
    }

    fn do_hot_keys(&self, request: &pb::HotKeysRequest) -> Result<pb::HotKeysResponse, CacheError> {
        let (namespace, limit) = convert::hot_keys(&self.rules, request)?;
        Ok(convert::hot_keys_response(self.reports.observed.cache.hot_keys(limit, namespace.as_deref())))
    }

    fn do_list_policies(&self, request: &pb::ListPoliciesRequest) -> Result<pb::ListPoliciesResponse, CacheError> {
        let listed = convert::listed(&self.rules, request)?;
        let namespaces = listed.iter().map(|namespace| convert::namespace_policy(namespace)).collect();
        Ok(pb::ListPoliciesResponse { service: Some(self.service_policy()), namespaces })
    }

    async fn do_set_policy(
        &self,
        request: &pb::SetPolicyRequest,
        deadline: Moment,
    ) -> Result<pb::NamespacePolicy, CacheError> {
        let (namespace, patch) = convert::set_policy(&self.rules, request)?;
        let until = self.until(deadline);
        match namespace {
            None => {
                self.policies.change_service(patch, until).await.map_err(convert::in_policy)?;
                Ok(self.service_policy())
            }
            Some(namespace) => {
                self.policies.change(&namespace, patch, until).await.map_err(convert::in_policy)?;
                Ok(convert::namespace_policy(&namespace))
            }
        }
    }

    async fn do_reset_policy(
        &self,
        request: &pb::ResetPolicyRequest,
        deadline: Moment,
    ) -> Result<pb::NamespacePolicy, CacheError> {
        let until = self.until(deadline);
        match request.namespace.as_str() {
            "" => {
                self.policies.reset_service(until).await?;
                Ok(self.service_policy())
            }
            name => {
                let namespace = self.rules.namespaces.get("namespace", name)?;
                self.policies.reset(&namespace, until).await?;
                Ok(convert::namespace_policy(&namespace))
            }
        }
    }

    fn service_policy(&self) -> pb::NamespacePolicy {
        convert::service_policy(self.reports.observed.cache.switches(), &self.policies.service())
    }

    /// Longest wait for a change to be kept.
    fn until(&self, deadline: Moment) -> Moment {
        self.rules.clock.now().plus(self.reports.observed.cache.config().write_timeout).min(deadline)
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
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        answer(self.do_list_policies(request.get_ref()))
    }

    async fn set_policy(
        &self,
        request: Request<pb::SetPolicyRequest>,
    ) -> Result<Response<pb::SetPolicyResponse>, Status> {
        let deadline = self.deadline(&request);
        let policy = self.do_set_policy(request.get_ref(), deadline).await;
        answer(policy.map(|policy| pb::SetPolicyResponse { policy: Some(policy) }))
    }

    async fn reset_policy(
        &self,
        request: Request<pb::ResetPolicyRequest>,
    ) -> Result<Response<pb::ResetPolicyResponse>, Status> {
        let deadline = self.deadline(&request);
        let policy = self.do_reset_policy(request.get_ref(), deadline).await;
        answer(policy.map(|policy| pb::ResetPolicyResponse { policy: Some(policy) }))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainResponse>, Status> {
        let draining = request.get_ref().draining;
        if self.draining.send_replace(draining) != draining {
            match draining {
                true => tracing::warn!("told to drain: readiness is NOT_SERVING until it is told to serve again"),
                false => tracing::info!("told to serve again"),
            }
        }
        Ok(Response::new(pb::DrainResponse { draining }))
    }

    async fn reset_stats(&self, _: Request<pb::ResetStatsRequest>) -> Result<Response<pb::ResetStatsResponse>, Status> {
        self.reports.reset();
        tracing::info!("stats count from now on");
        Ok(Response::new(pb::ResetStatsResponse {}))
    }

    async fn set_log_level(
        &self,
        request: Request<pb::SetLogLevelRequest>,
    ) -> Result<Response<pb::SetLogLevelResponse>, Status> {
        let Some(log) = &self.log_level else {
            return Err(Status::failed_precondition("the log of this process is not that of the service"));
        };
        let asked = convert::log_level(request.get_ref()).map_err(|error| status(&error))?;
        match asked {
            Some((level, lasts)) => log.change(level, lasts).map_err(|error| status(&error))?,
            None => log.reset(),
        }
        Ok(Response::new(log.told()))
    }
}
