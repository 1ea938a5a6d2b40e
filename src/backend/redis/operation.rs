//! How long commands to Redis take: from sending one until its caller has the answer, by its name and by what became of it. Measured are those
//! of requests and of the work behind them; what keeps connections and the bus alive is not.

use std::time::Duration;

use crate::cache::stats::Family;

/// What was sent, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A script.
    Script,
    /// Several commands in one trip.
    Pipeline,
    /// A field of a hash.
    Hget,
    /// A value.
    Set,
    /// A page of names.
    Scan,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Done,
    /// It was not answered within its budget.
    Late,
    /// Its connection was lost.
    Lost,
    /// Redis refused it, with the word at this place of the list.
    Refused(usize),
}

/// Names of operations, in their order.
const NAMES: [&str; 5] = ["EVALSHA", "PIPELINE", "HGET", "SET", "SCAN"];
/// Kinds of errors: none, two of our own, and the words with which Redis refuses; the last stands for every other.
const ERRORS: &[&str] = &[
    "",
    "timeout",
    "connection_lost",
    "OOM",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOPERM",
    "NOAUTH",
    "WRONGPASS",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "NOSCRIPT",
    "_OTHER",
];
/// The first of those words.
const FIRST_WORD: usize = 3;

/// The durations.
pub struct Operations(pub Family);

impl Default for Operations {
    fn default() -> Self {
        let family = Family::new(NAMES, ERRORS);
        [Operation::Script, Operation::Pipeline].iter().for_each(|operation| family.expect(*operation as usize, 0));
        Operations(family)
    }
}

// === impl Operations ===

impl Operations {
    /// One command.
    pub fn observe(&self, operation: Operation, outcome: Outcome, took: Duration) {
        let column = match outcome {
            Outcome::Done => 0,
            Outcome::Late => 1,
            Outcome::Lost => 2,
            Outcome::Refused(word) => word,
        };
        self.0.observe(operation as usize, column, took);
    }
}

// === impl Outcome ===

impl Outcome {
    /// Redis refused it in these words.
    pub fn refused(details: &str) -> Outcome {
        let first = details.split(' ').next().unwrap_or_default();
        let place = ERRORS[FIRST_WORD..].iter().position(|word| *word == first);
        Outcome::Refused(place.map_or(ERRORS.len() - 1, |place| FIRST_WORD + place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_named_by_its_word_if_that_is_a_known_one() {
        let operations = Operations::default();
        let took = Duration::from_millis(1);
        for details in ["READONLY You can't write", "ERR user_script:1: key:secret", "timeout x"] {
            operations.observe(Operation::Script, Outcome::refused(details), took);
        }
        operations.observe(Operation::Scan, Outcome::Late, took);
        let used: Vec<_> = operations.0.snapshots().filter(|(_, _, snapshot)| snapshot.count > 0).collect();
        let used: Vec<_> = used.iter().map(|(name, error, snapshot)| (*name, *error, snapshot.count)).collect();
        assert_eq!(used, [("EVALSHA", "READONLY", 1), ("EVALSHA", "_OTHER", 2), ("SCAN", "timeout", 1)]);
    }
}
