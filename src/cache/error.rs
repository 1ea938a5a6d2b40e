//! Errors of the core. A miss and a failed condition are not errors.

use std::fmt;
use std::time::Duration;

use crate::units::format_duration;

/// One field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as the contract names it.
    pub field: String,
    /// The rule, and the value sent.
    pub description: String,
}

impl Violation {
    /// Creates a violation.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Violation { field: field.into(), description: description.into() }
    }

    /// Creates the violation of a size limit.
    pub fn too_large(field: impl Into<String>, was: usize, limit: usize, unit: &str) -> Self {
        Violation::new(field, format!("must be at most {limit} {unit}; was {was} {unit}"))
    }
}

/// Most violations that are kept; further ones are only counted. A request of a thousand items may
/// break tens of thousands of rules.
const MAX_NAMED: usize = 32;

/// Broken rules of one request, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    named: Vec<Violation>,
    unnamed: usize,
}

impl Violations {
    /// Adds a violation.
    pub fn push(&mut self, violation: Violation) {
        if self.named.len() < MAX_NAMED {
            self.named.push(violation);
        } else {
            self.unnamed += 1;
        }
    }

    /// Returns the violations that are kept: the first ones.
    pub fn named(&self) -> &[Violation] {
        &self.named
    }

    /// Returns the number of violations that are not kept.
    pub fn unnamed(&self) -> usize {
        self.unnamed
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Changes each kept violation.
    pub fn map(self, change: impl FnMut(Violation) -> Violation) -> Violations {
        Violations { named: self.named.into_iter().map(change).collect(), unnamed: self.unnamed }
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: Violations) {
        self.unnamed += others.unnamed;
        self.extend(others.named);
    }
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        Violations { named: vec![violation], unnamed: 0 }
    }
}

impl Extend<Violation> for Violations {
    fn extend<T: IntoIterator<Item = Violation>>(&mut self, violations: T) {
        violations.into_iter().for_each(|violation| self.push(violation));
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<T: IntoIterator<Item = Violation>>(violations: T) -> Self {
        let mut collected = Violations::default();
        collected.extend(violations);
        collected
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.named.iter().enumerate() {
            write!(f, "{}{} {}", if index == 0 { "" } else { "; " }, violation.field, violation.description)?;
        }
        if self.unnamed > 0 { write!(f, "; … and {} more", self.unnamed) } else { Ok(()) }
    }
}

/// A quota that was reached: a setting of a section that has a name, such as a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} limit of {limit} reached")]
pub struct QuotaReached {
    /// Section of the settings.
    pub section: &'static str,
    /// Name in that section.
    pub name: String,
    /// Setting.
    pub field: &'static str,
    /// The limit.
    pub limit: u64,
    /// Time after which a retry makes sense. `None` if waiting does not help.
    pub retry_after: Option<Duration>,
}

impl QuotaReached {
    /// Returns the path of the setting: `namespaces.cart.max_leases`.
    pub fn path(&self) -> String {
        format!("{}.{}.{}", self.section, self.name, self.field)
    }
}

impl From<QuotaReached> for CacheError {
    fn from(quota: QuotaReached) -> Self {
        CacheError::Quota(quota.into())
    }
}

/// An error of the core, as a caller of the service sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Fields of the request break rules.
    #[error("invalid request: {0}")]
    Invalid(Violations),
    /// Only configured namespaces exist, and this one is not configured.
    #[error("unknown namespace {0:?}")]
    UnknownNamespace(String),
    /// The shared tier could not be reached, did not answer in time, or its answer was lost.
    #[error("the shared tier is unavailable: {reason}")]
    Unavailable {
        /// Reason, in neutral words.
        reason: &'static str,
        /// Time after which a retry makes sense.
        retry_after: Duration,
        /// For a write: time from now during which it may still take effect. `None` if it has not
        /// and will not.
        outcome_unknown_for: Option<Duration>,
    },
    /// The shared tier has no room for another value.
    #[error("the shared tier is full")]
    Full,
    /// A limit of this replica was reached.
    #[error("{what} limit of {limit} reached")]
    Exhausted {
        /// Name of the limited resource.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// Time after which a retry makes sense. `None` if waiting does not help.
        retry_after: Option<Duration>,
    },
    /// The request has no credential, and needs one.
    #[error("no credential: send the header authorization, or use a client certificate")]
    NoCredential,
    /// The credential is not accepted. The log has the reason.
    #[error("the credential is not accepted")]
    BadCredential,
    /// The caller is not granted what the request needs.
    #[error("{0}")]
    NotGranted(String),
    /// A limit of the caller's identity was reached.
    #[error("limit of {limit} reached ({setting})")]
    IdentityLimit {
        /// Path of the setting.
        setting: String,
        /// The limit.
        limit: usize,
    },
    /// A quota was reached.
    #[error("{0}")]
    Quota(Box<QuotaReached>),
    /// The caller's deadline has passed.
    #[error("deadline exceeded")]
    DeadlineExceeded {
        /// For a write: time from now during which it may still take effect. `None` if it has not
        /// and will not, or nothing was to be written.
        outcome_unknown_for: Option<Duration>,
    },
    /// The body of a request did not arrive in time.
    #[error("the request body was not complete within {}", format_duration(*limit))]
    Incomplete {
        /// The limit.
        limit: Duration,
    },
    /// This replica must not serve: its configuration contradicts that of the deployment.
    #[error("this replica does not serve: {0}")]
    Halted(String),
    /// This connection is closing, or this replica is shutting down: long-lived streams end, and
    /// continue elsewhere.
    #[error("connection closing: watch again from the last token")]
    Leaving,
    /// A request for several namespaces failed in some of them. In the others it took effect.
    #[error("{cause}; failed in {} of {of} namespaces: {}", failed.len(), listed(failed))]
    InSome {
        /// Names of the namespaces in which it failed, sorted.
        failed: Vec<String>,
        /// The number of namespaces.
        of: usize,
        /// The error of the part whose outcome is unknown for longest.
        cause: Box<CacheError>,
    },
    /// A bug. The log has the cause.
    #[error("internal error")]
    Internal,
}

