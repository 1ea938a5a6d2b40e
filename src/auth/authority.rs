//! `Authority`: the snapshot in force, its decisions, and what is written about them.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::audit::{Audit, DecisionLine};
use super::caller::{Authorization, Caller, LoginFailure};
use super::demand::{Ask, Demand, Names};
use super::settings::AuthMode;
use super::snapshot::Auth;
use super::verb::Verb;
use crate::cache::key::digest;
use crate::cache::namespace::DEFAULT;
use crate::cache::quoted::quoted;
use crate::cache::stats::AccessCounters;
use crate::net::certificate::ClientCertificate;

/// Index of the counters of events, beside those of verbs.
const EVENT: usize = Verb::ALL.len();
/// Indexes of results among [`crate::cache::stats::DECISIONS`].
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const WOULD_DENY: usize = 2;

/// The identities and grants in force, and what is written about decisions.
pub struct Authority {
    current: ArcSwap<Auth>,
    /// False in mode `off`: then nothing is asked.
    is_on: AtomicBool,
    generation: watch::Sender<u64>,
    counters: Arc<AccessCounters>,
    audit: Audit,
}

/// A request that is denied: what is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub String);

// === impl Authority ===

impl Authority {
    /// Puts the first snapshot in force.
    pub fn new(auth: Auth) -> Authority {
        let (is_on, audit) = (AtomicBool::new(auth.mode != AuthMode::Off), Audit::new(auth.audit));
        let generation = watch::Sender::new(auth.generation);
        Authority { current: ArcSwap::from_pointee(auth), is_on, generation, counters: Arc::default(), audit }
    }

    /// Puts another snapshot in force. The next request uses it.
    pub fn replace(&self, mut auth: Auth) {
        let current = self.current.load();
        auth.generation = current.generation + 1;
        auth.adopt_usage(&current);
        self.audit.set(auth.audit);
        let (is_on, generation) = (auth.mode != AuthMode::Off, auth.generation);
        self.current.store(Arc::new(auth));
        self.is_on.store(is_on, Ordering::Release);
        self.generation.send_replace(generation);
    }

    /// Returns false if nothing is decided.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Returns true if denials take effect.
    pub fn is_enforced(&self) -> bool {
        self.is_on() && self.current.load().mode == AuthMode::Enforce
    }

    /// Returns the number of the snapshot in force. It changes with each replacement.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Returns the counters of decisions.
    pub fn counters(&self) -> &Arc<AccessCounters> {
        &self.counters
    }

    /// Returns the audit log.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Returns the caller of this credential. In mode `shadow` a failed login is an unknown caller.
    /// Failures are counted and logged.
    pub fn identify(
        &self,
        authorization: Authorization<'_>,
        certificate: Option<&ClientCertificate>,
        address: IpAddr,
        peer: &dyn Display,
    ) -> Result<Arc<Caller>, LoginFailure> {
        let auth = self.current.load();
        auth.identify(authorization, certificate, SystemTime::now()).or_else(|failure| {
            self.counters.failed_login(failure as usize);
            self.audit.failed_login(failure, address, peer);
            if auth.mode == AuthMode::Enforce { Err(failure) } else { Ok(auth.unknown_caller()) }
        })
    }

    /// Returns the caller of this credential without a record, for a request that is looked at twice.
    pub fn identify_quietly(
        &self,
        authorization: Authorization<'_>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<Caller>, LoginFailure> {
        self.current.load().identify(authorization, certificate, SystemTime::now())
    }

    /// Returns true if a caller that was identified earlier is still the one of its credential: the
    /// snapshot is the same, and the credential has not expired.
    pub fn still_knows(&self, caller: &Caller) -> bool {
        caller.generation == self.current.load().generation
            && caller.expires_at.is_none_or(|expires_at| SystemTime::now() < expires_at)
    }

    /// Returns the caller of a request while nothing is decided.
    pub fn undecided_caller(&self) -> Arc<Caller> {
        self.current.load().unknown_caller()
    }

