//! Failures of calls to Redis, and their reasons in neutral words for callers of the service.

use std::time::Duration;

use fred::prelude::Error;
use tracing::Span;

use super::spans;
use crate::backend::redis::connection::redis_error::names_a_missing_right;
use crate::backend::redis::connection::supervisor::UNRESPONSIVE;
use crate::cache::tier::L2Error;

/// Added to the time for which a write's outcome is unknown: for clocks that run at slightly
/// different rates.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// The failure of a call to Redis.
#[derive(Clone)]
pub enum CommandError {
    /// The command was not sent.
    NotSent(L2Error),
    /// The command was sent; its outcome is not known.
    Lost(LostAnswer),
    /// Redis refused the command.
    Refused(Error),
    /// Redis carried the command out, or not: its reply is unexpected.
    Unexpected,
}

/// The reason of an unexpected reply.
const UNEXPECTED: &str = "unexpected reply from redis";

/// The way in which an answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAnswer {
    /// The deadline passed before it.
    TimedOut,
    /// The connection ended before it.
    ConnectionLost,
}

// === impl LostAnswer ===

impl LostAnswer {
    /// The reason, for callers of the service.
    pub fn reason(self) -> &'static str {
        match self {
            LostAnswer::TimedOut => "no answer from redis within the timeout",
            LostAnswer::ConnectionLost => "the connection to redis was lost",
        }
    }
}

// === impl CommandError ===

impl CommandError {
    /// Converts the failure of a command that only reads: its outcome does not matter.
    pub fn into_read_error(self) -> L2Error {
        match self {
            CommandError::NotSent(error) => error,
            CommandError::Lost(answer) => L2Error::unavailable(answer.reason()),
            CommandError::Refused(error) => refused(&error),
            CommandError::Unexpected => L2Error::unavailable(UNEXPECTED),
        }
    }

    /// Returns the error of a write with an unexpected reply: it may have taken effect before.
    pub fn unexpected_reply_to_write() -> L2Error {
        CommandError::Unexpected.as_write_error(Duration::ZERO)
    }

    /// Converts the failure of a write that may still take effect for `left`.
    pub fn as_write_error(&self, left: Duration) -> L2Error {
        match self {
            CommandError::NotSent(error) => error.clone(),
            CommandError::Lost(answer) => {
                L2Error::Unavailable { reason: answer.reason(), outcome_unknown_for: Some(left + CLOCK_SLACK) }
            }
            CommandError::Refused(error) => match refused(error) {
                // A script that failed midway may have written before.
                L2Error::Unavailable { reason, .. } if !refused_before_start(error) => {
                    L2Error::Unavailable { reason, outcome_unknown_for: Some(CLOCK_SLACK) }
                }
                error => error,
            },
            CommandError::Unexpected => {
                L2Error::Unavailable { reason: UNEXPECTED, outcome_unknown_for: Some(CLOCK_SLACK) }
            }
        }
    }

    /// Builds the failure of a command that was answered by `error`, of Redis or of the connection.
    pub(super) fn from_answer(error: Error) -> CommandError {
        // Refusals of Redis begin with an upper-case word; any other error is the connection's
        // failure.
        let word = first_word(&error);
        if word.len() > 2 && word.bytes().all(|c| c.is_ascii_uppercase()) {
            CommandError::Refused(error)
        } else {
            CommandError::Lost(LostAnswer::ConnectionLost)
        }
    }

    /// Records the failure in the span of its call.
    pub fn note_in(&self, span: &Span) {
        spans::failed(span, self.word(), matches!(self, CommandError::Refused(_)));
    }

    /// The value of `error.type`; Redis's own word if it refused the command.
    pub fn word(&self) -> &str {
        match self {
            CommandError::NotSent(_) => "not_sent",
            CommandError::Lost(LostAnswer::TimedOut) => "timeout",
            CommandError::Lost(LostAnswer::ConnectionLost) => "connection_lost",
            CommandError::Refused(error) => first_word(error),
            CommandError::Unexpected => "unexpected_reply",
        }
    }
}

fn first_word(error: &Error) -> &str {
    error.details().split(' ').next().unwrap_or_default()
}

/// Returns true if a refusal came before the script began.
pub fn refused_before_start(error: &Error) -> bool {
    // Without READONLY, LOADING and CLUSTERDOWN: fred ends all commands in flight on the connection
    // with the same words.
    const WORDS: [&str; 9] =
        ["OOM", "NOREPLICAS", "MISCONF", "BUSY", "NOAUTH", "WRONGPASS", "MOVED", "ASK", "TRYAGAIN"];
    WORDS.iter().any(|word| error.details().starts_with(word))
}

/// The reason while no cause is known.
const NOT_CONNECTED: &str = "not connected to redis";

/// Converts a refusal, in neutral words.
pub fn refused(error: &Error) -> L2Error {
    let details = error.details();
    match refusal_in_words(details) {
        _ if details.starts_with("OOM") => L2Error::Full,
        Some(reason) => L2Error::unavailable(reason),
        None => {
            tracing::debug!(error = details, "redis refused a command");
            L2Error::unavailable("redis refused the command")
        }
    }
}

/// The neutral text for a refusal by Redis.
fn refusal_in_words(details: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 13] = [
        ("READONLY", "redis is not the primary"),
        ("LOADING", "redis is loading its data"),
        ("MASTERDOWN", "redis is a replica without its primary"),
        ("NOPERM", LACKS_A_RIGHT),
        ("WRONGPASS", "redis refuses this service's user or password"),
        ("NOAUTH", "redis requires a user and a password"),
        ("NOREPLICAS", "redis has too few replicas to write (min-replicas-to-write)"),
        ("MISCONF", "redis cannot persist and refuses writes (stop-writes-on-bgsave-error)"),
        ("BUSY", "redis is busy with a script"),
        ("MOVED", IS_MOVING),
        ("ASK", IS_MOVING),
        ("TRYAGAIN", IS_MOVING),
        ("CLUSTERDOWN", IS_MOVING),
    ];
    let known = WORDS.iter().find(|(word, _)| details.starts_with(word)).map(|(_, words)| *words);
    known.or_else(|| names_a_missing_right(details).then_some(LACKS_A_RIGHT))
}

const LACKS_A_RIGHT: &str = "redis refuses this service's user";
const IS_MOVING: &str = "redis is moving the key to another shard";

/// The reason why there is no connection, in neutral words: names and addresses in `obstacle` are
/// not the caller's business.
pub fn not_connected(obstacle: Option<&str>) -> &'static str {
    let Some(why) = obstacle else { return NOT_CONNECTED };
    let refused = refusal_in_words(why);
    let other = || match why {
        UNRESPONSIVE => UNRESPONSIVE,
        why if why.starts_with("tls") => "no TLS connection to redis can be made",
        why if why.contains("a replica, not the primary") => "redis is not the primary",
        _ => NOT_CONNECTED,
    };
    refused.unwrap_or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_write_with_an_unexpected_reply_is_unknown() {
        let unknown = |error: L2Error| matches!(error, L2Error::Unavailable { outcome_unknown_for: Some(_), .. });
        assert!(unknown(CommandError::unexpected_reply_to_write()));
        assert!(unknown(CommandError::Lost(LostAnswer::TimedOut).as_write_error(Duration::ZERO)));
        assert!(!unknown(CommandError::Unexpected.into_read_error()), "a read has no outcome");
        assert!(!unknown(CommandError::NotSent(L2Error::unavailable("not sent")).as_write_error(Duration::ZERO)));
    }
}
