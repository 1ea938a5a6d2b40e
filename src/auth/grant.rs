//! Grants: verbs in namespaces, for all keys or for some prefixes.

use std::sync::Arc;

use super::demand::{Demand, Names, Place};
use super::verb::Verbs;
use crate::cache::namespace::DEFAULT;

/// A grant: allows verbs in namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Path of the setting, such as `identities.checkout.grants[1]`.
    pub rule: Arc<str>,
    /// The namespaces.
    pub namespaces: Vec<NamePattern>,
    /// Prefixes of keys. All keys if there are none.
    pub keys: Vec<Box<[u8]>>,
    /// The verbs.
    pub verbs: Verbs,
}

/// The name of a namespace, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exact(Box<str>),
    /// All names that begin so. Empty for all names.
    Prefix(Box<str>),
}

// === impl Grant ===

impl Grant {
    /// Returns true if the grant holds the verb in the place, and covers all keys of the demand.
    pub fn allows(&self, demand: &Demand<'_>) -> bool {
        self.verbs.holds(demand.verb)
            && self.namespaces.iter().any(|pattern| pattern.covers(demand.place))
            && self.covers(&demand.names)
    }

    fn covers(&self, names: &Names<'_>) -> bool {
        let has = |key: &[u8]| self.keys.iter().any(|prefix| key.starts_with(prefix));
        self.keys.is_empty()
            || match names {
                Names::Key(key) | Names::Prefix(key) => has(key),
                Names::Keys(keys) => keys.iter().all(|key| has(key)),
                Names::Whole => false,
                Names::Unnamed => true,
            }
    }
}

// === impl NamePattern ===

impl NamePattern {
    /// Parses a pattern: a name, or the beginning of names and `*`.
    pub fn parse(text: &str) -> NamePattern {
        match text.strip_suffix('*') {
            Some(prefix) => NamePattern::Prefix(prefix.into()),
            None => NamePattern::Exact(text.into()),
        }
    }

    fn covers(&self, place: Place<'_>) -> bool {
        match (self, place) {
            (NamePattern::Prefix(prefix), Place::Everywhere) => prefix.is_empty(),
            (NamePattern::Exact(_), Place::Everywhere) => false,
            (_, Place::Namespace("")) => self.covers(Place::Namespace(DEFAULT)),
            (NamePattern::Exact(name), Place::Namespace(sent)) => **name == *sent,
            (NamePattern::Prefix(prefix), Place::Namespace(sent)) => sent.starts_with(&**prefix),
        }
    }
}