    /// Decides whether the caller may do what it asks for. Counts and logs the decision, if any is
    /// made.
    pub fn decide(&self, caller: &Caller, ask: &Ask<'_>, peer: &dyn Display) -> Result<(), Denied> {
        if !self.is_on() {
            return Ok(());
        }
        let rule = caller.identity.rule_for(ask);
        let decision = match (&rule, caller.enforced) {
            (Some(_), _) => ALLOWED,
            (None, true) => DENIED,
            (None, false) => WOULD_DENY,
        };
        let (verb, name) = verb_of(ask);
        self.counters.decided(verb, decision);
        if self.audit.logs(decision == ALLOWED) {
            let (namespace, key) = subject_of(caller, ask);
            let rule = rule.map_or("", |rule| rule);
            self.audit.decided(&DecisionLine { caller, peer, verb: name, namespace, key, decision, rule });
        }
        if decision == DENIED { Err(denied(caller, ask)) } else { Ok(()) }
    }

    /// Counts and logs a demand on one key that was granted at once.
    pub fn record_granted(&self, caller: &Caller, demand: &Demand<'_>, peer: &dyn Display) {
        self.counters.decided(demand.verb as usize, ALLOWED);
        if self.audit.logs(true) {
            let (verb, namespace) = (demand.verb.name(), demand.place.as_sent());
            let rule = caller.identity.grant_for(demand).map_or("", |rule| rule);
            let key = match demand.names {
                Names::Key(key) => Some(key_digest(namespace, key)),
                _ => None,
            };
            self.audit.decided(&DecisionLine { caller, peer, verb, namespace, key, decision: ALLOWED, rule });
        }
    }
}

/// Returns the counter index and the name of the verb that is asked for.
fn verb_of(ask: &Ask<'_>) -> (usize, &'static str) {
    let verb = match ask {
        Ask::All(demands) => demands.first().map_or(Verb::Admin, |demand| demand.verb),
        Ask::Somewhere(verb) => *verb,
        Ask::Event(_) => return (EVENT, "event"),
    };
    (verb as usize, verb.name())
}

/// Returns the namespace, or the event, and the digest of the key that a decision is about: of the
/// first demand that is not granted, or of the first.
fn subject_of<'a>(caller: &Caller, ask: &'a Ask<'_>) -> (&'a str, Option<u64>) {
    match ask {
        Ask::All(demands) => {
            let Some(demand) = missing(caller, demands).or(demands.first()) else { return ("", None) };
            let namespace = demand.place.as_sent();
            let key = match &demand.names {
                Names::Key(key) => Some(*key),
                Names::Keys(keys) => keys.first().copied(),
                Names::Prefix(_) | Names::Whole | Names::Unnamed => None,
            };
            (namespace, key.map(|key| key_digest(namespace, key)))
        }
        Ask::Somewhere(_) => ("*", None),
        Ask::Event(name) => (name, None),
    }
}

/// Returns the first demand that is not granted.
fn missing<'a, 'b>(caller: &Caller, demands: &'a [Demand<'b>]) -> Option<&'a Demand<'b>> {
    demands.iter().find(|demand| caller.identity.grant_for(demand).is_none())
}

fn denied(caller: &Caller, ask: &Ask<'_>) -> Denied {
    Denied(match ask {
        Ask::All(demands) => match missing(caller, demands) {
            Some(demand) => {
                format!("{} is not granted in namespace {}", demand.verb, quoted(demand.place.as_sent()))
            }
            None => "the request is not granted".to_owned(),
        },
        Ask::Somewhere(verb) => format!("{verb} is not granted in namespace \"\""),
        Ask::Event(name) => format!("{} is not granted for event {}", Verb::Invalidate, quoted(name)),
    })
}

fn key_digest(namespace: &str, key: &[u8]) -> u64 {
    digest(if namespace.is_empty() { DEFAULT } else { namespace }, key)
}
