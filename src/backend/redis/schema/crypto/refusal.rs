//! Data from Redis that is refused because it is not from this deployment: counters, and log lines.

use crate::backend::redis::schema::log_interval::LogInterval;
use crate::cache::clock::Moment;
use crate::cache::stats::Counter;
use crate::cache::tier::RefusedCount;

/// The reason why data from Redis is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes have another form.
    Damaged,
    /// No MAC, where one is required.
    Unsigned,
    /// A value that is not encrypted, where that is required.
    Unencrypted,
    /// Signed or encrypted with a key that is not configured here.
    UnknownKey,
    /// The MAC, or the tag of the encryption, does not fit.
    Forged,
    /// The signed end has passed.
    Expired,
}

/// Kinds of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// Entries.
    Entry,
    /// Messages, echoes and confirmations.
    Message,
}

/// Counters of refused data, by kind and reason, with at most one log line a minute for each.
#[derive(Default)]
pub struct Refusals([[Refused; Refusal::COUNTED.len()]; RefusedKind::ALL.len()]);

#[derive(Default)]
struct Refused {
    count: Counter,
    log: LogInterval,
}

impl Refusal {
    /// The reasons that are counted here. Damaged data is counted as undecodable alone.
    pub const COUNTED: [Refusal; 5] =
        [Refusal::Unsigned, Refusal::Unencrypted, Refusal::UnknownKey, Refusal::Forged, Refusal::Expired];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Damaged => "damaged",
            Refusal::Unsigned => "unsigned",
            Refusal::Unencrypted => "unencrypted",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Forged => "forged",
            Refusal::Expired => "expired",
        }
    }
}

impl RefusedKind {
    /// All kinds.
    pub const ALL: [RefusedKind; 2] = [RefusedKind::Entry, RefusedKind::Message];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            RefusedKind::Entry => "entry",
            RefusedKind::Message => "message",
        }
    }
}

// === impl Refusals ===

impl Refusals {
    /// Counts refused data, and logs it.
    pub fn record(&self, subject: RefusedKind, refusal: Refusal, now: Moment) {
        let Some(index) = Refusal::COUNTED.iter().position(|counted| *counted == refusal) else { return };
        let refused = &self.0[subject as usize][index];
        refused.count.inc();
        if let Some(count) = refused.log.add(1, now) {
            let (what, why) = (subject.name(), refusal.name());
            tracing::warn!(what, why, count, "redis: refused data without a valid signature or encryption");
        }
    }

    /// Returns the counts since the start, by the names of kind and reason.
    pub fn counts(&self) -> Vec<RefusedCount> {
        let of = |subject: RefusedKind| {
            let counts = self.0[subject as usize].iter().zip(Refusal::COUNTED);
            counts.map(move |(refused, refusal)| (subject.name(), refusal.name(), refused.count.get()))
        };
        RefusedKind::ALL.into_iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_data_is_counted_by_kind_and_reason() {
        let refusals = Refusals::default();
        let now = Moment(1);
        for refusal in [Refusal::Forged, Refusal::Forged, Refusal::Damaged] {
            refusals.record(RefusedKind::Entry, refusal, now);
        }
        refusals.record(RefusedKind::Message, Refusal::Unsigned, now);
        let counted: Vec<_> = refusals.counts().into_iter().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("entry", "forged", 2), ("message", "unsigned", 1)]);
    }
}
