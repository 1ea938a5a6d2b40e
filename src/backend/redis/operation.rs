//! How long commands to Redis take: from sending one until its caller has the answer, by its name and by what became of it. Measured are those
//! of requests and of the work behind them; what keeps connections and the bus alive is not.

use std::time::Duration;

use super::spans::Command;
use crate::cache::stats::Family;

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
/// The durations.
pub struct Operations(pub Family);

impl Default for Operations {
    fn default() -> Self {
        let family = Family::new(NAMES, ERRORS);
        ["EVALSHA", "PIPELINE"].iter().filter_map(|name| family.row(name)).for_each(|row| family.expect(row, 0));
        Operations(family)
    }
}

// === impl Operations ===

impl Operations {
    /// One command, and the word for its failure.
    pub fn observe(&self, command: Command, failure: Option<&str>, took: Duration) {
        let column =
            failure.map_or(0, |word| ERRORS.iter().position(|known| *known == word).unwrap_or(ERRORS.len() - 1));
        if let Some(row) = self.0.row(command.operation()) {
            self.0.observe(row, column, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::redis::scripts::Script;

    #[test]
    fn a_failure_is_named_by_its_word_if_that_is_a_known_one() {
        let operations = Operations::default();
        let took = Duration::from_millis(1);
        for word in ["READONLY", "ERR", "user_script:1:"] {
            operations.observe(Command::Script(Script::Write), Some(word), took);
        }
        operations.observe(Command::One("SCAN"), Some("timeout"), took);
        operations.observe(Command::Pipeline(2), None, took);
        let used: Vec<_> = operations.0.snapshots().filter(|(_, _, snapshot)| snapshot.count > 0).collect();
        let used: Vec<_> = used.iter().map(|(name, error, snapshot)| (*name, *error, snapshot.count)).collect();
        let expected =
            [("EVALSHA", "READONLY", 1), ("EVALSHA", "_OTHER", 2), ("PIPELINE", "", 1), ("SCAN", "timeout", 1)];
        assert_eq!(used, expected);
    }
}
