//! The RPCs of `twintier.v1.AdminService`: each parses, calls the core and translates.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::access::{RequestAccess, access_of, authorize, hides_service_policy, name_hot_keys};
use super::convert::{self, RequestContext};
use super::export::{Export, ExportContext, ExportResponses};
use super::log_level::LogLevel;
use super::middleware::{Deadline, StreamLifetime};
use super::service::CacheApi;
use super::stats::StatsReporter;
use super::status::status;
use crate::auth::{AdminAction, Authority};
use crate::cache::admission::slot::RequestSlot;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::fleet::policy_sync::PolicySync;
use crate::pb;

/// The service `twintier.v1.AdminService`.
pub struct AdminApi {
    reporter: Arc<StatsReporter>,
    context: Arc<RequestContext>,
    policies: Arc<PolicySync>,
    draining: watch::Sender<bool>,
    /// The log level. `None` if this process has no log of its own.
    log_level: Option<Arc<LogLevel>>,
    /// Has the audit log, for admin actions.
    authority: Arc<Authority>,
}

/// An admin action, for the audit log.
struct Action<'a, T> {
    name: &'static str,
    request: &'a Request<T>,
    namespace: &'a str,
    before: String,
}

impl AdminApi {
    /// Creates the admin service for `cache`.
    ///
    /// Sends true to `draining` when the replica shall report NOT_SERVING.
    pub fn new(
        cache: &CacheApi,
        policies: Arc<PolicySync>,
        draining: watch::Sender<bool>,
        log_level: Option<Arc<LogLevel>>,
        authority: Arc<Authority>,
    ) -> AdminApi {
        let (reporter, context) = cache.reporter_and_context();
        AdminApi { reporter, context, policies, draining, log_level, authority }
    }

    async fn do_inspect(
        &self,
        request: &pb::InspectRequest,
        deadline: Moment,
    ) -> Result<pb::InspectResponse, CacheError> {
        let key = convert::inspect(&self.context, request)?;
        let inspection = self.reporter.observed.cache.inspect(&key, deadline).await;
        Ok(convert::inspect_response(&key, inspection))
    }

    fn do_hot_keys(
        &self,
        request: &pb::HotKeysRequest,
        access: Option<&RequestAccess>,
    ) -> Result<pb::HotKeysResponse, CacheError> {
        let (namespace, limit) = convert::hot_keys(&self.context, request)?;
        let hottest = self.reporter.observed.cache.hot_keys(limit, namespace.as_deref());
        let mut response = convert::hot_keys_response(hottest.clone());
        name_hot_keys(access, &hottest, &mut response);
        Ok(response)
    }

    fn begin_export(&self, request: &Request<pb::ExportEntriesRequest>) -> Result<Export, CacheError> {
        let plan = convert::export(&self.context, request.get_ref())?;
        let (observed, extensions) = (&self.reporter.observed, request.extensions());
        let service = ExportContext {
            cache: observed.cache.clone(),
            context: self.context.clone(),
            access: access_of(extensions).cloned(),
            account: extensions.get::<RequestSlot>().map(|slot| slot.account().clone()),
            bytes_limit: observed.admission.bytes_limit(),
            closing: extensions.get::<StreamLifetime>().map(|lifetime| lifetime.closing.clone()).unwrap_or_default(),
            deadline: self.deadline(request),
        };
        Ok(Export::new(service, plan))
    }

    fn do_list_policies(
        &self,
        request: &pb::ListPoliciesRequest,
        access: Option<&RequestAccess>,
    ) -> Result<pb::ListPoliciesResponse, CacheError> {
        let listed = convert::listed_namespaces(&self.context, request)?;
        let namespaces = listed.iter().map(|namespace| convert::namespace_policy(namespace)).collect();
        let service = (!hides_service_policy(access)).then(|| self.service_policy());
        Ok(pb::ListPoliciesResponse { service, namespaces })
    }

    /// Returns the policy of a namespace, or of the service if the name is empty, as text for the
    /// audit log.
    fn policy_text(&self, namespace: &str) -> String {
        let policy = match namespace {
            "" => Some(self.service_policy()),
            name => self.context.namespaces.find(name).map(|namespace| convert::namespace_policy(&namespace)),
        };
        policy.map_or_else(String::new, |policy| convert::policy_text(&policy))
    }

    /// Writes an action to the audit log.
    fn audit<T>(&self, action: &Action<'_, T>, after: &str) {
        let Action { name, request, namespace, before } = action;
        let access = access_of(request.extensions());
        let (identity, known) =
            access.map_or(("", ""), |access| (&*access.caller().identity.name, access.caller().known.name()));
        let peer = access.map_or_else(String::new, |access| access.peer().to_string());
        let (action, peer) = (*name, &peer);
        self.authority.audit().admin_action(&AdminAction { identity, known, peer, action, namespace, before, after });
    }

    async fn do_set_policy(
        &self,
        request: &pb::SetPolicyRequest,
        deadline: Moment,
    ) -> Result<pb::NamespacePolicy, CacheError> {
        let (namespace, patch) = convert::set_policy(&self.context, request)?;
        let write_deadline = self.write_deadline(deadline);
        match namespace {
            None => {
                self.policies.change_service(patch, write_deadline).await.map_err(convert::in_policy)?;
                Ok(self.service_policy())
            }
            Some(namespace) => {
                self.policies.change(&namespace, patch, write_deadline).await.map_err(convert::in_policy)?;
                Ok(convert::namespace_policy(&namespace))
            }
        }
    }

