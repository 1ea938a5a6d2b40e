//! Verbs of grants, and sets of them.

use std::fmt;

/// A kind of access that a grant may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Get and BatchGet.
    Read,
    /// Set, BatchSet, Touch, ReleaseLease, and a Get that requests a lease.
    Write,
    /// Invalidate and BatchInvalidate.
    Invalidate,
    /// Watch.
    Watch,
    /// Stats.
    Stats,
    /// AdminService, and the admin port.
    Admin,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs(u8);

// === impl Verb ===

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 6] = [Verb::Read, Verb::Write, Verb::Invalidate, Verb::Watch, Verb::Stats, Verb::Admin];

    /// Returns the name, as settings and errors spell it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Write => "write",
            Verb::Invalidate => "invalidate",
            Verb::Watch => "watch",
            Verb::Stats => "stats",
            Verb::Admin => "admin",
        }
    }

    /// Returns the verb of this name.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// Returns the names of all verbs, for errors.
    pub fn names() -> String {
        Verb::ALL.map(Verb::name).join(", ")
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Verbs ===

impl Verbs {
    /// Returns true if the set holds `verb`.
    pub fn holds(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }

    /// Returns true if the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<T: IntoIterator<Item = Verb>>(verbs: T) -> Self {
        Verbs(verbs.into_iter().fold(0, |set, verb| set | 1 << verb as u8))
    }
}
