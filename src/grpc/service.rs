//! The RPCs: each is parse, call, translate.

use std::collections::BTreeSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::batch_get::{self, BatchGet};
use super::convert::{self, InvalidationPlan, RequestContext};
use super::middleware::{Deadline, StreamLifetime};
use super::rpc_span::{note_answer, words};
use super::stats::StatsReporter;
use super::status::status;
use super::watch::{self, WatchResponses};
use crate::cache::admission::limits::Account;
use crate::cache::admission::slot::{Facts, RequestSlot};
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::CacheError;
use crate::cache::key::KeyRef;
use crate::cache::policy::{Events, Limits, limits};
use crate::cache::spans::{self, ITEMS, NAMESPACE, OUTCOME};
use crate::cache::tiered::{Get, GetOutcome, Many};
use crate::pb;

/// What a request may be in any case: what gRPC takes where nothing is set.
const SMALLEST_LIMIT: usize = 4 << 20;

/// How keys appear in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLogging {
    /// As a hash.
    Hashed,
    /// As they are.
    Clear,
}

/// The service `twintier.v1.CacheService`.
pub struct CacheApi {
    reports: Arc<StatsReporter>,
    rules: Arc<RequestContext>,
    key_logging: KeyLogging,
}

impl CacheApi {
    /// The service over a cache.
    pub fn new(
        reports: Arc<StatsReporter>,
        limits: Limits,
        events: Events,
        clock: Arc<dyn Clock>,
        key_logging: KeyLogging,
    ) -> CacheApi {
        let observed = &reports.observed;
        let (partitions, namespaces) = (observed.cache.coherence().partitions(), observed.namespaces.clone());
        CacheApi {
            rules: Arc::new(RequestContext { limits, namespaces, partitions, clock, events }),
            reports,
            key_logging,
        }
    }

    /// What is reported on, and what requests are checked against.
    pub(super) fn parts(&self) -> (Arc<StatsReporter>, Arc<RequestContext>) {
        (self.reports.clone(), self.rules.clone())
    }

    /// The limits of requests.
    pub(super) fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// The largest request that is read: a value at its limit with room for everything else, so that a value somewhat too large gets a
    /// clear answer of our own.
    pub fn max_request_size(&self) -> usize {
        let limits = &self.rules.limits;
        let tokens = limits.tokens * limits::MAX_TOKEN_BYTES.min(64 * usize::from(self.rules.partitions));
        (2 * limits.value_size).max(SMALLEST_LIMIT).max(limits.keys * (limits.key_size + 8)) + tokens + 64 * 1024
    }

