//! Access: the caller of each RPC, and whether it is granted.
//!
//! The middleware finds the caller before a request is read. The services decide on the parsed
//! request, before anything is looked up.

mod connection_access;
mod demands;
mod filter;
mod narrowing;
mod request_access;
mod rules;
mod watch_access;

pub use connection_access::ConnectionAccess;
pub use filter::{hides_service_policy, name_hot_keys, show_stats};
pub use request_access::{RequestAccess, access_of, authorize, authorize_ask};
pub use rules::{Rule, rule_of};
pub use watch_access::WatchAccess;

pub use narrowing::{narrowed_pattern, narrowed_watch};
