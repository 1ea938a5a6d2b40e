//! Health of this replica: ready, or the reason why it is not.

use std::fmt;

use crate::cache::tier::L2State;

/// Health of this replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Reason why it is not ready. `None` if it is ready.
    pub not_ready: Option<NotReady>,
    /// State of the shared tier.
    pub l2: L2State,
}

/// Reason why a replica is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It waits for the shared tier, for a limited time, or loads hot keys.
    Starting,
    /// An operator drained it.
    Drained,
    /// It must not serve: its configuration contradicts that of the deployment.
    Halted,
    /// It is shutting down.
    Ending,
}

// === impl Health ===

impl Health {
    /// Returns the health at the start.
    pub fn starting() -> Health {
        Health { not_ready: Some(NotReady::Starting), l2: L2State::default() }
    }

    /// Returns true if callers should use this replica.
    pub fn is_ready(self) -> bool {
        self.not_ready.is_none()
    }

    /// Returns the state as one word.
    pub fn word(self) -> &'static str {
        self.not_ready.map_or("serving", NotReady::word)
    }

    /// Returns true if this replica is shutting down.
    pub fn is_ending(self) -> bool {
        self.not_ready == Some(NotReady::Ending)
    }
}

impl NotReady {
    /// Returns the reason as one word.
    pub fn word(self) -> &'static str {
        match self {
            NotReady::Starting => "starting",
            NotReady::Drained => "drained",
            NotReady::Halted => "halted",
            NotReady::Ending => "ending",
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotReady::Starting => "starting: waiting for L2, or loading hot keys",
            NotReady::Drained => "drained by an operator",
            NotReady::Halted => "halted: its configuration contradicts the deployment",
            NotReady::Ending => "ending: shutting down",
        })
    }
}
