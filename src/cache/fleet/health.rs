//! Whether callers should come to this replica, and if not, why.

use std::fmt;

use crate::cache::tier::L2State;

/// What health is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why callers should not come here; none when they should.
    pub not_ready: Option<NotReady>,
    /// State of the shared tier.
    pub l2: L2State,
}

/// Why callers should not come to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It waits for the shared tier, for a while, or fills memory.
    Starting,
    /// It was told to say so.
    Drained,
    /// It must not serve: its configuration contradicts that of the deployment.
    Halted,
    /// It ends.
    Ending,
}

// === impl Health ===

impl Health {
    /// Before anything is known.
    pub fn starting() -> Health {
        Health { not_ready: Some(NotReady::Starting), l2: L2State::default() }
    }

    /// Callers should come here.
    pub fn is_ready(self) -> bool {
        self.not_ready.is_none()
    }

    /// Returns its one word.
    pub fn word(self) -> &'static str {
        self.not_ready.map_or("serving", NotReady::word)
    }

    /// This replica ends.
    pub fn is_ending(self) -> bool {
        self.not_ready == Some(NotReady::Ending)
    }
}

impl NotReady {
    /// Returns its one word.
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
            NotReady::Starting => "starting: waiting for redis, or loading hot keys",
            NotReady::Drained => "drained: told to report that it does not serve",
            NotReady::Halted => "halted: its configuration contradicts that of the deployment",
            NotReady::Ending => "ending: asked to stop",
        })
    }
}
