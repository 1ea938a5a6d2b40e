//! The RPCs of `twintier.v1.CacheService`: each parses, calls the core and translates.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::access::{WatchAccess, access_of, authorize, authorize_ask, narrowed_pattern, narrowed_watch, show_stats};
use super::batch_get::{self, BatchGet};
use super::convert::{self, InvalidationPlan, RequestContext};
use super::middleware::Deadline;
use super::slow_requests::{namespace_facts, record_if_slow};
use super::stats::StatsReporter;
use super::status::status;
use super::watch::{AdmittedWatch, WatchResponses};
use crate::cache::admission::limits::Account;
use crate::cache::admission::slot::{Facts, RequestSlot};
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::CacheError;
use crate::cache::key::KeyRef;
use crate::cache::key_form::KeyForm;
use crate::cache::policy::{Events, Limits};
use crate::cache::spans::{self, ITEMS, NAMESPACE, OUTCOME};
use crate::cache::tiered::{Many, Set, SetAnswer};
use crate::pb;

/// The service `twintier.v1.CacheService`.
pub struct CacheApi {
    pub(super) reporter: Arc<StatsReporter>,
    pub(super) context: Arc<RequestContext>,
    logged_keys: KeyForm,
}

impl CacheApi {
    /// Creates the service.
    pub fn new(
        reporter: Arc<StatsReporter>,
        limits: Limits,
        events: Events,
        clock: Arc<dyn Clock>,
        logged_keys: KeyForm,
    ) -> CacheApi {
        let observed = &reporter.observed;
        let (partitions, namespaces) = (observed.cache.coherence().partitions(), observed.namespaces.clone());
        CacheApi {
            context: Arc::new(RequestContext { limits, namespaces, partitions, clock, events }),
            reporter,
            logged_keys,
        }
    }

    /// Returns the reporter and the context that requests are checked against.
    pub(super) fn reporter_and_context(&self) -> (Arc<StatsReporter>, Arc<RequestContext>) {
        (self.reporter.clone(), self.context.clone())
    }

    /// Returns the limits of requests.
    pub(super) fn limits(&self) -> &Limits {
        &self.context.limits
    }

