//! Counters of decisions on access, and of failed logins.

use super::meter::Counter;

/// Verbs of decisions, in the order of their counters.
pub const VERBS: [&str; 7] = ["read", "write", "invalidate", "watch", "stats", "admin", "event"];
/// Results of decisions, in the order of their counters.
pub const DECISIONS: [&str; 3] = ["allowed", "denied", "would_deny"];
/// Reasons of failed logins, in the order of their counters.
pub const FAILED_LOGINS: [&str; 15] = [
    "no_credential",
    "malformed",
    "unknown_token",
    "unknown_certificate",
    "ambiguous_certificate",
    "expired",
    "not_yet_valid",
    "malformed_jwt",
    "jwt_algorithm",
    "jwt_key",
    "jwt_signature",
    "jwt_issuer",
    "jwt_audience",
    "jwt_lifetime",
    "unknown_subject",
];

/// Counters of decisions on access, and of failed logins.
#[derive(Default)]
pub struct AccessCounters {
    decisions: [[Counter; DECISIONS.len()]; VERBS.len()],
    failed_logins: [Counter; FAILED_LOGINS.len()],
}

/// Counts at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessCounts {
    /// Decisions, by verb and result.
    pub decisions: [[u64; DECISIONS.len()]; VERBS.len()],
    /// Failed logins, by reason.
    pub failed_logins: [u64; FAILED_LOGINS.len()],
}

// === impl AccessCounters ===

impl AccessCounters {
    /// Counts a decision, by the indexes of its verb and its result.
    pub fn decided(&self, verb: usize, decision: usize) {
        self.decisions[verb][decision].inc();
    }

    /// Counts a failed login, by the index of its reason.
    pub fn failed_login(&self, reason: usize) {
        self.failed_logins[reason].inc();
    }

    /// Reads all counters.
    pub fn read(&self) -> AccessCounts {
        let read = |counter: &Counter| counter.get();
        AccessCounts {
            decisions: std::array::from_fn(|verb| self.decisions[verb].each_ref().map(read)),
            failed_logins: self.failed_logins.each_ref().map(read),
        }
    }
}
