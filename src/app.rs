//! The composition root: makes the parts of a running service from its configuration, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, AdminConfig};
use crate::backend::boot_clock::BootClock;
use crate::backend::local::Local;
use crate::backend::memory::{Eviction, MokaL1};
use crate::backend::redis::tls::TlsError;
use crate::backend::redis::{self, Credentials, Failover, ReadPassword, RedisConfig, Servers};
use crate::cache::admission::limits::{Admission, AdmissionLimits};
use crate::cache::clock::Clock;
use crate::cache::coherence::failover_repair::FailoverRepair;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::coherence::{Coherence, CoherenceConfig};
use crate::cache::fleet::health::{Health, NotReady};
use crate::cache::fleet::policy_sync::PolicySync;
use crate::cache::fleet::replica::{Replica, ReplicaHandles};
use crate::cache::fleet::shared_store::SharedStore;
use crate::cache::fleet::warm_start::{WarmStart, WarmStartConfig};
use crate::cache::log_fields::millis;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::tier::{L1, L2, L2State};
use crate::cache::tiered::{Tiered, TieredConfig};
use crate::config::{self, Address, Config, Topology};
use crate::grpc::health::HealthApi;
use crate::grpc::{
    AdminApi, CacheApi, KeyLogging, LogLevel, ServerConfig, ServerHandle, StatsReporter, Tracing, rpc_metrics,
};
use crate::net::acceptor;
use crate::shutdown::Stop;
use crate::telemetry::metrics::{Metrics, MetricsConfig};

/// Kept back from the drain limit for what follows the last RPC.
const CLOSING: Duration = Duration::from_secs(1);
/// Pause between looks at what health is judged by.
const HEALTH_PACE: Duration = Duration::from_millis(100);
/// Longest time for what a replica that ends leaves for its successor.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Longest time for the admin server's last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Keys of which it is kept account to tell those read most.
const HOT_KEY_PLACES: usize = 2048;

/// A running service.
pub struct App {
    address: SocketAddr,
    drain: config::Drain,
    serving: ServerHandle,
    admin: Option<(SocketAddr, Admin)>,
    cache: Tiered,
    l2: Arc<dyn L2>,
    warm_start: Option<Arc<WarmStart>>,
    metrics: Option<Arc<Metrics>>,
    draining: CancellationToken,
    ending: CancellationToken,
    tasks: TaskTracker,
}

/// Who sees what a service does, beside its callers.
#[derive(Clone, Default)]
pub struct Observers {
    /// How RPCs are traced; none: they are not.
    pub tracing: Option<Tracing>,
    /// Who wants metrics.
    pub metrics: MetricsConfig,
    /// The level of the log; none: it cannot be changed.
    pub log_level: Option<Arc<LogLevel>>,
}

