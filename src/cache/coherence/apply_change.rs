//! Effect of one change on L1, whether this replica made it or received its message.

use super::coherence::Coherence;
use crate::cache::clock::Moment;
use crate::cache::entry::Entry;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespace;
use crate::cache::tier::bus::Effect;
use crate::cache::version::Version;

// === impl Coherence ===

impl Coherence {
    /// Records an invalidation by `selectors`, ends rounds of the namespace, and requests a sweep.
    pub(super) fn record_invalidation(
        &self,
        namespace: &Namespace,
        partition: u16,
        selectors: &[Selector],
        version: Version,
        effect: Effect,
    ) {
        if selectors.is_empty() {
            return;
        }
        let marked_at = (effect == Effect::Marked).then(|| self.not_before(partition));
        selectors
            .iter()
            .for_each(|selector| namespace.invalidation_log().record(partition, selector, version, marked_at));
        self.partition(partition).rounds.end_all(Some(namespace.id));
        self.want_sweep(namespace);
    }

    /// Removes an entry that is older than a change at `version`, or marks it. To be called under
    /// the key's stripe.
    pub(super) fn drop_older(&self, key: KeyRef<'_>, version: Version, effect: Effect) {
        let Some(held) = self.l1.get(key).filter(|held| held.entry.version < version) else { return };
        let now = self.clock.now();
        let window = held.entry.stale_window;
        let kept = now < held.entry.kept_until && !window.is_zero() && !self.covers(key, &held);
        if effect == Effect::Marked && kept {
            let marked_at = held.marked_at().unwrap_or(self.not_before(self.partition_of(key)).max(held.known_at));
            let kept_until = held.entry.kept_until.min(marked_at.plus(window));
            let entry = Entry { kept_until, ..held.entry.clone() };
            self.put(&key.to_key(), &held, entry.with(|details| details.marked_at = Some(marked_at)));
        } else {
            self.l1.remove(key);
        }
    }

    /// Returns the earliest time at which a change that is received now was made in L2: after the
    /// last audit that found no message missing.
    fn not_before(&self, partition: u16) -> Moment {
        self.partition(partition).proved_at().min(self.clock.now())
    }
}
