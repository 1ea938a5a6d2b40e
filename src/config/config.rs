//! The validated configuration, and how it is read.
//!
//! Each section declares its settings once; values, `config show` and the reference all come from
//! that declaration.

use super::problem::Problems;
use super::reader::Reader;
use super::sections::admin::Admin;
use super::sections::cache::CacheSettings;
use super::sections::coherence::Coherence;
use super::sections::l1::L1;
use super::sections::log::Log;
use super::sections::redis::Redis;
use super::sections::server::{Drain, Server};
use super::sections::warm_start::WarmStart;
use super::setting::Setting;
use super::sources::Sources;
use crate::cache::policy::{Events, Limits, NamespacePolicy};

/// The validated configuration of the service.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gRPC server.
    pub server: Server,
    /// Timing of the shutdown.
    pub drain: Drain,
    /// Policies and switches of the cache.
    pub cache: CacheSettings,
    /// The memory tier.
    pub l1: L1,
    /// Limits of a request.
    pub limits: Limits,
    /// Staleness bound and partitions.
    pub coherence: Coherence,
    /// The shared tier; `None` to run alone, on memory only.
    pub redis: Option<Redis>,
    /// The warm start.
    pub warm_start: WarmStart,
    /// The HTTP server for metrics, probes and the dashboard.
    pub admin: Admin,
    /// Level and format of the log.
    pub log: Log,
    /// Invalidation rules of events.
    pub events: Events,
}

/// A configuration, with the origin of every setting.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting by path, with its value and origin. Holds no secret.
    pub settings: Vec<Setting>,
}

// === impl Config ===

impl Config {
    /// Reads and validates a configuration. Empty sources give the default configuration.
    pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
        let mut reader = Reader::new(sources);
        let config = Config::read(&mut reader);
        Ok(Loaded { settings: reader.finish()?, config })
    }

    fn read(reader: &mut Reader) -> Self {
        let limits = super::sections::limits::read(reader);
        let events = super::sections::events::read(reader, &limits);
        let cache = CacheSettings::read(reader);
        Config {
            server: Server::read(reader, &limits),
            drain: Drain::read(reader),
            l1: L1::read(reader, &limits),
            coherence: Coherence::read(reader),
            redis: Redis::read(reader),
            warm_start: WarmStart::read(reader, &limits, &cache),
            admin: Admin::read(reader),
            log: Log::read(reader),
            limits,
            cache,
            events,
        }
    }
}

/// Returns every setting by path, with its default. `<name>` stands for the name of a namespace.
pub fn reference() -> Vec<Setting> {
    let mut reader = Reader::new(&Sources::default());
    Config::read(&mut reader);
    super::sections::cache::read_namespace(&mut reader, "<name>", &NamespacePolicy::default());
    super::sections::events::read_event(&mut reader, "<name>", &Limits::default());
    reader.finish().expect("defaults are valid")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
