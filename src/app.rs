//! Composition root: builds the parts of a running service from its configuration, and stops them
//! in order.

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
use crate::cache::tier::{L1, L2, L2State, TierStatus};
use crate::cache::tiered::{Tiered, TieredConfig};
use crate::config::{self, Address, Config, Topology};
use crate::grpc::health::HealthApi;
use crate::grpc::{
    AdminApi, CacheApi, KeyLogging, LogLevel, ServerConfig, ServerHandle, StatsReporter, Tracing, rpc_metrics,
};
use crate::net::acceptor;
use crate::shutdown::Stop;
use crate::telemetry::metrics::{Metrics, MetricsConfig};

/// Part of `drain.timeout` reserved for the shutdown after the last RPC.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(1);
/// Pause between two checks of the inputs of health.
const HEALTH_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Timeout of publishing the last hot-key list, which a successor loads.
const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);
/// Timeout of the admin server's last responses.
const ADMIN_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Least number of keys tracked for the hot-key list.
const MIN_TRACKED_HOT_KEYS: usize = 2048;

/// A running service.
pub struct App {
    address: SocketAddr,
    drain: config::Drain,
    serving: ServerHandle,
    admin: Option<(SocketAddr, Admin)>,
    cache: Tiered,
    l2: Arc<dyn TierStatus>,
    warm_start: Option<Arc<WarmStart>>,
    metrics: Option<Arc<Metrics>>,
    lifecycle: Lifecycle,
}

/// Tracing and metrics hooks.
#[derive(Clone, Default)]
pub struct Observers {
    /// Tracing of RPCs; `None` if it is off.
    pub tracing: Option<Tracing>,
    /// Consumers of metrics.
    pub metrics: MetricsConfig,
    /// The level of the log; `None` if it cannot be changed.
    pub log_level: Option<Arc<LogLevel>>,
}

/// Error that prevents a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process cannot listen on an address.
    #[error("{setting} {address}: {cause}")]
    Listen {
        /// The setting that gives the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Error of the operating system.
        cause: std::io::Error,
    },
    /// TLS towards Redis cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Sockets that are bound before anything else is started.
struct Listeners {
    grpc: TcpListener,
    admin: Option<(TcpListener, SocketAddr)>,
}

/// Background tasks, and the signals that stop them.
#[derive(Default)]
struct Lifecycle {
    /// Cancelled when the drain begins.
    draining: CancellationToken,
    /// Cancelled after the last RPC.
    ending: CancellationToken,
    tasks: TaskTracker,
}

/// The cache and the parts it is made of.
struct CacheParts {
    cache: Tiered,
    l2: Arc<dyn TierStatus>,
    /// L2 whose failovers are repaired. `None` without Redis.
    repaired: Option<Arc<dyn L2>>,
    /// `None` without Redis.
    store: Option<Arc<dyn SharedStore>>,
    coherence: Arc<Coherence>,
    namespaces: Arc<Namespaces>,
    clock: Arc<dyn Clock>,
}

/// ServiceParts that share the state of a replica with its fleet and report it.
struct FleetParts {
    policies: Arc<PolicySync>,
    warm_start: Option<Arc<WarmStart>>,
    handles: Arc<ReplicaHandles>,
    reports: Arc<StatsReporter>,
    metrics: Option<Arc<Metrics>>,
}

/// All parts of a service that starts.
struct ServiceParts {
    config: Config,
    core: CacheParts,
    fleet: FleetParts,
    lifecycle: Lifecycle,
}

impl App {
    /// Starts a service without tracing and metrics, for tests. Does not wait for Redis.
    pub async fn start(config: Config) -> Result<App, StartError> {
        App::start_with(config, Safeguards::default()).await
    }

    /// Like [`App::start`], with the given safeguards: for tests that switch one off.
    pub async fn start_with(config: Config, safeguards: Safeguards) -> Result<App, StartError> {
        App::start_as(Replica::new(), config, safeguards, Observers::default()).await
    }

