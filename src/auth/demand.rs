//! The demand of a request: verbs, namespaces and keys.

use std::sync::Arc;

use super::verb::Verb;

/// Access that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// All of these demands, or none is granted.
    All(Vec<Demand<'a>>),
    /// The verb in at least one namespace. The response shows only those that are granted.
    Somewhere(Verb),
    /// The right to send this event.
    Event(&'a str),
}

/// One verb in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    /// The verb.
    pub verb: Verb,
    /// The place.
    pub place: Place<'a>,
    /// The keys.
    pub names: Names<'a>,
}

/// The place of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A namespace, as sent. Empty means "default".
    Namespace(&'a str),
    /// All namespaces, known or not, and the service itself.
    Everywhere,
}

/// The keys of a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names<'a> {
    /// One key.
    Key(&'a [u8]),
    /// Several keys. A grant has to cover all of them.
    Keys(Arc<[&'a [u8]]>),
    /// All keys that begin with these bytes.
    Prefix(&'a [u8]),
    /// Any keys of the namespace: a grant of some keys does not suffice.
    Whole,
    /// No key: a grant of some keys suffices.
    Unnamed,
}

// === impl Demand ===

impl<'a> Demand<'a> {
    /// Returns the demand of a verb on one key.
    pub fn key(verb: Verb, namespace: &'a str, key: &'a [u8]) -> Demand<'a> {
        Demand { verb, place: Place::Namespace(namespace), names: Names::Key(key) }
    }

    /// Returns the demand of a verb on any keys of a namespace.
    pub fn whole(verb: Verb, namespace: &'a str) -> Demand<'a> {
        Demand { verb, place: Place::Namespace(namespace), names: Names::Whole }
    }

    /// Returns the demand of a verb on the whole service.
    pub fn everywhere(verb: Verb) -> Demand<'a> {
        Demand { verb, place: Place::Everywhere, names: Names::Whole }
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    /// Returns the namespace as sent, or `*` for all.
    pub fn as_sent(self) -> &'a str {
        match self {
            Place::Namespace(name) => name,
            Place::Everywhere => "*",
        }
    }
}
