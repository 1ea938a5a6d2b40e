//! Policies as they are changed at run time: on the board, for every replica and beyond its end; without one in this replica's memory. Of
//! changes that meet, the last one of each field holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::shared_store::{MAX_SETTINGS, Settings, SharedStore};
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::{CacheError, Violation, Violations};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::policy::{PolicyPatch, Switches};
use crate::cache::tiered::Tiered;

/// How often the board is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for the board.
const SHARED_STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// The name under which the whole service is on the board.
const SERVICE: &str = "";
/// The fields that can be changed for the whole service.
const SWITCHES: [&str; 3] = ["enabled", "l1", "l2"];

/// The policies of a deployment.
pub struct PolicySync {
    shared_store: Option<Arc<dyn SharedStore>>,
    namespaces: Arc<Namespaces>,
    cache: Tiered,
    clock: Arc<dyn Clock>,
    /// The switches of the whole service as configured.
    configured: Switches,
    /// What is changed for the whole service. Known without waiting for the board.
    service: std::sync::Mutex<PolicyPatch>,
    known: Mutex<AppliedPolicies>,
}

/// What this replica has taken up.
#[derive(Default)]
struct AppliedPolicies {
    settings: Settings,
    /// What is changed, by namespace.
    changed: BTreeMap<String, PolicyPatch>,
}

// === impl Policies ===

impl PolicySync {
    /// Nothing is changed yet.
    pub fn new(
        board: Option<Arc<dyn SharedStore>>,
        namespaces: Arc<Namespaces>,
        cache: Tiered,
        clock: Arc<dyn Clock>,
    ) -> PolicySync {
        let configured = cache.switches();
        let (service, known) = Default::default();
        PolicySync { shared_store: board, namespaces, cache, clock, configured, service, known }
    }