    /// Starts a service as this replica, with these tracing and metrics hooks.
    pub async fn start_as(
        replica: Replica,
        config: Config,
        safeguards: Safeguards,
        observers: Observers,
    ) -> Result<App, StartError> {
        let redis = config.redis.as_ref().map(|redis| redis_config(redis, &config, safeguards)).transpose()?;
        let (grpc, address) = listen("server.listen", config.server.listen)?;
        let admin = if config.admin.enabled { Some(listen_for_admin(&config.admin)?) } else { None };
        announce(&config, address, admin.as_ref().map(|(_, address)| *address), &replica);
        let (health_sender, health) = watch::channel(Health::starting());
        let (drain, drained) = watch::channel(false);
        let core = build_cache(&config, redis, safeguards);
        let fleet = build_fleet(&config, &core, replica, health, &observers.metrics);
        let parts = ServiceParts { config, core, fleet, lifecycle: Lifecycle::default() };
        spawn_background(&parts, health_sender, drained);
        let (serving, admin) = serve(&parts, Listeners { grpc, admin }, observers, drain);
        let ServiceParts { config, core, fleet, lifecycle } = parts;
        Ok(App {
            address,
            drain: config.drain,
            serving,
            admin,
            cache: core.cache,
            l2: core.l2,
            warm_start: fleet.warm_start,
            metrics: fleet.metrics,
            lifecycle,
        })
    }

    /// Returns the address of the gRPC server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the metrics; `None` if nothing consumes them.
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }

    /// Returns the address of metrics, probes and the dashboard.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// Stops the service within `drain.delay` plus `drain.timeout`, whatever its peers do: reports
    /// that it is not ready, waits for callers to notice, finishes the requests in flight, and
    /// closes Redis. Returns true if every RPC was finished.
    pub async fn stop(self, stop: Stop) -> bool {
        let delay = if stop == Stop::Drain { self.drain.delay } else { Duration::ZERO };
        let deadline = Instant::now() + delay + self.drain.timeout;
        let Lifecycle { draining, ending, tasks } = self.lifecycle;
        tracing::info!(delay_ms = millis(delay), timeout_ms = millis(self.drain.timeout), "draining");
        draining.cancel();
        sleep(delay).await;
        self.cache.stop_waiting();
        let finished = self.serving.drain(self.drain.timeout.saturating_sub(SHUTDOWN_RESERVE)).await;
        if !finished {
            tracing::warn!("drain timeout: closed connections with requests in flight");
        }
        let closing = async {
            self.cache.close().await;
            ending.cancel();
            if let Some(warm_start) = &self.warm_start {
                let _ = timeout(SHUTDOWN_FLUSH_TIMEOUT, warm_start.publish_hot_keys()).await;
            }
            self.l2.close().await;
            tasks.close();
            tasks.wait().await;
            if let Some(metrics) = &self.metrics {
                metrics.stop().await;
            }
        };
        if timeout_at(deadline, closing).await.is_err() {
            tracing::warn!("drain timeout: dropped background tasks that did not end");
        }
        // Last, so that probes receive "not ready" until the end.
        if let Some((_, admin)) = self.admin {
            admin.close(ADMIN_CLOSE_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        tracing::info!("stopped");
        finished
    }
}

// === parts of a start ===

/// Builds the tiers, the coherence between them, and the cache on top.
fn build_cache(config: &Config, redis: Option<RedisConfig>, safeguards: Safeguards) -> CacheParts {
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let partitions = config.coherence.partitions;
    let namespaces = Arc::new(Namespaces::new(namespace_rules(config), partitions));
    let l1: Arc<dyn L1> = Arc::new(MokaL1::new(config.l1.size, eviction(config.l1.eviction, redis.is_some())));
    let coherence = CoherenceConfig {
        partitions,
        max_staleness: config.coherence.max_staleness,
        repair: config.redis.as_ref().is_some_and(|redis| redis.failover == config::Failover::Repair),
        safeguards,
    };
    let coherence = Arc::new(Coherence::new(coherence, l1.clone(), namespaces.clone(), clock.clone()));
    let tiered = tiered_config(config);
    match redis {
        Some(redis) => {
            let l2 = redis::start(redis, partitions, rand::random(), clock.clone(), coherence.clone());
            let cache = Tiered::new(tiered, l1, l2.clone(), coherence.clone(), clock.clone());
            let (repaired, store) = (l2.clone(), l2.clone());
            CacheParts { cache, l2, repaired: Some(repaired), store: Some(store), coherence, namespaces, clock }
        }
        None => {
            let l2 = Arc::new(Local::new(l1.clone(), coherence.clone(), clock.clone()));
            let cache = Tiered::standalone(tiered, l1, l2.clone(), coherence.clone(), clock.clone());
            CacheParts { cache, l2, repaired: None, store: None, coherence, namespaces, clock }
        }
    }
}

/// Builds the parts that read and publish the state of this replica.
fn build_fleet(
    config: &Config,
    core: &CacheParts,
    replica: Replica,
    health: watch::Receiver<Health>,
    consumers: &MetricsConfig,
) -> FleetParts {
    let CacheParts { cache, l2, store, namespaces, clock, .. } = core;
    let policies = Arc::new(PolicySync::new(store.clone(), namespaces.clone(), cache.clone(), clock.clone()));
    let warm_start = store.clone().filter(|_| config.warm_start.enabled).map(|store| {
        let config = warm_start_config(&config.warm_start);
        Arc::new(WarmStart::new(config, cache.clone(), namespaces.clone(), store, clock.clone()))
    });
    let handles = Arc::new(ReplicaHandles {
        replica,
        cache: cache.clone(),
        l2: l2.clone(),
        namespaces: namespaces.clone(),
        admission: Arc::new(Admission::new(admission_limits(&config.server))),
        rpcs: (!consumers.is_off()).then(|| Arc::new(rpc_metrics::table())),
        health,
        shared_store: store.clone(),
        warm_start: warm_start.clone(),
        clock: clock.clone(),
    });
    let metrics = (!consumers.is_off()).then(|| Arc::new(Metrics::start(handles.clone(), consumers)));
    let reports = Arc::new(StatsReporter::new(handles.clone()));
    FleetParts { policies, warm_start, handles, reports, metrics }
}

/// Spawns the tasks that run until the service ends.
fn spawn_background(parts: &ServiceParts, health: watch::Sender<Health>, drained: watch::Receiver<bool>) {
    let ServiceParts { config, core, fleet, lifecycle: Lifecycle { draining, ending, tasks } } = parts;
    let CacheParts { cache, l2, repaired, coherence, namespaces, clock, .. } = core;
    if let Some(repaired) = repaired {
        let repair = FailoverRepair::new(coherence.clone(), repaired.clone(), namespaces.clone(), clock.clone());
        let repairing = ending.clone();
        tasks.spawn(async move { repair.run(repairing).await });
        tasks.spawn(ending.clone().run_until_cancelled_owned(coherence.clone().sweep_memory()));
    }
    let grace = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.connect_timeout);
    let prepared = CancellationToken::new();
    tasks.spawn({
        let (policies, warm_start, prepared) = (fleet.policies.clone(), fleet.warm_start.clone(), prepared.clone());
        ending.clone().run_until_cancelled_owned(prepare(cache.clone(), policies, warm_start, grace, prepared))
    });
    tasks.spawn({
        let (inputs, ending) =
            (HealthInputs { l2: l2.clone(), grace, draining: draining.clone(), prepared, drained }, ending.clone());
        async move {
            follow_health(&health, inputs).await;
            // Keeps the last state until the end: watchers of health would ask again at once.
            ending.cancelled().await;
        }
    });
    if let Some(metrics) = fleet.metrics.clone() {
        let ending = ending.clone();
        tasks.spawn(async move { ending.run_until_cancelled(metrics.run()).await });
    }
    let (reports, ending) = (fleet.reports.clone(), ending.clone());
    tasks.spawn(async move { ending.run_until_cancelled(reports.publish_summaries()).await });
}

