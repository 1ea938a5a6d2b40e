//! The audit log: decisions, failed logins, admin actions and reloads.
//!
//! Lines of one subject are merged: the first is logged at once, and then one a minute with a count.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::caller::{Caller, LoginFailure};
use crate::cache::log_fields::AUDIT;
use crate::cache::quoted::MAX_QUOTED_BYTES;
use crate::sync::Mutex;

/// Interval of the lines of one subject.
const LINE_INTERVAL: Duration = Duration::from_secs(60);
/// Interval at which due counts are logged.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Most subjects. Further ones share one line.
const MAX_SUBJECTS: usize = 4096;

/// Decisions that are logged. Admin actions, reloads and failed logins always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditLog {
    /// None.
    Off,
    /// Denials, also those of mode `shadow`.
    #[default]
    Denied,
    /// All.
    All,
}

/// The audit log.
pub struct Audit {
    log: AtomicU8,
    hasher: RandomState,
    subjects: Mutex<HashMap<u64, AuditSubject>>,
}

/// A decision, as the audit log shows it.
pub(super) struct DecisionLine<'a> {
    pub caller: &'a Caller,
    pub peer: &'a dyn Display,
    pub verb: &'static str,
    /// The namespace as sent, or the event.
    pub namespace: &'a str,
    /// Digest of the key, if there is one.
    pub key: Option<u64>,
    /// Index of the result among [`crate::cache::stats::DECISIONS`].
    pub decision: usize,
    /// The rule that grants it. Empty if there is none.
    pub rule: &'a str,
}

/// An action that changed something, or reset it.
pub struct AdminAction<'a> {
    /// Name of the caller.
    pub identity: &'a str,
    /// How the caller is known.
    pub known: &'a str,
    /// Address of the caller.
    pub peer: &'a dyn Display,
    /// Name of the RPC.
    pub action: &'static str,
    /// The namespace. Empty for the service.
    pub namespace: &'a str,
    /// State before.
    pub before: &'a str,
    /// State after.
    pub after: &'a str,
}

/// The lines of one subject.
struct AuditSubject {
    logged_at: Instant,
    /// Lines that were not logged.
    pending: u64,
    line: Line,
}

/// The last line of a subject.
#[derive(Clone)]
struct Line {
    identity: String,
    known: &'static str,
    peer: String,
    verb: &'static str,
    namespace: String,
    key: String,
    decision: &'static str,
    rule: String,
}

// === impl Audit ===

impl Audit {
    /// Creates a log of these decisions.
    pub fn new(log: AuditLog) -> Audit {
        Audit { log: AtomicU8::new(log as u8), hasher: RandomState::new(), subjects: Mutex::default() }
    }

    /// Sets the decisions that are logged.
    pub fn set(&self, log: AuditLog) {
        self.log.store(log as u8, Ordering::Relaxed);
    }

    /// Logs counts that are due, until it is dropped.
    pub async fn run(&self) {
        loop {
            sleep(FLUSH_INTERVAL).await;
            self.flush(Instant::now());
        }
    }

    /// Returns true if a decision with this result is logged.
    pub(super) fn logs(&self, is_allowed: bool) -> bool {
        let log = self.log.load(Ordering::Relaxed);
        if is_allowed { log == AuditLog::All as u8 } else { log != AuditLog::Off as u8 }
    }

    /// Logs a decision, or counts it.
    pub(super) fn decided(&self, decision: &DecisionLine<'_>) {
        let DecisionLine { caller, peer, verb, namespace, key, decision, rule } = decision;
        let (name, result) = (&*caller.identity.name, crate::cache::stats::DECISIONS[*decision]);
        let id = self.hasher.hash_one((name, verb, namespace, result));
        self.count(id, || Line {
            identity: name.to_owned(),
            known: caller.known.name(),
            peer: peer.to_string(),
            verb,
            namespace: shortened(namespace),
            key: key.map(|digest| format!("#{digest:016x}")).unwrap_or_default(),
            decision: result,
            rule: (*rule).to_owned(),
        });
    }