    async fn do_set(
        &self,
        request: pb::SetRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::SetResponse, CacheError> {
        let (set, token) = convert::set(&self.context, request, deadline)?;
        let answer = self.store(set, |facts| record_if_slow(slot, facts)).await?;
        Ok(convert::set_response(answer, token, self.context.partitions))
    }

    /// Stores an entry. `record` receives the facts for the log of slow requests.
    pub(super) async fn store(
        &self,
        set: Set,
        record: impl FnOnce(&dyn Fn() -> Facts),
    ) -> Result<SetAnswer, CacheError> {
        let key = set.write.key.clone();
        let _in_flight = key.namespace().enter()?;
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reporter.observed.cache.set(set).await;
        record(&|| Facts {
            outcome: answer.as_ref().ok().map(|answer| answer.outcome.word()),
            ..self.key_facts(key.as_ref())
        });
        let answer = answer?;
        spans::note(OUTCOME, answer.outcome.word());
        tracing::debug!(namespace = %key.namespace().name(), key = %self.logged_key(key.as_ref()), outcome = answer.outcome.word(), "set");
        Ok(answer)
    }

    async fn do_invalidate(
        &self,
        request: pb::InvalidateRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::InvalidateResponse, CacheError> {
        let cache = &self.reporter.observed.cache;
        let mut plan = convert::invalidate(&self.context, &request, &BTreeSet::new(), deadline)?;
        if request.all_namespaces {
            let elsewhere = cache.namespaces_in_l2(deadline).await?;
            plan = convert::invalidate(&self.context, &request, &elsewhere, deadline)?;
        }
        let InvalidationPlan { invalidates, response } = plan;
        let entered: Result<Vec<_>, _> = invalidates.iter().map(|invalidate| invalidate.namespace.enter()).collect();
        let _in_flight = entered?;
        let first = invalidates.first().map(|first| first.namespace.clone());
        if let Some(first) = &first {
            spans::note(NAMESPACE, first.name());
        }
        let answers = cache.invalidate_all(invalidates).await;
        record_if_slow(slot, || namespace_facts(first.as_ref().map_or("", |first| first.name())));
        let answers = answers?;
        for (namespace, answer) in &answers {
            tracing::debug!(namespace = %namespace.name(), removed = answer.removed, "invalidate");
        }
        Ok(convert::invalidate_response(answers, response, self.context.partitions))
    }

    async fn do_touch(
        &self,
        request: &pb::TouchRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::TouchResponse, CacheError> {
        let (key, touch, token) = convert::touch(&self.context, request)?;
        let _in_flight = key.namespace().enter()?;
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reporter.observed.cache.touch(key.clone(), touch, deadline).await;
        record_if_slow(slot, || Facts {
            outcome: answer.as_ref().ok().map(|answer| answer.outcome.word()),
            ..self.key_facts(key.as_ref())
        });
        let answer = answer?;
        tracing::debug!(namespace = %key.namespace().name(), key = %self.logged_key(key.as_ref()), outcome = answer.outcome.word(), "touch");
        Ok(convert::touch_response(answer, token, self.context.partitions))
    }

    async fn begin_batch_get(
        &self,
        request: pb::BatchGetRequest,
        deadline: Moment,
        account: Option<Arc<Account>>,
    ) -> Result<BatchGet, CacheError> {
        let parts = convert::batch_get(&self.context, &request)?;
        record_batch(parts.namespace.name(), request.keys.len());
        tracing::debug!(namespace = %parts.namespace.name(), keys = request.keys.len(), "batch get");
        let (cache, load) = (self.reporter.observed.cache.clone(), self.reporter.observed.admission.clone());
        let (clock, namespaces) = (self.context.clock.clone(), self.context.namespaces.clone());
        let value_size = self.context.limits.value_size;
        let service = batch_get::BatchGetContext { cache, load, account, clock, namespaces, value_size };
        BatchGet::begin(service, parts, request, deadline).await
    }

    async fn do_batch_set(
        &self,
        request: pb::BatchSetRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::BatchSetResponse, CacheError> {
        let (many, token) = convert::batch_set(&self.context, request, deadline)?;
        let (namespace, items) = (many.namespace.clone(), many.writes.len());
        let _in_flight = namespace.enter()?;
        record_batch(namespace.name(), items);
        let done = self.reporter.observed.cache.set_many(many).await;
        record_if_slow(slot, || namespace_facts(namespace.name()));
        let done = done?;
        tracing::debug!(namespace = %namespace.name(), items, failed = failed(&done), "batch set");
        Ok(convert::batch_set_response(done, token, self.context.partitions))
    }

    async fn do_batch_invalidate(
        &self,
        request: &pb::BatchInvalidateRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::BatchInvalidateResponse, CacheError> {
        let (many, token) = convert::batch_invalidate(&self.context, request, deadline)?;
        let (namespace, items) = (many.namespace.clone(), many.removals.len());
        let _in_flight = namespace.enter()?;
        record_batch(namespace.name(), items);
        let done = self.reporter.observed.cache.invalidate_many(many).await;
        record_if_slow(slot, || namespace_facts(namespace.name()));
        let done = done?;
        tracing::debug!(namespace = %namespace.name(), items, failed = failed(&done), "batch invalidate");
        Ok(convert::batch_invalidate_response(done, token, self.context.partitions))
    }

    async fn do_release(
        &self,
        request: &pb::ReleaseLeaseRequest,
        deadline: Moment,
        slot: Option<&RequestSlot>,
    ) -> Result<pb::ReleaseLeaseResponse, CacheError> {
        let release = convert::release(&self.context, request, deadline)?;
        let key = release.key.clone();
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reporter.observed.cache.release(release).await;
        record_if_slow(slot, || self.key_facts(key.as_ref()));
        let answer = answer?;
        tracing::debug!(namespace = %key.namespace().name(), key = %self.logged_key(key.as_ref()), released = answer.released, "release");
        Ok(convert::release_response(answer))
    }

    fn deadline<T>(&self, request: &Request<T>) -> Moment {
        let now = self.context.clock.now();
        request.extensions().get::<Deadline>().map_or(Moment::FOREVER, |deadline| now.plus(deadline.left()))
    }

    pub(super) fn key_facts(&self, key: KeyRef<'_>) -> Facts {
        Facts { key: Some(self.logged_key(key)), ..namespace_facts(key.namespace.name()) }
    }

    pub(super) fn logged_key(&self, key: KeyRef<'_>) -> String {
        self.logged_keys.format(key)
    }
}

fn slot_of<T>(request: &Request<T>) -> Option<RequestSlot> {
    request.extensions().get::<RequestSlot>().cloned()
}

fn record_batch(namespace: &str, items: usize) {
    spans::here().record(NAMESPACE, namespace).record(ITEMS, items);
}

fn failed<T>(many: &Many<T>) -> usize {
    many.results.iter().filter(|result| result.is_err()).count()
}

#[tonic::async_trait]
impl pb::cache_service_server::CacheService for CacheApi {
    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        self.do_get(&request, deadline).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn set(&self, request: Request<pb::SetRequest>) -> Result<Response<pb::SetResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let slot = slot_of(&request);
        let answer = self.do_set(request.into_inner(), deadline, slot.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn invalidate(
        &self,
        mut request: Request<pb::InvalidateRequest>,
    ) -> Result<Response<pb::InvalidateResponse>, Status> {
        let narrowed = narrowed_pattern(access_of(request.extensions()), request.get_ref());
        let (_granted, pattern) = match narrowed {
            Some((pattern, ask)) => (authorize_ask(&request, &self.context.namespaces, || ask)?, Some(pattern)),
            None => (authorize(&request, &self.context.namespaces)?, None),
        };
        if let Some(pattern) = pattern {
            request.get_mut().selector = Some(pb::invalidate_request::Selector::Pattern(pattern));
        }
        let deadline = self.deadline(&request);
        let slot = slot_of(&request);
        let answer = self.do_invalidate(request.into_inner(), deadline, slot.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> Result<Response<pb::TouchResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let slot = request.extensions().get::<RequestSlot>();
        self.do_touch(request.get_ref(), deadline, slot).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn release_lease(
        &self,
        request: Request<pb::ReleaseLeaseRequest>,
    ) -> Result<Response<pb::ReleaseLeaseResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let slot = request.extensions().get::<RequestSlot>();
        let answer = self.do_release(request.get_ref(), deadline, slot).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    type BatchGetStream = batch_get::BatchGetResponses;

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> Result<Response<batch_get::BatchGetResponses>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let account = request.extensions().get::<RequestSlot>().map(|slot| slot.account().clone());
        let batch = self.begin_batch_get(request.into_inner(), deadline, account).await;
        batch.map(|batch| Response::new(batch.responses())).map_err(|error| status(&error))
    }

    async fn batch_set(&self, request: Request<pb::BatchSetRequest>) -> Result<Response<pb::BatchSetResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let slot = slot_of(&request);
        let answer = self.do_batch_set(request.into_inner(), deadline, slot.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn batch_invalidate(
        &self,
        request: Request<pb::BatchInvalidateRequest>,
    ) -> Result<Response<pb::BatchInvalidateResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let slot = request.extensions().get::<RequestSlot>();
        let answer = self.do_batch_invalidate(request.get_ref(), deadline, slot).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    type WatchStream = WatchResponses;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<WatchResponses>, Status> {
        let access = access_of(request.extensions());
        let narrowed = narrowed_watch(access, request.get_ref());
        let shown = narrowed.as_ref().map(|(shown, _)| *shown);
        let _granted = match narrowed.clone() {
            Some((_, ask)) => authorize_ask(&request, &self.context.namespaces, || ask)?,
            None => authorize(&request, &self.context.namespaces)?,
        };
        let access = access.map(|access| WatchAccess::begin(access, request.get_ref(), shown)).transpose();
        let access = access.map_err(|error| status(&error))?;
        let watching = convert::watching(&self.context, request.get_ref());
        let watch = watching.and_then(|watching| {
            let cache = &self.reporter.observed.cache;
            AdmittedWatch::begin(cache, watching, request.extensions(), access, self.context.partitions)
        });
        watch.map(|watch| Response::new(watch.responses())).map_err(|error| status(&error))
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> Result<Response<pb::StatsResponse>, Status> {
        let _granted = authorize(&request, &self.context.namespaces)?;
        let deadline = self.deadline(&request);
        let report = self.reporter.report(request.get_ref(), deadline).await.map_err(|error| status(&error))?;
        Ok(Response::new(show_stats(access_of(request.extensions()), report)))
    }
}