/// Starts the admin server and the gRPC server.
fn serve(
    parts: &ServiceParts,
    listeners: Listeners,
    observers: Observers,
    drain: watch::Sender<bool>,
) -> (ServerHandle, Option<(SocketAddr, Admin)>) {
    let ServiceParts { config, core, fleet, .. } = parts;
    let FleetParts { handles, reports, .. } = fleet;
    let Observers { tracing, metrics: consumers, log_level } = observers;
    let admin = listeners.admin.map(|(listener, address)| {
        let query: admin::FleetQuery = Arc::new({
            let reports = reports.clone();
            move || {
                let reports = reports.clone();
                Box::pin(async move { reports.fleet().await })
            }
        });
        let metrics = fleet.metrics.clone().filter(|_| consumers.prometheus);
        let metrics = metrics.map(|metrics| -> admin::MetricsText { Arc::new(move || metrics.prometheus_text()) });
        let sources = admin::AdminSources { observed: handles.clone(), fleet: query, metrics };
        (address, Admin::start(listener, admin_config(&config.admin), sources))
    });
    let keys = match config.log.keys {
        config::LogKeys::Hashed => KeyLogging::Hashed,
        config::LogKeys::Clear => KeyLogging::Clear,
    };
    let api = CacheApi::new(reports.clone(), config.limits.clone(), config.events.clone(), core.clock.clone(), keys);
    let admin_api = config.server.admin.then(|| AdminApi::new(&api, fleet.policies.clone(), drain, log_level));
    let health = HealthApi::new(handles.health.clone(), config.server.admin);
    let page = admin.as_ref().map(|(address, _)| *address);
    let page = page.filter(|address| config.admin.page && !address.ip().is_unspecified());
    let server = server_config(config, page, tracing);
    let (admission, rpcs) = (handles.admission.clone(), handles.rpcs.clone());
    (ServerHandle::start(listeners.grpc, server, api, admin_api, health, admission, rpcs), admin)
}

