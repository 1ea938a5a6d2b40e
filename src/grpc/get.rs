//! The RPC Get: through the whole cache, or from memory at once.

use tonic::Request;

use super::convert;
use super::rpc_span::{outcome_and_tier, record_answer};
use super::service::CacheApi;
use super::slow_requests::record_if_slow;
use crate::cache::admission::slot::{Facts, RequestSlot};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::DEFAULT;
use crate::cache::spans;
use crate::cache::tiered::{Get, GetAnswer, GetOutcome};
use crate::cache::token::Token;
use crate::pb;

/// The token of a request without one.
static NO_TOKEN: Token = Token::EMPTY;

/// Marks a request whose entry was looked for in memory. Stored in its extensions.
#[derive(Clone, Copy)]
pub struct NotInMemory;

/// The answer of memory to a Get.
pub enum AtOnce {
    /// This answer.
    Answered(AnswerAtOnce),
    /// It has no entry of the key that the caller accepts.
    NotInMemory(Key),
    /// The general way has to answer: the namespace is not registered or limits its requests in
    /// flight, or the request is invalid.
    General,
}

/// Answer to a Get, with its facts for the log of slow requests.
pub struct AnswerAtOnce {
    /// The answer.
    pub answer: Result<GetAnswer, CacheError>,
    /// The facts, if the request is slow.
    pub facts: Option<Facts>,
}

// === impl CacheApi ===

impl CacheApi {
    /// Answers a Get.
    pub(super) async fn do_get(
        &self,
        request: &Request<pb::GetRequest>,
        deadline: Moment,
    ) -> Result<pb::GetResponse, CacheError> {
        let (extensions, request) = (request.extensions(), request.get_ref());
        let slot = extensions.get::<RequestSlot>();
        let parts = convert::get(&self.context, request)?;
        // The place is kept until the response is written.
        match (parts.namespace.enter()?, slot) {
            (Some(place), Some(slot)) => slot.keep_in_flight(place),
            (_place, _) => {}
        }
        let key = KeyRef::new(&parts.namespace, request.key.as_bytes());
        let (consistency, token, lease) = (parts.consistency, &parts.token, parts.lease);
        let (cache, get) = (&self.reporter.observed.cache, Get { key, consistency, token, deadline, lease, slot });
        let answer = match extensions.get::<NotInMemory>() {
            Some(NotInMemory) => cache.get_beyond_l1(get).await,
            None => cache.get(get).await,
        };
        record_if_slow(slot, || self.facts_of(key, &answer));
        let answer = answer?;
        let hit = matches!(answer.outcome, GetOutcome::Hit { .. });
        if hit && parts.namespace.is_unregistered() {
            self.context.namespaces.register(&parts.namespace);
        }
        record_answer(&spans::here(), parts.namespace.name(), &answer);
        self.log_get(key, &answer);
        // Only the caller knows the lease, so the response must not be rejected; without a value it
        // is small.
        if let Some(slot) = slot.filter(|_| answer.lease.is_some() && !hit) {
            slot.owe_answer();
        }
        Ok(convert::get_response(answer, parts.token, self.context.partitions, request.metadata_only))
    }

    /// Answers a Get without options if memory has a fresh entry. Otherwise nothing is counted.
    ///
    /// `is_slow` tells whether the request is slow by now.
    pub(super) fn get_at_once(&self, namespace: &str, key: &str, is_slow: impl FnOnce() -> bool) -> AtOnce {
        // A namespace that is not registered is registered by a hit of the other way.
        let namespace = self.context.namespaces.find(if namespace.is_empty() { DEFAULT } else { namespace });
        let Some(namespace) = namespace.filter(|_| self.context.limits.key("key", key.as_bytes()).is_ok()) else {
            return AtOnce::General;
        };
        if namespace.limits_in_flight() {
            return AtOnce::General;
        }
        let key = KeyRef::new(&namespace, key.as_bytes());
        match self.reporter.observed.cache.get_from_l1(&get_without_options(key, Moment::FOREVER)) {
            Some(answer) => AtOnce::Answered(self.answered(key, answer, is_slow)),
            None => AtOnce::NotInMemory(key.to_key()),
        }
    }

    /// Answers a Get without options that memory has not answered.
    pub(super) async fn get_beyond_memory(
        &self,
        key: &Key,
        deadline: Moment,
        is_slow: impl FnOnce() -> bool,
    ) -> AnswerAtOnce {
        let get = get_without_options(key.as_ref(), deadline);
        let answer = self.reporter.observed.cache.get_beyond_l1(get).await;
        self.answered(key.as_ref(), answer, is_slow)
    }

    fn answered(
        &self,
        key: KeyRef<'_>,
        answer: Result<GetAnswer, CacheError>,
        is_slow: impl FnOnce() -> bool,
    ) -> AnswerAtOnce {
        if let Ok(answer) = &answer {
            self.log_get(key, answer);
        }
        let facts = is_slow().then(|| self.facts_of(key, &answer));
        AnswerAtOnce { answer, facts }
    }

    fn log_get(&self, key: KeyRef<'_>, answer: &GetAnswer) {
        let hit = matches!(answer.outcome, GetOutcome::Hit { .. });
        tracing::debug!(namespace = %key.namespace.name(), key = %self.logged_key(key), hit, degraded = answer.degraded, "get");
    }

    fn facts_of(&self, key: KeyRef<'_>, answer: &Result<GetAnswer, CacheError>) -> Facts {
        let answer = answer.as_ref().ok();
        let (outcome, tier) = answer.map(outcome_and_tier).unzip();
        let (tier, degraded) = (tier.flatten(), answer.map(|answer| answer.degraded));
        Facts { outcome, tier, degraded, ..self.key_facts(key) }
    }
}

fn get_without_options(key: KeyRef<'_>, deadline: Moment) -> Get<'_> {
    let consistency = convert::default_consistency(key.namespace);
    Get { key, consistency, token: &NO_TOKEN, deadline, lease: None, slot: None }
}