/// Why a service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{setting} {address}: {cause}")]
    Listen {
        /// The setting that gives it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// TLS towards Redis cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl App {
    /// Starts serving. Does not wait for Redis. Nobody is told of it: for tests, as what is told is the program's choice.
    pub async fn start(config: Config) -> Result<App, StartError> {
        App::start_with(config, Safeguards::default()).await
    }

    /// The same with the given protections: for tests that take one away.
    pub async fn start_with(config: Config, protections: Safeguards) -> Result<App, StartError> {
        App::start_as(Replica::new(), config, protections, Observers::default()).await
    }

    /// Starts serving as this replica, seen by these observers.
    pub async fn start_as(
        replica: Replica,
        config: Config,
        protections: Safeguards,
        observers: Observers,
    ) -> Result<App, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(BootClock);
        let redis = config.redis.as_ref().map(|redis| redis_config(redis, &config, protections)).transpose()?;
        let (listener, address) = listen("server.listen", config.server.listen)?;
        let admin = if config.admin.enabled { Some(listen_for_admin(&config.admin)?) } else { None };
        let admin_address = admin.as_ref().map(|(_, address)| *address);

        let partitions = config.coherence.partitions;
        let namespaces = Arc::new(Namespaces::new(namespace_rules(&config), partitions));
        let l1: Arc<dyn L1> = Arc::new(MokaL1::new(config.l1.size, eviction(config.l1.eviction, redis.is_some())));
        let coherence = CoherenceConfig {
            partitions,
            max_staleness: config.coherence.max_staleness,
            repair: config.redis.as_ref().is_some_and(|redis| redis.failover == config::Failover::Repair),
            protections,
        };
        let coherence = Arc::new(Coherence::new(coherence, l1.clone(), namespaces.clone(), clock.clone()));
        let (l2, board): (Arc<dyn L2>, Option<Arc<dyn SharedStore>>) = match redis {
            Some(redis) => {
                let tier = redis::start(redis, partitions, rand::random(), clock.clone(), coherence.clone());
                (tier.clone(), Some(tier))
            }
            None => (Arc::new(Local::new(l1.clone(), coherence.clone(), clock.clone())), None),
        };
        let swept = coherence.clone();
        let repair = FailoverRepair::new(coherence.clone(), l2.clone(), namespaces.clone(), clock.clone());
        let cache = Tiered::new(tiered_config(&config), l1, l2.clone(), coherence, clock.clone());
        let policies = Arc::new(PolicySync::new(board.clone(), namespaces.clone(), cache.clone(), clock.clone()));
        let warm_start = board.clone().filter(|_| config.warm_start.enabled).map(|board| {
            let config = warm_start_config(&config.warm_start);
            Arc::new(WarmStart::new(config, cache.clone(), namespaces.clone(), board, clock.clone()))
        });

        let server = &config.server;
        let load = Arc::new(Admission::new(AdmissionLimits {
            requests: server.max_in_flight,
            bytes: server.max_bytes_in_flight as usize,
            probes: server.max_uncounted,
            connections: server.max_connections,
            waiting: server.max_waiting,
            peer_share: server.max_share_per_peer,
        }));
        let (draining, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (state, health) = watch::channel(Health::starting());
        let grace = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.connect_timeout);
        let ending = CancellationToken::new();
        tasks.spawn({
            let ending = ending.clone();
            async move { repair.run(ending).await }
        });
        if config.redis.is_some() {
            tasks.spawn(ending.clone().run_until_cancelled_owned(swept.sweep_memory()));
        }
        let (drain, drained) = watch::channel(false);
        let prepared = CancellationToken::new();
        tasks.spawn({
            let (policies, warm_start, prepared) = (policies.clone(), warm_start.clone(), prepared.clone());
            ending.clone().run_until_cancelled_owned(prepare(cache.clone(), policies, warm_start, grace, prepared))
        });
        tasks.spawn({
            let (l2, draining, ending) = (l2.clone(), draining.clone(), ending.clone());
            async move {
                follow_health(&state, l2, grace, draining, prepared, drained).await;
                // What it said last is told until the end: those who watch it would ask again at once.
                ending.cancelled().await;
            }
        });
        let keys = match config.log.keys {
            config::LogKeys::Hashed => KeyLogging::Hashed,
            config::LogKeys::Clear => KeyLogging::Clear,
        };
        announce(&config, address, admin_address, &replica);
        let Observers { tracing, metrics: wanted, log_level } = observers;
        let can_be_scraped = wanted.prometheus;
        let rpcs = (!wanted.is_off()).then(|| Arc::new(rpc_metrics::table()));
        let observed = Arc::new(ReplicaHandles {
            replica,
            cache: cache.clone(),
            l2: l2.clone(),
            namespaces,
            load: load.clone(),
            rpcs: rpcs.clone(),
            health: health.clone(),
            board,
            warm_start: warm_start.clone(),
            clock: clock.clone(),
        });
        let metrics = (!wanted.is_off()).then(|| Arc::new(Metrics::start(observed.clone(), &wanted)));
        tasks.spawn({
            let (metrics, ending) = (metrics.clone(), ending.clone());
            async move {
                if let Some(metrics) = metrics {
                    ending.run_until_cancelled(metrics.run()).await;
                }
            }
        });
        let reports = Arc::new(StatsReporter::new(observed.clone()));
        tasks.spawn({
            let (reports, ending) = (reports.clone(), ending.clone());
            async move { ending.run_until_cancelled(reports.tell_fleet()).await }
        });
        let admin_http = admin.map(|(listener, address)| {
            let fleet: admin::FleetQuery = Arc::new({
                let reports = reports.clone();
                move || {
                    let reports = reports.clone();
                    Box::pin(async move { reports.fleet().await })
                }
            });
            let metrics = metrics.clone().filter(|_| can_be_scraped);
            let metrics = metrics.map(|metrics| -> admin::MetricsText { Arc::new(move || metrics.prometheus_text()) });
            let sources = admin::AdminSources { observed, fleet, metrics };
            (address, Admin::start(listener, admin_config(&config.admin), sources))
        });
        let api = CacheApi::new(reports, config.limits.clone(), config.events.clone(), clock, keys);
        let admin = config.server.admin.then(|| AdminApi::new(&api, policies, drain, log_level));
        let health = HealthApi::new(health, config.server.admin);
        let page = admin_address.filter(|address| config.admin.page && !address.ip().is_unspecified());
        let server = server_config(&config, page, tracing);
        let serving = ServerHandle::start(listener, server, api, admin, health, load, rpcs);
        Ok(App {
            address,
            drain: config.drain,
            serving,
            admin: admin_http,
            cache,
            l2,
            warm_start,
            metrics,
            draining,
            ending,
            tasks,
        })
    }

    /// The address served on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is counted; none: nobody wants it.
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }

    /// The address of metrics, probes and the dashboard.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// Ends the service within the drain limit (drain.delay and drain.timeout together), whatever its peers do: says that it is going,
    /// waits for callers to hear of it, finishes what is under way, closes Redis. Returns whether every RPC was finished.
    pub async fn stop(self, stop: Stop) -> bool {
        let delay = if stop == Stop::Drain { self.drain.delay } else { Duration::ZERO };
        let limit = Instant::now() + delay + self.drain.timeout;
        tracing::info!(delay_ms = millis(delay), timeout_ms = millis(self.drain.timeout), "draining");
        self.draining.cancel();
        sleep(delay).await;
        self.cache.leave();
        let finished = self.serving.drain(self.drain.timeout.saturating_sub(CLOSING)).await;
        if !finished {
            tracing::warn!("connections were closed before their peers let go");
        }
        let closing = async {
            self.cache.close().await;
            self.ending.cancel();
            if let Some(warm_start) = &self.warm_start {
                let _ = timeout(LAST_WORDS, warm_start.leave_list()).await;
            }
            self.l2.close().await;
            self.tasks.close();
            self.tasks.wait().await;
            if let Some(metrics) = &self.metrics {
                metrics.stop().await;
            }
        };
        if timeout_at(limit, closing).await.is_err() {
            tracing::warn!("what was under way did not end within the drain limit and was dropped");
        }
        // Last, so that probes hear until the end that this replica is not ready.
        if let Some((_, admin)) = self.admin {
            admin.close(LAST_ANSWERS.min(limit.saturating_duration_since(Instant::now()))).await;
        }
        tracing::info!("stopped");
        finished
    }
}

