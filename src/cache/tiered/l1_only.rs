//! Operations while L2 is switched off: entries live in L1 only, and replicas are not coherent.
//!
//! Invalidations still reach these entries. They are never taken for entries of L2, also after L2
//! is switched on again.

use std::time::Duration;

use super::cache::TieredInner;
use super::types::{SetAnswer, SetOutcome};
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Entry};
use crate::cache::key::Key;
use crate::cache::tier::{Condition, L2Error, Touch, Touched, TouchedEntry, TtlChange, Write};
use crate::cache::token::Token;
use crate::cache::version::Version;

impl TieredInner {
    /// Stores an entry in L1 only. Conditions are checked against L1; request ids are not
    /// remembered.
    pub(super) fn write_l1_only(&self, write: &Write) -> Result<SetAnswer, L2Error> {
        let now = self.clock.now();
        let (mut outcome, mut current) = (SetOutcome::Stored, None);
        self.coherence
            .put_local_only(&write.key, |before, version| {
                // An entry that has ended stays in L1 until a sweep.
                let before = before.filter(|held| now < held.kept_until());
                let live = before.filter(|held| self.is_live(held, &write.key, now));
                current = live.map(|held| held.entry.version);
                outcome = verdict(write, before, current);
                (outcome == SetOutcome::Stored).then(|| {
                    current = Some(version);
                    Entry::written(&write.entry, version, Duration::ZERO, now)
                })
            })
            .map_err(|why| why.into_error(write.key.namespace()))?;
        Ok(SetAnswer { outcome, version: current, token: Token::default() })
    }

    /// Changes the time to live of an entry in L1.
    pub(super) fn touch_l1_only(&self, key: &Key, touch: Touch) -> Touched {
        let now = self.clock.now();
        let mut touched = Touched { position: Version::ZERO, entry: None };
        let put = self.coherence.put_local_only(key, |before, _| {
            let held = before.filter(|held| self.is_live(held, key, now))?;
            let (change, expires_at) = touch.of(&held.entry, now);
            touched.entry = Some(TouchedEntry { version: held.entry.version, change, expires_at });
            let kept_until = expires_at.plus(held.entry.stale_window);
            let entry = Entry { expires_at, kept_until, ..held.entry.clone() };
            (change != TtlChange::Unchanged).then_some(entry)
        });
        match put {
            Ok(()) => touched,
            Err(_) => Touched { entry: None, ..touched },
        }
    }

    fn is_live(&self, held: &CachedEntry, key: &Key, now: Moment) -> bool {
        held.entry.lives(now) && !self.coherence.covers(key.as_ref(), held) && held.marked_at().is_none()
    }
}

fn verdict(write: &Write, before: Option<&CachedEntry>, current: Option<Version>) -> SetOutcome {
    let source = before.and_then(|held| held.entry.source_version);
    if write.entry.source_version.is_some() && write.entry.source_version < source {
        return SetOutcome::SourceVersionOlder;
    }
    if write.key.namespace().policy().immutable && current.is_some() {
        return SetOutcome::AlreadyPresent;
    }
    match write.condition {
        Condition::None => SetOutcome::Stored,
        Condition::Absent if current.is_some() => SetOutcome::AlreadyPresent,
        Condition::Present if current.is_none() => SetOutcome::NotPresent,
        Condition::Version(version) if current != Some(version) => SetOutcome::VersionMismatch,
        Condition::Lease(_) => SetOutcome::LeaseVoid,
        Condition::Absent | Condition::Present | Condition::Version(_) => SetOutcome::Stored,
    }
}
