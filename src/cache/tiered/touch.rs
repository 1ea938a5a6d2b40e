//! Touch: changes how long an entry lives. And sliding expiry, which is a Touch in the background for an entry that is read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cache::Tiered;
use super::types::{Get, GetAnswer, GetOutcome};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::Key;
use crate::cache::tier::bus::{Change, Effect};
use crate::cache::tier::{Touch, TouchMode, Touched, TtlChange};
use crate::cache::token::Token;
use crate::cache::version::Version;

/// Most entries whose life is prolonged at once because they are read. Those left out are, when they are read again.
const SLIDING_AT_ONCE: usize = 64;

/// By how much the end of a life may seem to differ from what it is.
const CLOCKS_DIFFER: Duration = Duration::from_millis(10);

/// The answer to a Touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchAnswer {
    /// What was done.
    pub outcome: TouchOutcome,
    /// Version of the entry.
    pub version: Option<Version>,
    /// How long it lives now; none: there is none, or it lives until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// What the caller has now seen.
    pub token: Token,
}

/// What a Touch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TouchOutcome {
    Touched,
    Unchanged,
    NotPresent,
    Disabled,
}

impl TouchOutcome {
    /// Returns its one word.
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
    /// Changes how long the entry of `key` lives. A caller who leaves does not end it half way.
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

    /// Prolongs the life of an entry that was read, if reading it does that and half of the time to the next read has passed.
    pub(super) fn slide(&self, get: &Get<'_>, answer: &GetAnswer) {
        let GetOutcome::Hit { held, stale: None, .. } = &answer.outcome else { return };
        let Some(sliding) = held.entry.sliding else { return };
        let entry = &held.entry;
        // When no more than what clocks differ by is to be gained, nothing is.
        let gain = sliding.until.since(entry.expires_at);
        let is_due = entry.expires_at.since(answer.at) < sliding.idle / 2;
        if !is_due || gain < sliding.idle / 100 + CLOCKS_DIFFER {
            return;
        }
        let (cache, key) = (self.clone(), get.key.to_key());
        if !self.0.sliding.begin(&key) {
            return;
        }
        self.0.tasks.spawn(async move {
            let touch = Touch { ttl: Some(sliding.idle), mode: TouchMode::Extend };
            let until = cache.0.clock.now().plus(cache.0.config.write_budget);
            // If it fails, the next read tries again.
            let _ = cache.touch_now(&key, touch, until).await;
            cache.0.sliding.end(&key);
        });
    }

    async fn touch_now(&self, key: &Key, touch: Touch, deadline: Moment) -> Result<Touched, CacheError> {
        let shared = &*self.0;
        if !shared.switches(key.namespace()).l2 {
            return Ok(shared.touch_alone(key, touch));
        }
        let partition = shared.coherence.partition_of(key.as_ref());
        let until = shared.clock.now().plus(shared.config.write_budget).min(deadline);
        let (note, shown) = (shared.coherence.begin_fill(key.as_ref()), shared.coherence.shown(partition));
        let touched = shared.l2.touch(key, touch, until).await.map_err(|error| shared.error(error, deadline))?;
        if !shared.l2.shares_l1() {
            shared.coherence.show(partition, shown, touched.position);
            if let Some(entry) = touched.entry {
                shared.coherence.observe_newer(key, entry.version);
            }
        }
        if let Some(entry) = touched.entry
            && !shared.l2.shares_l1()
        {
            if entry.change == TtlChange::Shortened {
                let change = Change::of_keys(Effect::Shortened, std::slice::from_ref(key));
                let taken = shared.taken(partition, touched.position, &change);
                taken.map_err(|error| shared.error(error, deadline))?;
                shared.coherence.apply_own_change(key, touched.position, Effect::Shortened);
            } else {
                shared.coherence.extend_ttl(key, entry.version, entry.expires_at, note);
            }
        }
        Ok(touched)
    }
}

/// The entries whose life is being prolonged because they are read.
#[derive(Default)]
pub(super) struct Slides(Mutex<HashSet<Key>>);

impl Slides {
    /// False: that of `key` is being prolonged already, or those of too many are.
    fn begin(&self, key: &Key) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.len() < SLIDING_AT_ONCE && keys.insert(key.clone())
    }

    fn end(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