/// Keeps health up to date: ready once Redis was healthy, or did not become so within `grace`; not ready any more when ending or halted, nor while
/// drained.
async fn follow_health(
    state: &watch::Sender<Health>,
    l2: Arc<dyn L2>,
    grace: Duration,
    draining: CancellationToken,
    prepared: CancellationToken,
    mut drained: watch::Receiver<bool>,
) {
    let started = Instant::now();
    let mut settled = false;
    loop {
        let l2_state = l2.report().state;
        settled |= matches!(l2_state, L2State::Healthy | L2State::Disabled) || started.elapsed() >= grace;
        let ending = draining.is_cancelled();
        let waiting = !prepared.is_cancelled();
        let reasons = [
            (ending, NotReady::Ending),
            (l2.halted().is_some(), NotReady::Halted),
            (*drained.borrow_and_update(), NotReady::Drained),
            (waiting || !settled, NotReady::Starting),
        ];
        let not_ready = reasons.into_iter().find_map(|(holds, why)| holds.then_some(why));
        let now = Health { not_ready, l2: l2_state };
        state.send_if_modified(|state| std::mem::replace(state, now) != now);
        if ending {
            return;
        }
        tokio::select! {
            () = draining.cancelled() => {}
            Ok(()) = drained.changed() => {}
            () = prepared.cancelled(), if waiting => {}
            () = sleep(HEALTH_PACE) => {}
        }
    }
}