    /// What is changed for the whole service.
    pub fn service(&self) -> PolicyPatch {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the policy of a namespace. Nothing, when anything is wrong.
    pub async fn change(&self, namespace: &Namespace, patch: PolicyPatch, until: Moment) -> Result<(), CacheError> {
        let whole = namespace.changed().and_then(patch.clone());
        namespace.policy_changed_by(&whole).map_err(CacheError::Invalid)?;
        self.write(namespace.name(), &patch, until).await
    }

    /// Changes the switches of the whole service. Nothing, when anything else is to be changed.
    pub async fn change_service(&self, patch: PolicyPatch, until: Moment) -> Result<(), CacheError> {
        let fields = patch.fields().into_iter().map(|(field, _)| field);
        let other = fields.filter(|field| !SWITCHES.contains(field));
        let why = "cannot be changed for the whole service, only enabled, l1 and l2 can";
        let violations: Violations = other.map(|field| Violation::new(field, why)).collect();
        if !violations.is_empty() {
            return Err(CacheError::Invalid(violations));
        }
        self.write(SERVICE, &patch, until).await
    }

    /// Takes back what was changed of the policy of a namespace.
    pub async fn reset(&self, namespace: &Namespace, until: Moment) -> Result<(), CacheError> {
        self.remove_changes(namespace.name(), until).await
    }

    /// Takes back what was changed for the whole service.
    pub async fn reset_service(&self, until: Moment) -> Result<(), CacheError> {
        self.remove_changes(SERVICE, until).await
    }

    /// Takes up what is changed by now. While the board cannot be asked, what is known holds.
    pub async fn poll(&self) {
        let Some(board) = &self.shared_store else { return };
        let mut known = self.known.lock().await;
        let until = self.clock.now().plus(SHARED_STORE_TIMEOUT);
        if let Ok(Some(settings)) = board.settings(&known.settings, until).await {
            self.apply_settings(&mut known, settings);
        }
    }

    /// Takes up, for ever, what other replicas change.
    pub async fn follow(&self) {
        while self.shared_store.is_some() {
            self.poll().await;
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn write(&self, name: &str, patch: &PolicyPatch, until: Moment) -> Result<(), CacheError> {
        let fields = patch.fields().into_iter().map(|(field, value)| (setting_name(name, field), Some(value)));
        self.set(fields.collect(), until).await
    }

    async fn remove_changes(&self, name: &str, until: Moment) -> Result<(), CacheError> {
        let fields = PolicyPatch::FIELDS.iter().map(|field| (setting_name(name, field), None));
        self.set(fields.collect(), until).await
    }

    async fn set(&self, fields: Vec<(String, Option<String>)>, until: Moment) -> Result<(), CacheError> {
        let mut known = self.known.lock().await;
        let new = fields.iter().filter(|(field, value)| value.is_some() && !known.settings.fields.contains_key(field));
        if known.settings.fields.len() + new.count() > MAX_SETTINGS {
            let what = "policy changes at run time";
            return Err(CacheError::Exhausted { what, limit: MAX_SETTINGS, retry_after: None });
        }
        let settings = match &self.shared_store {
            Some(board) => board.set(&known.settings, &fields, until).await?,
            None => changed_locally(&known.settings, fields),
        };
        self.apply_settings(&mut known, settings);
        Ok(())
    }

    /// From now on `settings` hold.
    fn apply_settings(&self, known: &mut MutexGuard<'_, AppliedPolicies>, settings: Settings) {
        if settings.revision <= known.settings.revision {
            return;
        }
        let mut changed: BTreeMap<String, PolicyPatch> = BTreeMap::new();
        for (place, value) in &settings.fields {
            let read =
                place.split_once('/').and_then(|(name, field)| Some((name, PolicyPatch::of_field(field, value)?)));
            match read {
                Some((name, patch)) => {
                    let whole = changed.entry(name.to_owned()).or_default();
                    *whole = std::mem::take(whole).and_then(patch);
                }
                None => tracing::warn!(field = %place, "a change of policy is of another release and left out"),
            }
        }
        let names: BTreeSet<String> = known.changed.keys().chain(changed.keys()).cloned().collect();
        for name in names {
            let patch = changed.get(&name).cloned().unwrap_or_default();
            if known.changed.get(&name).cloned().unwrap_or_default() != patch {
                tracing::info!(namespace = %name, changed = %patch.in_words(), "a policy is changed at run time");
            }
            match name.as_str() {
                SERVICE => {
                    self.cache.switch(effective_switches(self.configured, &patch));
                    *self.service.lock().unwrap_or_else(PoisonError::into_inner) = patch;
                }
                name => self.apply(name, patch),
            }
        }
        (known.changed, known.settings) = (changed, settings);
    }

    /// What is wrong together, because changes met or this replica is configured otherwise, is put in field by field, as far as it goes.
    fn apply(&self, name: &str, patch: PolicyPatch) {
        if self.namespaces.change_policy(name, patch.clone()).is_ok() {
            return;
        }
        let mut whole = PolicyPatch::default();
        for (field, value) in patch.fields() {
            let Some(one) = PolicyPatch::of_field(field, &value) else { continue };
            let next = whole.clone().and_then(one);
            match self.namespaces.change_policy(name, next.clone()) {
                Ok(_) => whole = next,
                Err(error) => {
                    tracing::warn!(namespace = name, field, value, %error, "a change of policy does not hold here");
                }
            }
        }
    }
}

/// The field of a policy on the board. Namespaces have no slash, so this is unambiguous.
fn setting_name(namespace: &str, field: &str) -> String {
    format!("{namespace}/{field}")
}

/// What is set after a change, on the board of a replica that is alone.
fn changed_locally(settings: &Settings, fields: Vec<(String, Option<String>)>) -> Settings {
    let mut settings = Settings { revision: settings.revision + 1, fields: settings.fields.clone() };
    for (field, value) in fields {
        match value {
            Some(value) => settings.fields.insert(field, value),
            None => settings.fields.remove(&field),
        };
    }
    settings
}

/// The switches that hold.
fn effective_switches(configured: Switches, patch: &PolicyPatch) -> Switches {
    Switches {
        enabled: patch.enabled.unwrap_or(configured.enabled),
        l1: patch.l1.unwrap_or(configured.l1),
        l2: patch.l2.unwrap_or(configured.l2),
    }
}

#[cfg(test)]
#[path = "policy_sync_tests.rs"]
mod tests;
