//! Latency histograms of commands by name and error, as callers see them.
//!
//! They cover requests and the work behind them. Commands that keep connections and the bus alive
//! are not measured.

use std::time::Duration;

use crate::backend::redis::schema::scripts::Script;
use crate::cache::stats::LabeledHistograms;

/// The kind of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// One command.
    One(&'static str),
    /// A script.
    Script(Script),
    /// A pipeline of so many commands.
    Pipeline(usize),
}

impl CommandKind {
    /// The name of the command; `PIPELINE` for several.
    pub fn operation(self) -> &'static str {
        match self {
            CommandKind::One(name) => name,
            CommandKind::Script(_) => "EVALSHA",
            CommandKind::Pipeline(_) => "PIPELINE",
        }
    }

    /// Returns true if the call writes nothing. Pipelines are reads.
    pub fn only_reads(self) -> bool {
        match self {
            CommandKind::One(name) => name == "HGET",
            CommandKind::Script(script) => script == Script::RecordCoverage,
            CommandKind::Pipeline(_) => true,
        }
    }

    /// The name of the script.
    pub fn script(self) -> Option<&'static str> {
        match self {
            CommandKind::Script(script) => Some(script.name()),
            CommandKind::One(_) | CommandKind::Pipeline(_) => None,
        }
    }

    /// The number of commands of a pipeline.
    pub fn batch_size(self) -> Option<u64> {
        match self {
            CommandKind::Pipeline(size) => u64::try_from(size).ok(),
            CommandKind::One(_) | CommandKind::Script(_) => None,
        }
    }
}

/// Names of operations, in their order.
const NAMES: [&str; 6] = ["EVALSHA", "PIPELINE", "HGET", "SET", "SCAN", "UNLINK"];
/// Error labels: none, two of this service, and Redis's own words.
///
/// The last one stands for all others.
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
/// Latencies by command and error.
pub struct Operations(pub LabeledHistograms);

impl Default for Operations {
    fn default() -> Self {
        let family = LabeledHistograms::new(NAMES, ERRORS);
        ["EVALSHA", "PIPELINE"].iter().filter_map(|name| family.row(name)).for_each(|row| family.expect(row, 0));
        Operations(family)
    }
}

// === impl Operations ===

impl Operations {
    /// Records one command, and the label of its failure.
    pub fn observe(&self, command: CommandKind, failure: Option<&str>, took: Duration) {
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

    #[test]
    fn a_failure_is_named_by_its_word_if_that_is_a_known_one() {
        let operations = Operations::default();
        let took = Duration::from_millis(1);
        for word in ["READONLY", "ERR", "user_script:1:"] {
            operations.observe(CommandKind::Script(Script::Write), Some(word), took);
        }
        operations.observe(CommandKind::One("SCAN"), Some("timeout"), took);
        operations.observe(CommandKind::Pipeline(2), None, took);
        let used: Vec<_> = operations.0.snapshots().filter(|(_, _, snapshot)| snapshot.count > 0).collect();
        let used: Vec<_> = used.iter().map(|(name, error, snapshot)| (*name, *error, snapshot.count)).collect();
        let expected =
            [("EVALSHA", "READONLY", 1), ("EVALSHA", "_OTHER", 2), ("PIPELINE", "", 1), ("SCAN", "timeout", 1)];
        assert_eq!(used, expected);
    }

    #[test]
    fn a_trip_of_several_commands_says_how_many() {
        assert_eq!(
            (CommandKind::Pipeline(3).operation(), CommandKind::Pipeline(3).batch_size()),
            ("PIPELINE", Some(3))
        );
        assert_eq!((CommandKind::One("HGET").operation(), CommandKind::One("HGET").batch_size()), ("HGET", None));
        assert_eq!(
            (CommandKind::Script(Script::Write).operation(), CommandKind::Script(Script::Write).script()),
            ("EVALSHA", Some("write"))
        );
    }
}