/// What comes before readiness, as far as Redis is there within `grace`: policies as they were changed at run time, and the warm start. Then
/// goes on with both, for ever.
async fn prepare(
    cache: Tiered,
    policies: Arc<PolicySync>,
    warm_start: Option<Arc<WarmStart>>,
    grace: Duration,
    prepared: CancellationToken,
) {
    if timeout(grace, cache.until_proven()).await.is_ok() {
        policies.look().await;
        if let Some(warm_start) = &warm_start {
            warm_start.load().await;
        }
    }
    prepared.cancel();
    let lists = async {
        if let Some(warm_start) = &warm_start {
            warm_start.leave_lists().await;
        }
    };
    tokio::join!(policies.follow(), lists);
}

fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = acceptor::listen(address);
    let listener = listener.map_err(|cause| StartError::Listen { setting, address, cause })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

/// An address that was not asked for may be another: several replicas on one machine do not hinder each other.
fn listen_for_admin(admin: &config::Admin) -> Result<(TcpListener, SocketAddr), StartError> {
    match listen("admin.listen", admin.listen) {
        Err(StartError::Listen { .. }) if !admin.listen_is_given => {
            listen("admin.listen", SocketAddr::new(admin.listen.ip(), 0))
        }
        bound => bound,
    }
}

fn announce(config: &Config, address: SocketAddr, admin: Option<SocketAddr>, replica: &Replica) {
    let version = env!("CARGO_PKG_VERSION");
    if let Some(admin) = admin {
        let dashboard = if config.admin.page { format!("http://{admin}/") } else { "off".to_owned() };
        tracing::info!(%dashboard, metrics = %format_args!("http://{admin}/metrics"), "metrics and the dashboard are served");
    }
    match &config.redis {
        Some(redis) => {
            let (url, max_staleness_ms) = (&redis.url, millis(config.coherence.max_staleness));
            tracing::info!(%address, version, replica = %replica.id, redis = %url, max_staleness_ms, "twintier serves");
        }
        None => {
            tracing::info!(%address, version, replica = %replica.id, "twintier serves");
            tracing::warn!(
                "no Redis is configured (redis.url): L1 only; entries live in this replica's memory and nowhere else"
            );
        }
    }
    if !config.cache.switches.enabled {
        tracing::warn!("the cache is switched off (cache.enabled): Gets miss and Sets store nothing");
    }
}

// === from configuration to parts ===

fn namespace_rules(config: &Config) -> NamespaceRules {
    NamespaceRules {
        default_policy: config.cache.default_policy.clone(),
        configured: config.cache.namespaces.clone(),
        strict: config.cache.strict,
        limit: config.limits.namespaces,
        tombstones: config.limits.tombstones,
        tombstone_bytes: config.limits.tombstone_bytes,
    }
}

/// Without Redis an entry that memory refuses is a lost Set, so everything new is taken there.
fn eviction(eviction: config::Eviction, redis: bool) -> Eviction {
    match eviction {
        config::Eviction::Lru => Eviction::Lru,
        config::Eviction::TinyLfu => Eviction::TinyLfu,
        config::Eviction::Auto if redis => Eviction::TinyLfu,
        config::Eviction::Auto => Eviction::Lru,
    }
}

fn tiered_config(config: &Config) -> TieredConfig {
    let budgets = config.redis.as_ref().map(|redis| (redis.read_timeout, redis.write_timeout));
    let (read_budget, write_budget) = budgets.unwrap_or((Duration::MAX, Duration::MAX));
    let self_audit_every = config.coherence.self_audit.one_in();
    let hot_key_places = HOT_KEY_PLACES.max(2 * config.warm_start.keys);
    TieredConfig { switches: config.cache.switches, read_budget, write_budget, self_audit_every, hot_key_places }
}

