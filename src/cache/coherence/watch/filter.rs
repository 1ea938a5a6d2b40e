//! Filter of a watch. Over-approximates: it may deliver too much, never too little.

use bytes::Bytes;

use crate::cache::invalidation::selector;
use crate::cache::invalidation::selector::Selector;
use crate::cache::tier::bus::{Change, ChangedKey};

/// The changes that a watch receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFilter {
    /// The namespace.
    pub namespace: Bytes,
    /// The selected entries.
    pub scope: Scope,
}

/// The entries of a namespace that a watch selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Namespace,
    /// Entries of keys below these segments, without a separator at the end.
    Prefix(Bytes),
    /// Entries with this tag.
    Tag(Bytes),
}

// === impl WatchFilter ===

impl WatchFilter {
    /// Returns true if the change may concern an entry of the filter.
    pub fn matches_change(&self, change: &Change) -> bool {
        self.namespace == change.namespace
            && (change.changed_keys().iter().any(|key| self.matches_key(key))
                || change.selectors().iter().any(|selector| self.matches_selector(selector)))
    }

    /// Returns true if the entry of a changed key is, or was, within the filter.
    pub fn matches_key(&self, changed: &ChangedKey) -> bool {
        match &self.scope {
            Scope::Namespace => true,
            Scope::Prefix(prefix) => selector::prefixes(&changed.key).any(|of_key| of_key == prefix),
            Scope::Tag(tag) => changed.may_have(tag),
        }
    }

    /// Returns true if the selector may select entries of the filter.
    ///
    /// An entry below a prefix may have any tag, one with a tag any key and other tags.
    pub fn matches_selector(&self, selector: &Selector) -> bool {
        match (&self.scope, selector) {
            (Scope::Prefix(mine), Selector::Prefix(theirs)) => {
                let below = |one: &Bytes, other: &Bytes| selector::prefixes(one).any(|prefix| prefix == other);
                below(mine, theirs) || below(theirs, mine)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::Tags;
    use crate::cache::tier::bus::{Covers, Effect};

    fn interest(scope: Scope) -> WatchFilter {
        WatchFilter { namespace: "ns".into(), scope }
    }

    fn key(key: &'static str, tags: &[&'static str]) -> ChangedKey {
        ChangedKey {
            key: key.into(),
            tags: Tags::new(tags.iter().map(|tag| Bytes::from_static(tag.as_bytes())).collect()),
        }
    }

    #[test]
    fn a_prefix_is_of_segments() {
        let interest = interest(Scope::Prefix("user:42".into()));
        for (name, wanted) in
            [("user:42", true), ("user:42:name", true), ("user:42/name", true), ("user:421", false), ("user", false)]
        {
            assert_eq!(interest.matches_key(&key(name, &[])), wanted, "{name}");
        }
    }

    #[test]
    fn a_tag_filter_matches_a_key_that_has_or_may_have_the_tag() {
        let interest = interest(Scope::Tag("red".into()));
        assert!(interest.matches_key(&key("k", &["blue", "red"])));
        assert!(!interest.matches_key(&key("k", &["blue"])) && !interest.matches_key(&key("k", &[])));
        let unknown = ChangedKey { key: "k".into(), tags: Tags::unknown() };
        assert!(interest.matches_key(&unknown));
    }

    #[test]
    fn a_filter_matches_every_selector_that_may_cover_its_entries() {
        let (prefix, tag) = (interest(Scope::Prefix("a:b".into())), interest(Scope::Tag("red".into())));
        let selectors = [
            (Selector::Namespace, true),
            (Selector::Prefix("a".into()), true),
            (Selector::Prefix("a:b".into()), true),
            (Selector::Prefix("a:b:c".into()), true),
            (Selector::Prefix("a:bc".into()), false),
            (Selector::Prefix("x".into()), false),
            (Selector::Pattern("x*".into()), true),
            (Selector::Tag("blue".into()), true),
        ];
        for (selector, wanted) in selectors {
            assert_eq!(prefix.matches_selector(&selector), wanted, "{selector:?}");
            assert!(tag.matches_selector(&selector), "{selector:?}");
        }
    }

    #[test]
    fn a_filter_does_not_match_another_namespace() {
        let interest = interest(Scope::Namespace);
        let change = |namespace: &'static str| Change {
            namespace: namespace.into(),
            effect: Effect::Set,
            covers: Covers::Keys(vec![key("k", &[])]),
        };
        assert!(interest.matches_change(&change("ns")) && !interest.matches_change(&change("other")));
    }
}
