//! Touch: changes the time to live of an entry; and sliding expiry, a Touch in the background.

use std::time::Duration;

use super::cache::Tiered;
use super::types::{Get, GetAnswer, GetOutcome};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::tier::{Touch, TouchMode, Touched, TtlChange};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// Difference of two expiry times that clocks alone can cause.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(10);

/// The answer to a Touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchAnswer {
    /// Outcome.
    pub outcome: TouchOutcome,
    /// Version of the entry.
    pub version: Option<Version>,
    /// Time to live now. `None` if there is no entry, or it lives until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// Positions that the caller has now seen.
    pub token: Token,
}

/// Outcome of a Touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TouchOutcome {
    Touched,
    Unchanged,
    NotPresent,
    Disabled,
}

impl TouchOutcome {
    /// Returns the outcome as one word.
    pub fn word(self) -> &'static str {
        match self {
            TouchOutcome::Touched => "touched",
            TouchOutcome::Unchanged => "unchanged",
            TouchOutcome::NotPresent => "not_present",
            TouchOutcome::Disabled => "disabled",
        }
    }
}

impl Tiered {
    /// Changes the time to live of an entry. A caller that disconnects does not interrupt it.
    pub async fn touch(&self, key: Key, touch: Touch, deadline: Moment) -> Result<TouchAnswer, CacheError> {
        let shared = &*self.0;
        let namespace = key.namespace().clone();
        if !shared.switches(&namespace).enabled {
            let token = Token::default();
            return Ok(TouchAnswer { outcome: TouchOutcome::Disabled, version: None, ttl: None, token });
        }
        namespace.admit()?;
        let partition = shared.coherence.partition_of(key.as_ref());
        let cache = self.clone();
        let touched = self.owned(async move { cache.touch_now(&key, touch, deadline).await }).await;
        let touched = touched.inspect_err(|_| namespace.counters.touch_errors.inc())?;
        let outcome = match touched.entry.map(|entry| entry.change) {
            Some(TtlChange::Set | TtlChange::Shortened) => TouchOutcome::Touched,
            Some(TtlChange::Unchanged | TtlChange::Capped) => TouchOutcome::Unchanged,
            None => TouchOutcome::NotPresent,
        };
        if touched.entry.is_some_and(|entry| entry.change != TtlChange::Unchanged) {
            namespace.counters.touches.inc();
        }
        let ends = touched.entry.map(|entry| entry.expires_at).filter(|ends| *ends != Moment::FOREVER);
        let token = match touched.position {
            Version::ZERO => Token::default(),
            position => Token::at(partition, position),
        };
        Ok(TouchAnswer {
            outcome,
            version: touched.entry.map(|entry| entry.version),
            ttl: ends.map(|ends| ends.since(shared.clock.now())),
            token,
        })
    }

    /// Extends the time to live of an entry that was read, if its expiry is sliding and half of the
    /// idle time has passed.
    pub(super) fn extend_if_sliding(&self, get: &Get<'_>, answer: &GetAnswer) {
        let GetOutcome::Hit { held, stale: None, .. } = &answer.outcome else { return };
        let Some(sliding) = held.entry.sliding else { return };
        let entry = &held.entry;
        // A gain within the difference of the clocks is no gain.
        let gain = sliding.until.since(entry.expires_at);
        let is_due = entry.expires_at.since(answer.at) < sliding.idle / 2;
        if !is_due || gain < sliding.idle / 100 + CLOCK_TOLERANCE {
            return;
        }
        let (cache, key) = (self.clone(), get.key.to_key());
        if !self.0.sliding.begin(&key) {
            return;
        }
        self.0.tasks.spawn(async move {
            let touch = Touch { ttl: Some(sliding.idle), mode: TouchMode::Extend };
            let deadline = cache.0.clock.now().plus(cache.0.config.write_timeout);
            // If it fails, the next read tries again.
            let _ = cache.touch_now(&key, touch, deadline).await;
            cache.0.sliding.end(&key);
        });
    }

    async fn touch_now(&self, key: &Key, touch: Touch, client_deadline: Moment) -> Result<Touched, CacheError> {
        let shared = &*self.0;
        if !shared.switches(key.namespace()).l2 {
            return Ok(shared.touch_l1_only(key, touch));
        }
        let deadline = shared.clock.now().plus(shared.config.write_timeout).min(client_deadline);
        let touched = shared.backing.touch(key, touch, deadline).await;
        touched.map_err(|error| shared.error(error, client_deadline))
    }
}