/// Most bytes of a list of names in an error. The headers of a response have room for it.
const MAX_LISTED_BYTES: usize = 512;

/// Joins names, and replaces those beyond the limit by their number.
pub fn listed(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        if text.len() + separator.len() + name.len() > MAX_LISTED_BYTES {
            return format!("{text}, … and {} more", names.len() - index);
        }
        text.extend([separator, name]);
    }
    text
}

impl CacheError {
    /// Returns the time from now during which a failed write may still take effect. `None` if it
    /// has not and will not.
    pub fn outcome_unknown_for(&self) -> Option<Duration> {
        match self {
            CacheError::Unavailable { outcome_unknown_for, .. }
            | CacheError::DeadlineExceeded { outcome_unknown_for } => *outcome_unknown_for,
            CacheError::InSome { cause, .. } => cause.outcome_unknown_for(),
            _ => None,
        }
    }
}

impl From<Violation> for CacheError {
    fn from(violation: Violation) -> Self {
        CacheError::Invalid(violation.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut_and_says_how_many_are_left_out() {
        assert_eq!(listed(&["a".to_owned(), "b".to_owned()]), "a,b");
        let names: Vec<String> = (0..100).map(|n| format!("{n:010}")).collect();
        let text = listed(&names);
        assert!(text.len() < 550 && text.starts_with("0000000000,0000000001,"), "{text}");
        assert!(text.ends_with(", … and 54 more"), "{text}");
    }

    #[test]
    fn a_failure_in_some_namespaces_names_them_and_keeps_its_cause() {
        let unknown = Some(Duration::from_millis(80));
        let cause = Box::new(CacheError::DeadlineExceeded { outcome_unknown_for: unknown });
        let error = CacheError::InSome { failed: vec!["a".to_owned(), "c".to_owned()], of: 3, cause };
        assert_eq!(error.to_string(), "deadline exceeded; failed in 2 of 3 namespaces: a,c");
        assert_eq!(error.outcome_unknown_for(), unknown);
    }
}
