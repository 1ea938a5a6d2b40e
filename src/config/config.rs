//! The validated configuration, and how it is read.
//!
//! Each section declares its settings once; values, `config show` and the reference all come from
//! that declaration.

use std::collections::BTreeSet;
use std::time::Duration;

use super::problem::Problems;
use super::reader::Reader;
use super::redis_url;
use super::sections::server::Drain;
use super::sections::{
    admin, auth, cache, coherence, events, identities, l1, limits, log, redis, server, tls, warm_start,
};
use super::setting::{Setting, SettingKind};
use super::sources::Sources;
use crate::admin::AdminConfig;
use crate::auth::AuthSettings;
use crate::backend::memory::L1Config;
use crate::backend::redis::{Failover, RedisConfig};
use crate::cache::admission::limits::AdmissionLimits;
use crate::cache::coherence::CoherenceConfig;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::fleet::warm_start::WarmStartConfig;
use crate::cache::namespace::NamespaceRules;
use crate::cache::policy::{Events, Limits, NamespacePolicy};
use crate::cache::tiered::TieredConfig;
use crate::grpc::ServerConfig;
use crate::telemetry::logs::LogConfig;
use crate::tls::TlsConfig;

/// The validated configuration of the service: the configuration of each component.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gRPC server.
    pub server: ServerConfig,
    /// TLS of the servers; `None` if they speak plain text.
    pub tls: Option<TlsConfig>,
    /// Interval at which files are looked at for a reload.
    pub reload_interval: Duration,
    /// Limits of the requests in flight.
    pub admission: AdmissionLimits,
    /// Timing of the shutdown.
    pub drain: Drain,
    /// Switches and timeouts of the cache.
    pub cache: TieredConfig,
    /// Policies, and the namespaces that may exist.
    pub namespaces: NamespaceRules,
    /// The memory tier.
    pub l1: L1Config,
    /// Limits of a request.
    pub limits: Limits,
    /// Staleness bound and partitions.
    pub coherence: CoherenceConfig,
    /// The shared tier; `None` to run alone, on memory only.
    pub redis: Option<RedisConfig>,
    /// The warm start; `None` if it is off.
    pub warm_start: Option<WarmStartConfig>,
    /// The HTTP server for metrics, probes and the dashboard; `None` if it is off.
    pub admin: Option<AdminConfig>,
    /// Level and format of the log.
    pub log: LogConfig,
    /// Invalidation rules of events.
    pub events: Events,
    /// Identities, and what they are granted.
    pub auth: AuthSettings,
}

/// A configuration, with the origin of every setting.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting by path, with its value and origin. Holds no secret.
    pub settings: Vec<Setting>,
    /// The settings whose secrets flags give: other users of the machine can read them.
    pub exposed_secrets: Vec<String>,
}

// === impl Config ===

impl Config {
    /// Reads and validates a configuration. Empty sources give the default configuration.
    pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
        let mut reader = Reader::new(sources);
        let config = Config::read(&mut reader);
        let settings = reader.finish()?;
        let exposed_secrets = exposed_secrets(sources, &settings);
        Ok(Loaded { config, settings, exposed_secrets })
    }

    /// Sets the safeguards of the coherence protocol, for tests that switch one off.
    #[must_use]
    pub fn with_safeguards(mut self, safeguards: Safeguards) -> Config {
        self.coherence.safeguards = safeguards;
        if let Some(redis) = &mut self.redis {
            redis.safeguards = safeguards;
        }
        self
    }

    fn read(reader: &mut Reader) -> Self {
        let limits = limits::read(reader);
        let (switches, mut namespaces) = (cache::read_switches(reader), cache::read_rules(reader, &limits));
        let log = log::read(reader);
        let server = server::read(reader);
        let tls = tls::read(reader, server.listen_plain.map(|_| server::LISTEN_PLAIN));
        let admission = server::read_admission(reader, &limits, server.connections.connections);
        let coherence = coherence::read(reader);
        let redis = redis::read(reader, &limits, coherence.max_staleness);
        let warm_start = warm_start::read(reader, &limits, &namespaces);
        let cache = TieredConfig {
            switches,
            read_timeout: redis.read_timeout,
            write_timeout: redis.write_timeout,
            self_audit_every: coherence::self_audit_every(reader),
            hot_key_capacity: warm_start.tracked_keys,
        };
        let redis = redis.config;
        let l1 = l1::read(reader, &limits, redis.is_some());
        cache::check_reservations(reader, &namespaces, l1.size);
        if let Some(redis) = &redis {
            cache::check_l2_quotas(reader, &namespaces, redis.namespace_sampling);
        }
        namespaces.l1_size = l1.size;
        namespaces.caller_share = admission.peer_share;
        let repair = redis.as_ref().is_some_and(|redis| redis.failover == Failover::Repair);
        Config {
            server,
            tls,
            reload_interval: auth::read_reload_interval(reader),
            admission,
            drain: Drain::read(reader),
            cache,
            namespaces,
            l1,
            coherence: CoherenceConfig { repair, ..coherence },
            redis,
            warm_start: warm_start.config,
            admin: admin::read(reader),
            log,
            events: events::read(reader, &limits),
            auth: auth::read(reader, &limits),
            limits,
        }
    }
}

/// Returns the settings of which flags give a secret.
fn exposed_secrets(sources: &Sources, settings: &[Setting]) -> Vec<String> {
    let kind = |path: &str| settings.iter().find(|setting| setting.path == path).map(|setting| setting.kind);
    let has_secret = |path: &str, text: &str| match kind(path) {
        Some(SettingKind::Secret) => !text.is_empty(),
        Some(SettingKind::Url) => redis_url::parse(text).is_ok_and(|url| url.credentials.password.is_some()),
        _ => false,
    };
    let exposed = sources.overrides.iter().filter(|(path, text)| has_secret(path, text));
    exposed.map(|(path, _)| path.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns every setting by path, with its default. `<name>` stands for the name of a namespace,
/// an event or an identity.
pub fn reference() -> Vec<Setting> {
    let mut reader = Reader::new(&Sources::default());
    Config::read(&mut reader);
    cache::read_namespace(&mut reader, "<name>", &NamespacePolicy::default());
    events::read_event(&mut reader, "<name>", &Limits::default());
    identities::read_identity(&mut reader, "<name>", &Limits::default());
    reader.finish().expect("defaults are valid")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
