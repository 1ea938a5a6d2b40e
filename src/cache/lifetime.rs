//! Lifetime of an entry: time to live, age of refresh, stale window and sliding expiry.

use std::time::Duration;

/// Lifetime of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Time to live. `None` if the entry lives until it is removed or evicted.
    pub ttl: Option<Duration>,
    /// Age at which it is due for refresh. `None` if never.
    pub soft_ttl: Option<Duration>,
    /// Time past its time to live for which it is kept, to be answered flagged stale.
    pub stale_window: Duration,
    /// Longest life of an entry whose reads extend it by another `ttl`. `None` if reads do not
    /// extend it.
    pub sliding: Option<Duration>,
}

impl Lifetime {
    /// Creates a lifetime that has only a time to live.
    pub fn of(ttl: Duration) -> Lifetime {
        Lifetime { ttl: Some(ttl), ..Lifetime::default() }
    }
}
