//! Configuration: as given by flags, environment and file, to validated. Every problem is reported at once, with its path.
//! Each section declares its settings once; values, `config show` and the reference all come from that declaration.

mod admin;
mod coherence;
mod environment;
mod events;
mod file;
mod given;
mod kinds;
mod l1;
mod limits;
mod log;
mod namespaces;
mod problem;
mod reader;
mod redis;
mod redis_url;
mod server;
mod setting;
mod show;
mod sources;
mod warm_start;

pub use admin::{Admin, PageKeys};
pub use coherence::Coherence;
pub use l1::{Eviction, L1};
pub use log::{FILTERS, Log, LogFormat, LogKeys, is_filter};
pub use namespaces::CacheSettings;
pub use problem::{Problem, Problems};
pub use redis::{Failover, Password, Redis, Sentinel};
pub use redis_url::{Address, RedisUrl, RedisUrlError, Topology};
pub use server::{Drain, Server};
pub use setting::{Kind, Origin, REDACTED, Setting};
pub use show::show;
pub use sources::Sources;
pub use warm_start::WarmStart;

use crate::cache::policy::{Events, Limits, NamespacePolicy};
use reader::Reader;

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
        let limits = limits::read(reader);
        let events = events::read(reader, &limits);
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
    namespaces::read_namespace(&mut reader, "<name>", &NamespacePolicy::default());
    events::read_event(&mut reader, "<name>", &Limits::default());
    reader.finish().expect("defaults are valid")
}

#[cfg(test)]
mod tests;
