//! An identity: its grants, its events and its limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::demand::{Ask, Demand, Names, Place};
use super::grant::Grant;
use super::usage::{LimitedUse, NamespaceClaims, Usage, UsageGuard};
use super::verb::Verb;

/// An identity of the configuration, or the anonymous one.
#[derive(Debug)]
pub struct Identity {
    /// The name that logs, limits and audit use.
    pub name: Arc<str>,
    pub(super) grants: Vec<Grant>,
    pub(super) events: BTreeSet<String>,
    /// The rule of each event: path of the setting.
    pub(super) event_rule: Arc<str>,
    pub(super) limits: IdentityLimits,
    pub(super) usage: Arc<Usage>,
}

/// Limits of an identity at one replica. `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityLimits {
    /// Most requests in flight.
    pub in_flight: Option<usize>,
    /// Most connections.
    pub connections: Option<usize>,
    /// Most watches.
    pub watches: Option<usize>,
    /// Most namespaces that it makes known.
    pub namespaces: Option<usize>,
}

/// A limit of an identity that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityLimitReached {
    /// Path of the setting.
    pub setting: String,
    /// The limit.
    pub limit: usize,
}

// === impl Identity ===

impl Identity {
    /// Returns the rule that grants all that is asked for; the last one if several are needed.
    /// `None` if it is not granted.
    pub fn rule_for(&self, ask: &Ask<'_>) -> Option<&Arc<str>> {
        match ask {
            Ask::All(demands) => {
                let mut rule = None;
                for demand in demands {
                    rule = Some(self.grant_for(demand)?);
                }
                rule
            }
            Ask::Somewhere(verb) => self.grants.iter().find(|grant| grant.verbs.holds(*verb)).map(|grant| &grant.rule),
            Ask::Event(name) => self.events.contains(*name).then_some(&self.event_rule),
        }
    }

    /// Returns the rule of the first grant that allows the demand.
    pub fn grant_for(&self, demand: &Demand<'_>) -> Option<&Arc<str>> {
        self.grants.iter().find(|grant| grant.allows(demand)).map(|grant| &grant.rule)
    }

    /// Returns true if the identity has the verb in a namespace, for some keys at least.
    pub fn has(&self, verb: Verb, namespace: &str) -> bool {
        self.grant_for(&Demand { verb, place: Place::Namespace(namespace), names: Names::Unnamed }).is_some()
    }

    /// Begins a limited use. `Ok(None)` if the identity has no such limit.
    pub fn begin(&self, kind: LimitedUse) -> Result<Option<UsageGuard>, IdentityLimitReached> {
        let limit = match kind {
            LimitedUse::InFlight => self.limits.in_flight,
            LimitedUse::Connections => self.limits.connections,
            LimitedUse::Watches => self.limits.watches,
        };
        let Some(limit) = limit else { return Ok(None) };
        match self.usage.begin(kind, limit) {
            Some(guard) => Ok(Some(guard)),
            None => Err(self.reached(kind.setting(), limit)),
        }
    }

    /// Returns true if the number of namespaces that it makes known is limited.
    pub fn limits_namespaces(&self) -> bool {
        self.limits.namespaces.is_some()
    }

    /// Claims namespaces that are not known yet. `Ok(None)` if the identity has no such limit.
    pub fn claim(&self, names: Vec<Box<str>>) -> Result<Option<NamespaceClaims>, IdentityLimitReached> {
        let Some(limit) = self.limits.namespaces else { return Ok(None) };
        if names.is_empty() {
            return Ok(None);
        }
        match self.usage.claim(names, limit) {
            Some(claims) => Ok(Some(claims)),
            None => Err(self.reached("max_namespaces", limit)),
        }
    }

    /// Returns this identity with the counts of an earlier snapshot.
    pub(super) fn with_usage_of(&self, earlier: &Identity) -> Identity {
        Identity {
            name: self.name.clone(),
            grants: self.grants.clone(),
            events: self.events.clone(),
            event_rule: self.event_rule.clone(),
            limits: self.limits,
            usage: earlier.usage.clone(),
        }
    }

    fn reached(&self, setting: &str, limit: usize) -> IdentityLimitReached {
        IdentityLimitReached { setting: format!("identities.{}.{setting}", self.name), limit }
    }
}