    async fn do_reset_policy(
        &self,
        request: &pb::ResetPolicyRequest,
        deadline: Moment,
    ) -> Result<pb::NamespacePolicy, CacheError> {
        let write_deadline = self.write_deadline(deadline);
        match request.namespace.as_str() {
            "" => {
                self.policies.reset_service(write_deadline).await?;
                Ok(self.service_policy())
            }
            name => {
                let namespace = self.context.namespaces.get("namespace", name)?;
                self.policies.reset(&namespace, write_deadline).await?;
                Ok(convert::namespace_policy(&namespace))
            }
        }
    }

    fn service_policy(&self) -> pb::NamespacePolicy {
        convert::service_policy(self.reporter.observed.cache.switches(), &self.policies.service())
    }

    /// Returns the deadline for storing a change: the write timeout or the caller's deadline.
    fn write_deadline(&self, deadline: Moment) -> Moment {
        self.context.clock.now().plus(self.reporter.observed.cache.config().write_timeout).min(deadline)
    }

    fn deadline<T>(&self, request: &Request<T>) -> Moment {
        let now = self.context.clock.now();
        request.extensions().get::<Deadline>().map_or(Moment::FOREVER, |deadline| now.plus(deadline.left()))
    }
}

fn answer<T>(result: Result<T, CacheError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status(&error))
}

#[tonic::async_trait]
impl pb::admin_service_server::AdminService for AdminApi {
    async fn inspect(&self, request: Request<pb::InspectRequest>) -> Result<Response<pb::InspectResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        answer(self.do_inspect(request.get_ref(), deadline).await)
    }

    async fn hot_keys(&self, request: Request<pb::HotKeysRequest>) -> Result<Response<pb::HotKeysResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        answer(self.do_hot_keys(request.get_ref(), access_of(request.extensions())))
    }

    type ExportEntriesStream = ExportResponses;

    async fn export_entries(
        &self,
        request: Request<pb::ExportEntriesRequest>,
    ) -> Result<Response<ExportResponses>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let export = self.begin_export(&request).map_err(|error| status(&error))?;
        if request.get_ref().cursor.is_empty() {
            let namespace = &request.get_ref().namespaces.join(",");
            let action = Action { name: "ExportEntries", request: &request, namespace, before: String::new() };
            self.audit(&action, "");
        }
        Ok(Response::new(export.responses()))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        answer(self.do_list_policies(request.get_ref(), access_of(request.extensions())))
    }

    async fn set_policy(
        &self,
        request: Request<pb::SetPolicyRequest>,
    ) -> Result<Response<pb::SetPolicyResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let namespace = request.get_ref().namespace.as_str();
        let before = self.policy_text(namespace);
        let policy = self.do_set_policy(request.get_ref(), deadline).await;
        if policy.is_ok() {
            let action = Action { name: "SetPolicy", request: &request, namespace, before };
            self.audit(&action, &self.policy_text(namespace));
        }
        answer(policy.map(|policy| pb::SetPolicyResponse { policy: Some(policy) }))
    }

    async fn reset_policy(
        &self,
        request: Request<pb::ResetPolicyRequest>,
    ) -> Result<Response<pb::ResetPolicyResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let namespace = request.get_ref().namespace.as_str();
        let before = self.policy_text(namespace);
        let policy = self.do_reset_policy(request.get_ref(), deadline).await;
        if policy.is_ok() {
            let action = Action { name: "ResetPolicy", request: &request, namespace, before };
            self.audit(&action, &self.policy_text(namespace));
        }
        answer(policy.map(|policy| pb::ResetPolicyResponse { policy: Some(policy) }))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let draining = request.get_ref().draining;
        let was_draining = self.draining.send_replace(draining);
        let action = Action { name: "Drain", request: &request, namespace: "", before: was_draining.to_string() };
        self.audit(&action, &draining.to_string());
        if was_draining != draining {
            if draining {
                tracing::warn!("drain switched on: readiness reports NOT_SERVING");
            } else {
                tracing::info!("drain switched off");
            }
        }
        Ok(Response::new(pb::DrainResponse { draining }))
    }

    async fn reset_stats(
        &self,
        request: Request<pb::ResetStatsRequest>,
    ) -> Result<Response<pb::ResetStatsResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        self.reporter.reset();
        let action = Action { name: "ResetStats", request: &request, namespace: "", before: String::new() };
        self.audit(&action, "");
        tracing::info!("statistics reset");
        Ok(Response::new(pb::ResetStatsResponse {}))
    }

    async fn set_log_level(
        &self,
        request: Request<pb::SetLogLevelRequest>,
    ) -> Result<Response<pb::SetLogLevelResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let Some(log) = &self.log_level else {
            return Err(Status::failed_precondition("this process has no log of its own"));
        };
        let requested = convert::log_level(request.get_ref()).map_err(|error| status(&error))?;
        let before = log.in_force().level;
        match requested {
            Some((level, lasts)) => log.change(level, lasts).map_err(|error| status(&error))?,
            None => log.reset(),
        }
        let action = Action { name: "SetLogLevel", request: &request, namespace: "", before };
        self.audit(&action, &log.in_force().level);
        Ok(Response::new(log.in_force()))
    }
}