// === readiness ===

/// Inputs of the health of a replica.
struct HealthInputs {
    l2: Arc<dyn TierStatus>,
    /// Time after which a replica is ready without Redis.
    grace: Duration,
    draining: CancellationToken,
    /// Cancelled when policies and the warm start are loaded.
    prepared: CancellationToken,
    /// The switch of `twintier drain`.
    drained: watch::Receiver<bool>,
}

/// Updates health until the drain: ready once Redis was healthy or `grace` is over; not ready while
/// ending, halted or drained.
async fn follow_health(health: &watch::Sender<Health>, mut inputs: HealthInputs) {
    let started_at = Instant::now();
    let mut settled = false;
    loop {
        let l2_state = inputs.l2.report().state;
        settled |= matches!(l2_state, L2State::Healthy | L2State::Disabled) || started_at.elapsed() >= inputs.grace;
        let ending = inputs.draining.is_cancelled();
        let waiting = !inputs.prepared.is_cancelled();
        let reasons = [
            (ending, NotReady::Ending),
            (inputs.l2.halted().is_some(), NotReady::Halted),
            (*inputs.drained.borrow_and_update(), NotReady::Drained),
            (waiting || !settled, NotReady::Starting),
        ];
        let not_ready = reasons.into_iter().find_map(|(holds, why)| holds.then_some(why));
        let now = Health { not_ready, l2: l2_state };
        health.send_if_modified(|state| std::mem::replace(state, now) != now);
        if ending {
            return;
        }
        tokio::select! {
            () = inputs.draining.cancelled() => {}
            Ok(()) = inputs.drained.changed() => {}
            () = inputs.prepared.cancelled(), if waiting => {}
            () = sleep(HEALTH_POLL_INTERVAL) => {}
        }
    }
}

/// Prepares readiness if Redis is reachable within `grace`: loads the policies changed at run time
/// and the warm start. Then keeps both running until cancelled.
async fn prepare(
    cache: Tiered,
    policies: Arc<PolicySync>,
    warm_start: Option<Arc<WarmStart>>,
    grace: Duration,
    prepared: CancellationToken,
) {
    if timeout(grace, cache.wait_until_proven()).await.is_ok() {
        policies.poll().await;
        if let Some(warm_start) = &warm_start {
            warm_start.load().await;
        }
    }
    prepared.cancel();
    let lists = async {
        if let Some(warm_start) = &warm_start {
            warm_start.publish_hot_keys_regularly().await;
        }
    };
    tokio::join!(policies.follow(), lists);
}

// === listening ===

fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = acceptor::listen(address);
    let listener = listener.map_err(|cause| StartError::Listen { setting, address, cause })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

/// Listens for the admin server. Falls back to any free port unless the address is set explicitly,
/// so that several replicas run on one machine.
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
        tracing::info!(%dashboard, metrics = %format_args!("http://{admin}/metrics"), "admin server listening");
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

// === configuration of the parts ===

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

/// Chooses the eviction policy. Without Redis an entry that memory refuses is a lost Set, so LRU,
/// which takes every new entry.
fn eviction(eviction: config::Eviction, redis: bool) -> Eviction {
    match eviction {
        config::Eviction::Lru => Eviction::Lru,
        config::Eviction::TinyLfu => Eviction::TinyLfu,
        config::Eviction::Auto if redis => Eviction::TinyLfu,
        config::Eviction::Auto => Eviction::Lru,
    }
}

fn admission_limits(server: &config::Server) -> AdmissionLimits {
    AdmissionLimits {
        requests: server.max_in_flight,
        bytes: server.max_bytes_in_flight as usize,
        probes: server.max_uncounted,
        connections: server.max_connections,
        waiting: server.max_waiting,
        peer_share: server.max_share_per_peer,
    }
}

fn tiered_config(config: &Config) -> TieredConfig {
    let timeouts = config.redis.as_ref().map(|redis| (redis.read_timeout, redis.write_timeout));
    let (read_timeout, write_timeout) = timeouts.unwrap_or((Duration::MAX, Duration::MAX));
    let self_audit_every = config.coherence.self_audit.one_in();
    let hot_key_capacity = MIN_TRACKED_HOT_KEYS.max(2 * config.warm_start.keys);
    TieredConfig { switches: config.cache.switches, read_timeout, write_timeout, self_audit_every, hot_key_capacity }
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

fn redis_config(redis: &config::Redis, config: &Config, safeguards: Safeguards) -> Result<RedisConfig, StartError> {
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
        protections: safeguards,
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
