//! Errors of Redis: their text, what they say about the server, and the failure of connecting.

use fred::prelude::Error;

/// The failure of connecting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A failure that may pass.
    #[error("{0}")]
    Failed(String),
    /// The server is not, or not yet, the primary of this partition.
    #[error("{0}")]
    Misplaced(String),
    /// The deployment has another number of partitions: this replica must not serve.
    #[error("redis holds a deployment of {theirs} partitions under this prefix, this replica is configured for {ours}")]
    Partitions {
        /// Partitions of the deployment.
        theirs: i64,
        /// Partitions configured here.
        ours: u16,
    },
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        if is_misplaced(&error) {
            ConnectError::Misplaced(words(&error))
        } else if lacks_a_right(&error) {
            ConnectError::Failed(format!("{} (docs/redis.md lists the rights this service needs)", words(&error)))
        } else {
            ConnectError::Failed(words(&error))
        }
    }
}

/// Longest text of a Redis error that is repeated, characters: that of protected mode is a page
/// long.
const MAX_ERROR_CHARS: usize = 200;

/// The text of an error. fred shows the system's errors in Rust's debugging form.
pub fn words(error: &Error) -> String {
    let details = error.details();
    let said = |field| details.split_once(field).and_then(|(_, rest): (_, &str)| rest.split_once('"'));
    let message = said("message: \"").or_else(|| said("error: \""));
    let message = message.map_or(details, |(message, _)| message);
    match message.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// Returns true if Redis is not, or not yet, the primary: the connection is of no use.
pub fn not_a_primary(error: &Error) -> bool {
    ["READONLY", "LOADING", "MASTERDOWN"].iter().any(|prefix| error.details().starts_with(prefix))
}

/// Returns true if the user of this service lacks a right for the command, or for one of a script.
fn lacks_a_right(error: &Error) -> bool {
    names_a_missing_right(error.details())
}

/// Returns true if the text of an error says so, in the words of Redis 7.0 or of later servers.
pub fn names_a_missing_right(details: &str) -> bool {
    let in_script = ["The user executing the script can't", "ACL failure in script"];
    details.starts_with("NOPERM") || in_script.iter().any(|words| details.contains(words))
}

/// Returns true if the server is in a Cluster and does not serve this partition, yet or any more.
pub fn is_misplaced(error: &Error) -> bool {
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"].iter().any(|word| error.details().starts_with(word))
}

#[cfg(test)]
mod tests {
    use fred::prelude::ErrorKind;

    use super::*;

    #[test]
    fn a_long_error_of_redis_is_cut() {
        let page = format!("DENIED {}", "protected mode ".repeat(60));
        let cut = words(&Error::new(ErrorKind::Auth, page));
        assert!(cut.starts_with("DENIED protected mode") && cut.ends_with("..."), "{cut}");
        assert_eq!(cut.chars().count(), MAX_ERROR_CHARS + 3);
    }

    #[test]
    fn an_error_of_the_system_is_said_in_its_own_words() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(words(&Error::new(ErrorKind::IO, refused)), "Connection refused");
        let unknown = "Custom { kind: Uncategorized, error: \"failed to lookup address information: Name or service not known\" }";
        let said = words(&Error::new(ErrorKind::IO, unknown));
        assert_eq!(said, "failed to lookup address information: Name or service not known");
        assert_eq!(words(&Error::new(ErrorKind::Auth, "WRONGPASS invalid password")), "WRONGPASS invalid password");
    }

    #[test]
    fn a_missing_right_is_told_from_other_errors_by_any_server() {
        for missing in [
            "NOPERM this user has no permissions to run the 'get' command",
            "ERR The user executing the script can't run this command or subcommand script: 36fa, on @user_script:1.",
            "ERR ACL failure in script: User u has no permissions to run the 'hset' command script: 36fa, on @user_script:1.",
            "ERR ACL failure in script: No permissions to access a channel script: on @user_script:1.",
        ] {
            assert!(names_a_missing_right(missing), "{missing}");
        }
        assert!(!names_a_missing_right("WRONGTYPE Operation against a key holding the wrong kind of value"));
    }
}
