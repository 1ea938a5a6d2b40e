//! Contents of the bus: one change of one partition, and the echo of an audit.

use std::collections::HashSet;

use bytes::Bytes;

use crate::cache::entry::Tags;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::Namespace;
use crate::cache::version::Version;

/// One write or invalidation, as published by its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partition of the change.
    pub partition: u16,
    /// Position in the partition.
    pub version: Version,
    /// The change.
    pub change: Change,
    /// True if this replica made the change.
    pub own: bool,
}

/// A change of entries. Every covered entry older than the message's version is outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The namespace.
    pub namespace: Bytes,
    /// The effect on the covered entries.
    pub effect: Effect,
    /// The covered entries.
    pub covers: Covers,
}

/// Effect of a change on the covered entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They were written.
    Set,
    /// They were removed.
    Removed,
    /// They were marked stale.
    Marked,
    /// Their time to live was shortened.
    Shortened,
}

/// The entries that a change covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Entries of these keys.
    Keys(Vec<ChangedKey>),
    /// Entries that one of these selects.
    Selected(Vec<Selector>),
}

/// A key that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// The key.
    pub key: Bytes,
    /// The tags that its entry had or has now. An empty tag among them means that there may have
    /// been any.
    pub tags: Tags,
}

impl ChangedKey {
    /// Returns true if its entry may have, or have had, `tag`.
    pub fn may_have(&self, tag: &[u8]) -> bool {
        self.tags.iter().any(|other| other == tag || other.is_empty())
    }
}

/// Approximate bytes that a change and each of its keys take beside their names.
const OVERHEAD: usize = 96;

impl Change {
    /// Builds a change of keys of one namespace, with unknown tags.
    pub fn of_keys(effect: Effect, keys: &[Key]) -> Change {
        let namespace = keys.first().map_or_else(String::new, |key| key.namespace().name().to_owned());
        let changed = |key: &Key| ChangedKey { key: Bytes::copy_from_slice(key.bytes()), tags: Tags::default() };
        Change { namespace: namespace.into(), effect, covers: Covers::Keys(keys.iter().map(changed).collect()) }
    }

    /// Builds a change of keys of a namespace, with the tags that their entries had or have.
    pub fn of(effect: Effect, namespace: &Namespace, changed: Vec<ChangedKey>) -> Change {
        let namespace = Bytes::copy_from_slice(namespace.name().as_bytes());
        Change { namespace, effect, covers: Covers::Keys(changed) }
    }

    /// Builds a change of what is selected of a namespace.
    pub fn of_selected(effect: Effect, namespace: &Namespace, selectors: &[Selector]) -> Change {
        let namespace = Bytes::copy_from_slice(namespace.name().as_bytes());
        Change { namespace, effect, covers: Covers::Selected(selectors.to_vec()) }
    }

    /// Returns true if everything that `other` covers is covered here.
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

    /// Returns a copy in memory of its own: as received it is a slice of a larger buffer, which it
    /// would keep alive.
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

    /// Returns a copy in memory of its own, without tags: they may be many. Keys that had tags have
    /// unknown ones.
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

    /// Returns the approximate bytes that it takes in memory.
    pub fn size(&self) -> usize {
        let tags = |changed: &ChangedKey| changed.tags.iter().map(|tag| OVERHEAD / 3 + tag.len()).sum::<usize>();
        let keys = self.changed_keys().iter().map(|changed| OVERHEAD / 2 + changed.key.len() + tags(changed));
        let selectors = self.selectors().iter().map(|selector| OVERHEAD / 2 + selector.bytes().len());
        OVERHEAD + self.namespace.len() + keys.chain(selectors).sum::<usize>()
    }

    /// Returns its keys, with their tags.
    pub fn changed_keys(&self) -> &[ChangedKey] {
        match &self.covers {
            Covers::Keys(keys) => keys,
            Covers::Selected(_) => &[],
        }
    }

    /// Returns its keys.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.changed_keys().iter().map(|changed| &changed.key)
    }

    /// Returns its selectors.
    pub fn selectors(&self) -> &[Selector] {
        match &self.covers {
            Covers::Keys(_) => &[],
            Covers::Selected(selectors) => selectors,
        }
    }
}

/// The counters of partitions at one instant in Redis, as received through the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Position of each partition that was read.
    pub positions: Vec<(u16, Version)>,
}

/// Receiver of bus events. Calls about one partition come one after another, in the order of its
/// subscription.
pub trait BusSink: Send + Sync + 'static {
    /// Applies a message.
    fn apply(&self, message: Message);
    /// Reports a message of one of `partitions` that cannot be decoded.
    fn undecodable(&self, partitions: &[u16]);
    /// Reports messages of `partitions` that were dropped between the connection and here.
    fn overran(&self, partitions: &[u16]);
    /// Registers an audit of `partitions` before it is sent. Its echo will carry the returned
    /// nonce.
    fn audit_begins(&self, partitions: &[u16]) -> u64;
    /// Returns true if an audit of `nonce` was sent whose echo may still come.
    fn awaits(&self, nonce: u64) -> bool;
    /// Applies the echo of an audit. Returns false if it does not count because the subscription
    /// was lost since.
    fn echo(&self, nonce: u64, echo: Echo) -> bool;
    /// Reports that the subscription to `partitions` was lost.
    fn disconnected(&self, partitions: &[u16]);
    /// Reports that the lease of a key was released unfilled, with `failed` because the fill
    /// failed. Implies nothing about entries.
    fn released(&self, namespace: &[u8], key: &[u8], failed: bool);
}