    async fn do_get(
        &self,
        request: &pb::GetRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::GetResponse, CacheError> {
        let parts = convert::get(&self.rules, request)?;
        let key = KeyRef::new(&parts.namespace, request.key.as_bytes());
        let (consistency, token, lease) = (parts.consistency, &parts.token, parts.lease);
        let get = Get { key, consistency, token, deadline, lease, slot: place };
        let answer = self.reports.observed.cache.get(get).await;
        note_if_slow(place, || {
            let (outcome, tier) = answer.as_ref().map_or((None, None), |answer| {
                let (outcome, tier) = words(answer);
                (Some(outcome), tier)
            });
            let degraded = answer.as_ref().ok().map(|answer| answer.degraded);
            Facts { outcome, tier, degraded, ..self.facts(key) }
        });
        let answer = answer?;
        let hit = matches!(answer.outcome, GetOutcome::Hit { .. });
        if hit && parts.namespace.is_unregistered() {
            self.rules.namespaces.register(&parts.namespace);
        }
        note_answer(&spans::here(), parts.namespace.name(), &answer);
        tracing::debug!(namespace = %parts.namespace.name(), key = %self.shown(key), hit, degraded = answer.degraded, "get");
        // Its caller alone knows the lease; without a value the answer is small.
        if let Some(place) = place.filter(|_| answer.lease.is_some() && !hit) {
            place.owe_answer();
        }
        Ok(convert::get_response(answer, parts.token, self.rules.partitions, request.metadata_only))
    }

    async fn do_set(
        &self,
        request: pb::SetRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::SetResponse, CacheError> {
        let (set, token) = convert::set(&self.rules, request, deadline)?;
        let key = set.write.key.clone();
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reports.observed.cache.set(set).await;
        note_if_slow(place, || Facts {
            outcome: answer.as_ref().ok().map(|answer| answer.outcome.word()),
            ..self.facts(key.as_ref())
        });
        let answer = answer?;
        spans::note(OUTCOME, answer.outcome.word());
        tracing::debug!(namespace = %key.namespace().name(), key = %self.shown(key.as_ref()), outcome = answer.outcome.word(), "set");
        Ok(convert::set_response(answer, token, self.rules.partitions))
    }

    async fn do_invalidate(
        &self,
        request: pb::InvalidateRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::InvalidateResponse, CacheError> {
        let cache = &self.reports.observed.cache;
        let mut plan = convert::invalidate(&self.rules, &request, &BTreeSet::new(), deadline)?;
        if request.all_namespaces {
            let elsewhere = cache.namespaces_in_l2(deadline).await?;
            plan = convert::invalidate(&self.rules, &request, &elsewhere, deadline)?;
        }
        let InvalidationPlan { invalidates, about } = plan;
        let first = invalidates.first().map(|first| first.namespace.clone());
        if let Some(first) = &first {
            spans::note(NAMESPACE, first.name());
        }
        let answers = cache.invalidate_all(invalidates).await;
        note_if_slow(place, || of_namespace(first.as_ref().map_or("", |first| first.name())));
        let answers = answers?;
        for (namespace, answer) in &answers {
            tracing::debug!(namespace = %namespace.name(), removed = answer.removed, "invalidate");
        }
        Ok(convert::invalidate_response(answers, about, self.rules.partitions))
    }

    async fn do_touch(
        &self,
        request: &pb::TouchRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::TouchResponse, CacheError> {
        let (key, touch, token) = convert::touch(&self.rules, request)?;
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reports.observed.cache.touch(key.clone(), touch, deadline).await;
        note_if_slow(place, || Facts {
            outcome: answer.as_ref().ok().map(|answer| answer.outcome.word()),
            ..self.facts(key.as_ref())
        });
        let answer = answer?;
        tracing::debug!(namespace = %key.namespace().name(), key = %self.shown(key.as_ref()), outcome = answer.outcome.word(), "touch");
        Ok(convert::touch_response(answer, token, self.rules.partitions))
    }

    async fn begin_batch_get(
        &self,
        request: pb::BatchGetRequest,
        deadline: Moment,
        account: Option<Arc<Account>>,
    ) -> Result<BatchGet, CacheError> {
        let parts = convert::batch_get(&self.rules, &request)?;
        note_batch(parts.namespace.name(), request.keys.len());
        tracing::debug!(namespace = %parts.namespace.name(), keys = request.keys.len(), "batch get");
        let (cache, load) = (self.reports.observed.cache.clone(), self.reports.observed.admission.clone());
        let (clock, namespaces) = (self.rules.clock.clone(), self.rules.namespaces.clone());
        let value_size = self.rules.limits.value_size;
        let service = batch_get::Service { cache, load, account, clock, namespaces, value_size };
        BatchGet::begin(service, parts, request, deadline).await
    }

    async fn do_batch_set(
        &self,
        request: pb::BatchSetRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::BatchSetResponse, CacheError> {
        let (many, token) = convert::batch_set(&self.rules, request, deadline)?;
        let (namespace, items) = (many.namespace.clone(), many.writes.len());
        note_batch(namespace.name(), items);
        let done = self.reports.observed.cache.set_many(many).await;
        note_if_slow(place, || of_namespace(namespace.name()));
        let done = done?;
        tracing::debug!(namespace = %namespace.name(), items, failed = failed(&done), "batch set");
        Ok(convert::batch_set_response(done, token, self.rules.partitions))
    }

    async fn do_batch_invalidate(
        &self,
        request: &pb::BatchInvalidateRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::BatchInvalidateResponse, CacheError> {
        let (many, token) = convert::batch_invalidate(&self.rules, request, deadline)?;
        let (namespace, items) = (many.namespace.clone(), many.removals.len());
        note_batch(namespace.name(), items);
        let done = self.reports.observed.cache.invalidate_many(many).await;
        note_if_slow(place, || of_namespace(namespace.name()));
        let done = done?;
        tracing::debug!(namespace = %namespace.name(), items, failed = failed(&done), "batch invalidate");
        Ok(convert::batch_invalidate_response(done, token, self.rules.partitions))
    }

    async fn do_release(
        &self,
        request: &pb::ReleaseLeaseRequest,
        deadline: Moment,
        place: Option<&RequestSlot>,
    ) -> Result<pb::ReleaseLeaseResponse, CacheError> {
        let release = convert::release(&self.rules, request, deadline)?;
        let key = release.key.clone();
        spans::note(NAMESPACE, key.namespace().name());
        let answer = self.reports.observed.cache.release(release).await;
        note_if_slow(place, || self.facts(key.as_ref()));
        let answer = answer?;
        tracing::debug!(namespace = %key.namespace().name(), key = %self.shown(key.as_ref()), released = answer.released, "release");
        Ok(convert::release_response(answer))
    }

    fn deadline<T>(&self, request: &Request<T>) -> Moment {
        let now = self.rules.clock.now();
        request.extensions().get::<Deadline>().map_or(Moment::FOREVER, |deadline| now.plus(deadline.left()))
    }

    fn facts(&self, key: KeyRef<'_>) -> Facts {
        Facts { key: Some(self.shown(key)), ..of_namespace(key.namespace.name()) }
    }

    fn shown(&self, key: KeyRef<'_>) -> String {
        match self.key_logging {
            KeyLogging::Hashed => format!("#{:016x}", key.digest()),
            KeyLogging::Clear => key.bytes.escape_ascii().to_string(),
        }
    }
}

/// Notes what is known of a request that took long so far.
fn note_if_slow(place: Option<&RequestSlot>, facts: impl FnOnce() -> Facts) {
    if let Some(place) = place.filter(|place| place.is_slow()) {
        place.set_facts(facts());
    }
}

fn of_namespace(name: &str) -> Facts {
    Facts { namespace: name.to_owned(), ..Facts::default() }
}

fn place_of<T>(request: &Request<T>) -> Option<RequestSlot> {
    request.extensions().get::<RequestSlot>().cloned()
}

fn note_batch(namespace: &str, items: usize) {
    spans::here().record(NAMESPACE, namespace).record(ITEMS, items);
}

fn failed<T>(many: &Many<T>) -> usize {
    many.results.iter().filter(|result| result.is_err()).count()
}

#[tonic::async_trait]
impl pb::cache_service_server::CacheService for CacheApi {
    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = request.extensions().get::<RequestSlot>();
        self.do_get(request.get_ref(), deadline, place).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn set(&self, request: Request<pb::SetRequest>) -> Result<Response<pb::SetResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = place_of(&request);
        let answer = self.do_set(request.into_inner(), deadline, place.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> Result<Response<pb::InvalidateResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = place_of(&request);
        let answer = self.do_invalidate(request.into_inner(), deadline, place.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> Result<Response<pb::TouchResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = request.extensions().get::<RequestSlot>();
        self.do_touch(request.get_ref(), deadline, place).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn release_lease(
        &self,
        request: Request<pb::ReleaseLeaseRequest>,
    ) -> Result<Response<pb::ReleaseLeaseResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = request.extensions().get::<RequestSlot>();
        let answer = self.do_release(request.get_ref(), deadline, place).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    type BatchGetStream = batch_get::BatchGetResponses;

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> Result<Response<batch_get::BatchGetResponses>, Status> {
        let deadline = self.deadline(&request);
        let account = request.extensions().get::<RequestSlot>().map(|place| place.account().clone());
        let begun = self.begin_batch_get(request.into_inner(), deadline, account).await;
        begun.map(|batch| Response::new(batch.responses())).map_err(|error| status(&error))
    }

    async fn batch_set(&self, request: Request<pb::BatchSetRequest>) -> Result<Response<pb::BatchSetResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = place_of(&request);
        let answer = self.do_batch_set(request.into_inner(), deadline, place.as_ref()).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    async fn batch_invalidate(
        &self,
        request: Request<pb::BatchInvalidateRequest>,
    ) -> Result<Response<pb::BatchInvalidateResponse>, Status> {
        let deadline = self.deadline(&request);
        let place = request.extensions().get::<RequestSlot>();
        let answer = self.do_batch_invalidate(request.get_ref(), deadline, place).await;
        answer.map(Response::new).map_err(|error| status(&error))
    }

    type WatchStream = WatchResponses;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<WatchResponses>, Status> {
        let leave = request.extensions().get::<StreamLifetime>().cloned();
        let watching = convert::watching(&self.rules, request.get_ref());
        let watch = watching.and_then(|watching| self.reports.observed.cache.watch(watching));
        let partitions = self.rules.partitions;
        watch.map(|watch| Response::new(watch::responses(watch, partitions, leave))).map_err(|error| status(&error))
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> Result<Response<pb::StatsResponse>, Status> {
        let deadline = self.deadline(&request);
        self.reports.report(request.get_ref(), deadline).await.map(Response::new).map_err(|error| status(&error))
    }
}
