//! Expiry of an entry on the command line.

use std::time::Duration;

use clap::Args;

use crate::cli::args::parse_duration;
use crate::cli::units;
use crate::pb;

/// Expiry of an entry: at most one of these.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub(super) struct ExpiryArgs {
    /// Time to live, for example 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    ttl: Option<Duration>,
    /// Expiry time in place of --ttl, for example 2030-01-01T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    expire_at: Option<prost_types::Timestamp>,
    /// Never expire, where the namespace allows it; the entry lives until removed or evicted
    #[arg(long)]
    no_expiry: bool,
}

/// Expiry of an entry, as given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ExpiryFlag {
    Ttl(prost_types::Duration),
    Time(prost_types::Timestamp),
    Never,
}

impl ExpiryArgs {
    pub fn given(self) -> Option<ExpiryFlag> {
        match (self.ttl, self.expire_at) {
            (Some(ttl), _) => Some(ExpiryFlag::Ttl(units::to_wire(ttl))),
            (None, Some(time)) => Some(ExpiryFlag::Time(time)),
            (None, None) => self.no_expiry.then_some(ExpiryFlag::Never),
        }
    }
}

impl From<ExpiryFlag> for pb::set_request::Expiry {
    fn from(expiry: ExpiryFlag) -> Self {
        match expiry {
            ExpiryFlag::Ttl(ttl) => pb::set_request::Expiry::Ttl(ttl),
            ExpiryFlag::Time(time) => pb::set_request::Expiry::ExpireTime(time),
            ExpiryFlag::Never => pb::set_request::Expiry::NoExpiry(pb::NoExpiry {}),
        }
    }
}

impl From<ExpiryFlag> for pb::touch_request::Expiry {
    fn from(expiry: ExpiryFlag) -> Self {
        match expiry {
            ExpiryFlag::Ttl(ttl) => pb::touch_request::Expiry::Ttl(ttl),
            ExpiryFlag::Time(time) => pb::touch_request::Expiry::ExpireTime(time),
            ExpiryFlag::Never => pb::touch_request::Expiry::NoExpiry(pb::NoExpiry {}),
        }
    }
}