    /// Logs a failed login, or counts it.
    pub(super) fn failed_login(&self, failure: LoginFailure, address: IpAddr, peer: &dyn Display) {
        let id = self.hasher.hash_one((failure.name(), address));
        self.count(id, || Line {
            identity: String::new(),
            known: "",
            peer: peer.to_string(),
            verb: "login",
            namespace: String::new(),
            key: String::new(),
            decision: "failed",
            rule: failure.name().to_owned(),
        });
    }

    /// Logs an admin action.
    pub fn admin_action(&self, action: &AdminAction<'_>) {
        let AdminAction { identity, known, peer, action, namespace, before, after } = action;
        tracing::info!(
            target: AUDIT, identity, known_by = known, %peer, action, namespace, before, after, "admin action"
        );
    }

    /// Logs a reload of the configuration, with its result.
    pub fn reload(&self, result: &str, cause: &str) {
        tracing::info!(target: AUDIT, result, cause, "reload");
    }

    fn count(&self, id: u64, line: impl FnOnce() -> Line) {
        let now = Instant::now();
        let mut subjects = self.subjects.lock();
        let is_full = subjects.len() >= MAX_SUBJECTS && !subjects.contains_key(&id);
        let id = if is_full { 0 } else { id };
        match subjects.get_mut(&id) {
            Some(subject) if now.duration_since(subject.logged_at) < LINE_INTERVAL => {
                subject.pending += 1;
            }
            Some(subject) => {
                subject.line = line();
                let count = std::mem::take(&mut subject.pending) + 1;
                subject.logged_at = now;
                subject.line.log(count);
            }
            None => {
                let mut line = line();
                if is_full {
                    // It stands for subjects of any kind from now on.
                    (line.identity, line.namespace) = ("_others".to_owned(), "_others".to_owned());
                }
                line.log(1);
                subjects.insert(id, AuditSubject { logged_at: now, pending: 0, line });
            }
        }
    }

    /// Logs the counts of subjects whose minute is over, and forgets those without any.
    fn flush(&self, now: Instant) {
        let mut subjects = self.subjects.lock();
        subjects.retain(|_, subject| {
            if now.duration_since(subject.logged_at) < LINE_INTERVAL {
                return true;
            }
            if subject.pending == 0 {
                return false;
            }
            subject.line.log(std::mem::take(&mut subject.pending));
            subject.logged_at = now;
            true
        });
    }
}

// === impl Line ===

impl Line {
    fn log(&self, count: u64) {
        let Line { identity, known, peer, verb, namespace, key, decision, rule } = self;
        tracing::info!(
            target: AUDIT, identity, known_by = known, peer, verb, namespace, key, decision, rule, count, "access"
        );
    }
}

/// Returns the first characters of a text that a caller may choose freely.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_QUOTED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::LoginFailure;

    fn pending(audit: &Audit) -> Vec<u64> {
        audit.subjects.lock().values().map(|subject| subject.pending).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_one_subject_are_counted_for_a_minute() {
        let audit = Audit::new(AuditLog::Denied);
        let fail = |host: u8| audit.failed_login(LoginFailure::UnknownToken, [127, 0, 0, host].into(), &"peer");
        (0..5).for_each(|_| fail(1));
        assert_eq!(pending(&audit), [4]);
        tokio::time::advance(LINE_INTERVAL).await;
        audit.flush(Instant::now());
        assert_eq!(pending(&audit), [0], "the count is logged");
        tokio::time::advance(LINE_INTERVAL).await;
        audit.flush(Instant::now());
        assert_eq!(pending(&audit), [0; 0], "a quiet subject is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn subjects_are_bounded() {
        let audit = Audit::new(AuditLog::Denied);
        for number in 0..3 * MAX_SUBJECTS as u32 {
            audit.failed_login(LoginFailure::UnknownToken, IpAddr::from(number.to_be_bytes()), &"peer");
        }
        assert_eq!(pending(&audit).len(), MAX_SUBJECTS + 1);
    }

    #[test]
    fn text_of_callers_is_cut_at_a_character() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"é".repeat(100)).len(), 64);
        assert_eq!(shortened(&format!("a{}", "é".repeat(100))).len(), 63);
    }
}
