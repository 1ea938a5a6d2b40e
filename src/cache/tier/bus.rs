//! What the bus carries: one change of one partition, and the echo of an audit.

use std::collections::HashSet;

use bytes::Bytes;

use crate::cache::entry::Tags;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::version::Version;

/// One write or invalidation, as published by the script that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partition whose number line this is on.
    pub partition: u16,
    /// Its position there.
    pub version: Version,
    /// What changed.
    pub change: Change,
    /// True when this replica made the change.
    pub own: bool,
}

/// What changed. Everything covered that is older than the message's version is outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The namespace.
    pub namespace: Bytes,
    /// What happened to what is covered.
    pub effect: Effect,
    /// What is covered.
    pub covers: Covers,
}

/// What happened to entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They were written.
    Set,
    /// They were removed.
    Removed,
    /// They were marked stale.
    Marked,
    /// They live shorter than before.
    Shortened,
}

/// The entries that a change covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Those of these keys.
    Keys(Vec<ChangedKey>),
    /// Those that one of these selects.
    Selected(Vec<Selector>),
}

/// A key that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// The key.
    pub key: Bytes,
    /// The tags that its entry had or has now. An empty one among them: there may have been any.
    pub tags: Tags,
}

impl ChangedKey {
    /// Whether its entry may have, or have had, `tag`.
    pub fn may_have(&self, tag: &[u8]) -> bool {
        self.tags.iter().any(|other| other == tag || other.is_empty())
    }
}

/// Bytes that a change and each of its keys take beside their names, about.
const OVERHEAD: usize = 96;

impl Change {
    /// Keys of one namespace, whose tags are not said.
    pub fn of_keys(effect: Effect, keys: &[Key]) -> Change {
        let namespace = keys.first().map_or_else(String::new, |key| key.namespace().name().to_owned());
        let changed = |key: &Key| ChangedKey { key: Bytes::copy_from_slice(key.bytes()), tags: Tags::default() };
        Change { namespace: namespace.into(), effect, covers: Covers::Keys(keys.iter().map(changed).collect()) }
    }

    /// Keys of a namespace with the tags that their entries had or have.
    pub fn of(effect: Effect, namespace: &Namespace, changed: Vec<ChangedKey>) -> Change {
        let namespace = Bytes::copy_from_slice(namespace.name().as_bytes());
        Change { namespace, effect, covers: Covers::Keys(changed) }
    }

    /// What is selected of a namespace.
    pub fn of_selected(effect: Effect, namespace: &Namespace, selectors: &[Selector]) -> Change {
        let namespace = Bytes::copy_from_slice(namespace.name().as_bytes());
        Change { namespace, effect, covers: Covers::Selected(selectors.to_vec()) }
    }

    /// Whether everything that `other` covers is covered here.
    pub fn includes(&self, other: &Change) -> bool {
        let covers = match (&self.covers, &other.covers) {
            (Covers::Keys(mine), Covers::Keys(theirs)) if theirs.len() == 1 => {
                mine.iter().any(|changed| changed.key == theirs[0].key)
            }
            (Covers::Keys(mine), Covers::Keys(theirs)) => {
                let mine: HashSet<&Bytes> = mine.iter().map(|changed| &changed.key).collect();
                theirs.iter().all(|changed| mine.contains(&changed.key))
            }
            (mine, theirs) => mine == theirs,
        };
        covers && self.namespace == other.namespace
    }

    /// The same in memory of its own: as it came it is a slice of a larger buffer, which it would keep alive.
    pub fn compact(&self) -> Change {
        let covers = match &self.covers {
            Covers::Selected(selectors) => Covers::Selected(selectors.iter().map(Selector::compact).collect()),
            Covers::Keys(keys) => Covers::Keys(
                keys.iter()
                    .map(|changed| ChangedKey {
                        key: Bytes::copy_from_slice(&changed.key),
                        tags: changed.tags.compact(),
                    })
                    .collect(),
            ),
        };
        Change { namespace: Bytes::copy_from_slice(&self.namespace), effect: self.effect, covers }
    }

    /// The same in memory of its own, for telling of it again, without tags: they may be many. Where there were any they are unknown.
    pub fn bare(&self) -> Change {
        match &self.covers {
            Covers::Selected(_) => self.compact(),
            Covers::Keys(keys) => {
                let bare = |changed: &ChangedKey| ChangedKey {
                    key: Bytes::copy_from_slice(&changed.key),
                    tags: if changed.tags.is_empty() { Tags::default() } else { Tags::unknown() },
                };
                let covers = Covers::Keys(keys.iter().map(bare).collect());
                Change { namespace: Bytes::copy_from_slice(&self.namespace), effect: self.effect, covers }
            }
        }
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        let tags = |changed: &ChangedKey| changed.tags.iter().map(|tag| OVERHEAD / 3 + tag.len()).sum::<usize>();
        let keys = self.changed_keys().iter().map(|changed| OVERHEAD / 2 + changed.key.len() + tags(changed));
        let selectors = self.selectors().iter().map(|selector| OVERHEAD / 2 + selector.bytes().len());
        OVERHEAD + self.namespace.len() + keys.chain(selectors).sum::<usize>()
    }

    /// The keys it names, with their tags.
    pub fn changed_keys(&self) -> &[ChangedKey] {
        match &self.covers {
            Covers::Keys(keys) => keys,
            Covers::Selected(_) => &[],
        }
    }

    /// The keys it names.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.changed_keys().iter().map(|changed| &changed.key)
    }

    /// The selectors it names.
    pub fn selectors(&self) -> &[Selector] {
        match &self.covers {
            Covers::Keys(_) => &[],
            Covers::Selected(selectors) => selectors,
        }
    }
}

/// The counters of partitions at one instant in Redis, come back through the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Position of each partition that was read.
    pub positions: Vec<(u16, Version)>,
}

/// Where buses deliver. Calls about one partition come one after another and in the order of its subscription.
pub trait BusSink: Send + Sync + 'static {
    /// A message arrived.
    fn apply(&self, message: Message);
    /// A message of one of `partitions` arrived that cannot be read.
    fn undecodable(&self, partitions: &[u16]);
    /// Messages of `partitions` were dropped on the way from the connection to here.
    fn overran(&self, partitions: &[u16]);
    /// An audit of `partitions` is about to be sent; its echo will carry the nonce returned.
    fn audit_begins(&self, partitions: &[u16]) -> u64;
    /// Whether an audit of `nonce` was sent whose echo may still come.
    fn awaits(&self, nonce: u64) -> bool;
    /// An audit's echo came back. Returns whether it counts: not if the subscription was lost since.
    fn echo(&self, nonce: u64, echo: Echo) -> bool;
    /// The subscription to `partitions` was lost.
    fn disconnected(&self, partitions: &[u16]);
    /// The lease of a key was given back unfilled, perhaps because the entry could not be made. Says nothing of entries.
    fn released(&self, namespace: &[u8], key: &[u8], failed: bool);
}