fn warm_start_config(config: &config::WarmStart) -> WarmStartConfig {
    let config::WarmStart { keys, timeout, keys_per_second, load_keys, load_prefixes, .. } = config.clone();
    let load_keys = load_keys.into_iter().map(|(namespace, key)| (namespace, key.into())).collect();
    WarmStartConfig { keys, load_keys, load_prefixes, timeout, keys_per_second }
}

fn admin_config(admin: &config::Admin) -> AdminConfig {
    let keys = match admin.keys {
        config::PageKeys::Hashed => admin::KeyNames::Hashed,
        config::PageKeys::Clear => admin::KeyNames::Clear,
    };
    AdminConfig { page: admin.page, keys }
}

fn server_config(config: &Config, page: Option<SocketAddr>, tracing: Option<Tracing>) -> ServerConfig {
    let (server, slow_request) = (&config.server, config.log.slow_request);
    ServerConfig {
        slow_request: (!slow_request.is_zero()).then_some(slow_request),
        page,
        max_connections: server.max_connections,
        max_connections_per_peer: server.max_connections_per_peer,
        max_streams_per_connection: server.max_streams_per_connection,
        max_metadata_size: server.max_metadata_size,
        first_byte_timeout: server.first_byte_timeout,
        keepalive_interval: server.keepalive_interval,
        keepalive_timeout: server.keepalive_timeout,
        max_connection_age: server.max_connection_age,
        max_connection_age_grace: server.max_connection_age_grace,
        max_deadline: server.max_deadline,
        compression: server.compression,
        body_timeout: server.body_timeout,
        reflection: server.reflection,
        tracing,
    }
}

fn redis_config(redis: &config::Redis, config: &Config, protections: Safeguards) -> Result<RedisConfig, StartError> {
    let identity = redis.tls_cert_file.as_deref().zip(redis.tls_key_file.as_deref());
    let identity = identity.map(|(certificate, key)| redis::tls::Identity { certificate, key });
    let tls = redis.url.tls.then(|| redis::tls::client(redis.tls_ca_file.as_deref(), identity)).transpose()?;
    let sentinel = &redis.sentinel;
    let servers = match &redis.url.topology {
        Topology::Standalone { server } => Servers::Standalone(address(server)),
        Topology::Sentinel { servers, service } => Servers::Sentinel {
            sentinels: servers.iter().map(address).collect(),
            service: service.clone(),
            credentials: Credentials {
                username: sentinel.username.clone(),
                password: sentinel.password.clone().map(read),
            },
        },
        Topology::Cluster { servers } => Servers::Cluster { seeds: servers.iter().map(address).collect() },
    };
    Ok(RedisConfig {
        servers,
        tls,
        credentials: Credentials { username: redis.url.username.clone(), password: redis.password.clone().map(read) },
        database: redis.url.database,
        prefix: redis.prefix.clone(),
        connections: redis.connections,
        connect_timeout: redis.connect_timeout,
        unresponsive_after: redis.unresponsive_after,
        max_in_flight: redis.max_in_flight,
        value_size: config.limits.value_size,
        max_reply_size: redis::reply_scanner::max_reply_size(&config.limits),
        max_staleness: config.coherence.max_staleness,
        tombstones: config.limits.tombstones,
        namespace_sampling: redis.namespace_sampling,
        protections,
        failover: match redis.failover {
            config::Failover::Repair => Failover::Repair,
            config::Failover::Cold => Failover::Cold,
        },
    })
}

fn address(address: &Address) -> redis::Address {
    match address {
        Address::Tcp { host, port } => redis::Address::Tcp { host: host.clone(), port: *port },
        Address::Unix(path) => redis::Address::Unix { path: path.clone() },
    }
}

fn read(password: config::Password) -> ReadPassword {
    Arc::new(move || password.read())
}
