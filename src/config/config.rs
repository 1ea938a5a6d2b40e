//! Configuration: as given by flags, environment and file, to validated. Every problem is reported at once, with its path.
//! Each section declares its settings once; values, `config show` and the reference all come from that declaration.

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
    /// How it stops.
    pub drain: Drain,
    /// What is cached, and for how long.
    pub cache: CacheSettings,
    /// The memory tier.
    pub l1: L1,
    /// Limits of a request.
    pub limits: Limits,
    /// The bound of coherence.
    pub coherence: Coherence,
    /// The shared tier; none to run alone, on memory only.
    pub redis: Option<Redis>,
    /// How a replica starts warm.
    pub warm_start: WarmStart,
    /// The HTTP server for metrics, probes and the dashboard.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
    /// What events invalidate.
    pub events: Events,
}

/// A configuration, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting by path, with its value and origin. Holds no secret.
    pub settings: Vec<Setting>,
}

// === impl Config ===

impl Config {
    /// Reads and validates a configuration. Nothing given is the default configuration.
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

/// Every setting by path, with its default. `<name>` stands for the name of a namespace.
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
