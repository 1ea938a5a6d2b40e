//! Policies changed at run time, synchronised over the fleet.
//!
//! Changes are kept in the shared store, for every replica and beyond its end; without a shared
//! store in this replica's memory. Of concurrent changes the last one of each field wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::shared_store::{MAX_SETTINGS, Settings, SharedStore};
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::{CacheError, Violation, Violations};
use crate::cache::namespace::{Namespace, Namespaces};
use crate::cache::policy::{PolicyPatch, Switches};
use crate::cache::tiered::Tiered;

/// Interval between two reads of the shared store.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a call to the shared store.
const SHARED_STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Name of the whole service in the shared store.
const SERVICE: &str = "";
/// Fields that can be changed for the whole service.
const SWITCHES: [&str; 3] = ["enabled", "l1", "l2"];

/// The policies of a deployment.
pub struct PolicySync {
    shared_store: Option<Arc<dyn SharedStore>>,
    namespaces: Arc<Namespaces>,
    cache: Tiered,
    clock: Arc<dyn Clock>,
    /// Configured switches of the whole service.
    configured: Switches,
    /// Change for the whole service. Readable without waiting for the shared store.
    service: crate::sync::Mutex<PolicyPatch>,
    known: Mutex<AppliedPolicies>,
}

/// Settings that this replica has applied.
#[derive(Default)]
struct AppliedPolicies {
    settings: Settings,
    /// Changes by namespace.
    changed: BTreeMap<String, PolicyPatch>,
}

// === impl PolicySync ===

impl PolicySync {
    /// Creates the synchronisation, with nothing changed.
    pub fn new(
        shared_store: Option<Arc<dyn SharedStore>>,
        namespaces: Arc<Namespaces>,
        cache: Tiered,
        clock: Arc<dyn Clock>,
    ) -> PolicySync {
        let configured = cache.switches();
        let (service, known) = Default::default();
        PolicySync { shared_store, namespaces, cache, clock, configured, service, known }
    }

    /// Returns the change for the whole service.
    pub fn service(&self) -> PolicyPatch {
        self.service.lock().clone()
    }

    /// Changes the policy of a namespace, or changes nothing and fails.
    pub async fn change(&self, namespace: &Namespace, patch: PolicyPatch, deadline: Moment) -> Result<(), CacheError> {
        let whole = namespace.changed().and_then(patch.clone());
        namespace.policy_changed_by(&whole).map_err(CacheError::Invalid)?;
        self.namespaces.check_reservation(namespace, &whole)?;
        self.write(namespace.name(), &patch, deadline).await
    }

    /// Changes the switches of the whole service. Fails, and changes nothing, if the change has
    /// other fields.
    pub async fn change_service(&self, patch: PolicyPatch, deadline: Moment) -> Result<(), CacheError> {
        let fields = patch.fields().into_iter().map(|(field, _)| field);
        let other = fields.filter(|field| !SWITCHES.contains(field));
        let why = "cannot be changed for the whole service, only enabled, l1 and l2 can";
        let violations: Violations = other.map(|field| Violation::new(field, why)).collect();
        if !violations.is_empty() {
            return Err(CacheError::Invalid(violations));
        }
        self.write(SERVICE, &patch, deadline).await
    }

    /// Resets the policy of a namespace to the configured one.
    pub async fn reset(&self, namespace: &Namespace, deadline: Moment) -> Result<(), CacheError> {
        self.remove_changes(namespace.name(), deadline).await
    }

    /// Resets the switches of the whole service to the configured ones.
    pub async fn reset_service(&self, deadline: Moment) -> Result<(), CacheError> {
        self.remove_changes(SERVICE, deadline).await
    }

    /// Reads the shared store and applies its settings. While it cannot be reached, the last known
    /// settings hold.
    pub async fn poll(&self) {
        let Some(shared_store) = &self.shared_store else { return };
        let mut known = self.known.lock().await;
        let deadline = self.clock.now().plus(SHARED_STORE_TIMEOUT);
        if let Ok(Some(settings)) = shared_store.settings(&known.settings, deadline).await {
            self.apply_settings(&mut known, settings);
        }
    }

    /// Applies the changes of other replicas until cancelled.
    pub async fn follow(&self) {
        while self.shared_store.is_some() {
            self.poll().await;
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn write(&self, name: &str, patch: &PolicyPatch, deadline: Moment) -> Result<(), CacheError> {
        let fields = patch.fields().into_iter().map(|(field, value)| (setting_name(name, field), Some(value)));
        self.set(fields.collect(), deadline).await
    }

    async fn remove_changes(&self, name: &str, deadline: Moment) -> Result<(), CacheError> {
        let fields = PolicyPatch::FIELDS.iter().map(|field| (setting_name(name, field), None));
        self.set(fields.collect(), deadline).await
    }

    async fn set(&self, fields: Vec<(String, Option<String>)>, deadline: Moment) -> Result<(), CacheError> {
        let mut known = self.known.lock().await;
        let new = fields.iter().filter(|(field, value)| value.is_some() && !known.settings.fields.contains_key(field));
        if known.settings.fields.len() + new.count() > MAX_SETTINGS {
            let what = "policy changes at run time";
            return Err(CacheError::Exhausted { what, limit: MAX_SETTINGS, retry_after: None });
        }
        let settings = match &self.shared_store {
            Some(shared_store) => shared_store.set(&known.settings, &fields, deadline).await?,
            None => changed_locally(&known.settings, fields),
        };
        self.apply_settings(&mut known, settings);
        Ok(())
    }

    /// Applies `settings`, unless they are older than the applied ones.
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
                None => tracing::warn!(field = %place, "skipped a policy change of another release"),
            }
        }
        let names: BTreeSet<String> = known.changed.keys().chain(changed.keys()).cloned().collect();
        for name in names {
            let patch = changed.get(&name).cloned().unwrap_or_default();
            if known.changed.get(&name).cloned().unwrap_or_default() != patch {
                tracing::info!(namespace = %name, changed = %patch.in_words(), "policy changed at run time");
            }
            match name.as_str() {
                SERVICE => {
                    self.cache.switch(effective_switches(self.configured, &patch));
                    *self.service.lock() = patch;
                }
                name => self.apply(name, patch),
            }
        }
        (known.changed, known.settings) = (changed, settings);
    }

    /// Applies a patch. If it is invalid as a whole, because changes met or this replica is
    /// configured differently, applies it field by field, as far as possible.
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
                    tracing::warn!(namespace = name, field, value, %error, "policy change is invalid here");
                }
            }
        }
    }
}

/// Returns the setting name of a field. Namespaces have no slash, so the name is unambiguous.
fn setting_name(namespace: &str, field: &str) -> String {
    format!("{namespace}/{field}")
}

/// Returns the settings after a change, for a replica without a shared store.
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

/// Returns the configured switches as changed by `patch`.
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
