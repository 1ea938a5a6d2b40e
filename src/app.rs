//! Composition root: builds the parts of a running service from its configuration, and stops them
//! in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin, AdminConfig, AdminListeners};
use crate::announce::{announce, hint, warn_of_open_access};
use crate::auth::Authority;
use crate::backend::redis::tls as redis_tls;
use crate::cache::admission::limits::Admission;
use crate::cache::coherence::failover_repair::FailoverRepair;
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::fleet::health::Health;
use crate::cache::fleet::policy_sync::PolicySync;
use crate::cache::fleet::readiness::{HealthInputs, follow_health, prepare};
use crate::cache::fleet::replica::{Replica, ReplicaHandles};
use crate::cache::fleet::warm_start::WarmStart;
use crate::cache::log_fields::millis;
use crate::cache::stats::{AccessCounters, SecurityStats};
use crate::cache_parts::{CacheParts, build_cache};
use crate::config::{Config, build_auth};
use crate::grpc::health::HealthApi;
use crate::grpc::{
    AdminApi, CacheApi, GrpcListener, LogLevel, ServerHandle, ServerParts, StatsReporter, Tracing, rpc_metrics,
};
use crate::reload::{Reload, Reloader, ServerTls, namespaces_part, redis_keys_part, start_tls};
use crate::shutdown::{Lifecycle, Stop};
pub use crate::start_error::StartError;
use crate::telemetry::metrics::{Metrics, MetricsConfig};
use crate::tls::warn_of_expiry;

/// Part of `drain.timeout` reserved for the shutdown after the last RPC.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(1);
/// Timeout of publishing the last hot-key list, which a successor loads.
const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);
/// Timeout of the admin server's last responses.
const ADMIN_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A running service.
pub struct App {
    address: Option<SocketAddr>,
    serving: ServerHandle,
    admin: Option<(SocketAddr, Admin)>,
    parts: ServiceParts,
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

/// Sockets that are bound before anything else is started.
struct Listeners {
    grpc: Vec<GrpcListener>,
    admin: Option<AdminListeners>,
    tls: ServerTls,
}

/// Identity and state of a replica, which its reports show.
struct ReplicaState {
    replica: Replica,
    health: watch::Receiver<Health>,
    security: Arc<SecurityStats>,
    access: Arc<AccessCounters>,
}

/// Parts that share the state of a replica with its fleet and report it.
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
    /// The identities and grants in force.
    authority: Arc<Authority>,
}

impl App {
    /// Starts a service without tracing and metrics, for tests. Does not wait for Redis.
    pub async fn start(config: Config) -> Result<App, StartError> {
        App::start_as(Replica::new(), config, Observers::default()).await
    }

    /// Like [`App::start`], with the given safeguards: for tests that switch one off.
    pub async fn start_with(config: Config, safeguards: Safeguards) -> Result<App, StartError> {
        App::start_as(Replica::new(), config.with_safeguards(safeguards), Observers::default()).await
    }

    /// Starts a service as this replica, with these tracing and metrics hooks.
    pub async fn start_as(replica: Replica, config: Config, observers: Observers) -> Result<App, StartError> {
        App::start_reloadable(replica, config, observers, None).await
    }

    /// Like [`App::start_as`], with a configuration that is read again when its files change.
    pub async fn start_reloadable(
        replica: Replica,
        config: Config,
        observers: Observers,
        reload: Option<Reload>,
    ) -> Result<App, StartError> {
        let security = Arc::new(SecurityStats::default());
        let mut reload = reload.map(|reload| reload.reloader(&config, security.clone()));
        let tls = start_tls(&config, &security)?;
        let authority = Arc::new(Authority::new(build_auth(&config)?));
        if let Some((reloader, _)) = &mut reload {
            reloader.add_tls(&tls);
            reloader.add_authority(&authority);
        }
        let redis_tls = config.redis.as_ref().map(redis_tls::client_of).transpose()?.flatten();
        let grpc = config.server.bind().await?;
        let address = grpc.iter().find_map(|grpc| grpc.listener.address());
        let admin = config.admin.as_ref().map(AdminConfig::bind).transpose()?;
        announce(&config, address, admin.as_ref().map(|admin| admin.address), &replica);
        let (health_sender, health) = watch::channel(Health::starting());
        let (drain, drained) = watch::channel(false);
        let core = build_cache(&config, redis_tls);
        if let Some((reloader, _)) = &mut reload {
            reloader.add(namespaces_part(core.namespaces.clone(), config.namespaces.clone()));
            core.protection.iter().for_each(|keys| reloader.add(redis_keys_part(keys.clone())));
        }
        let state = ReplicaState { replica, health, security, access: authority.counters().clone() };
        let fleet = build_fleet(&config, &core, state, &observers.metrics);
        let parts = ServiceParts { config, core, fleet, lifecycle: Lifecycle::default(), authority };
        warn_of_open_access(&parts.config);
        spawn_background(&parts, health_sender, drained);
        spawn_security(&parts.lifecycle, tls.clone(), reload);
        let (serving, admin) = serve(&parts, Listeners { grpc, admin, tls }, observers, drain);
        Ok(App { address, serving, admin, parts })
    }

    /// Returns the identities and grants in force, which [`crate::config::apply_auth`] replaces.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.parts.authority
    }

    /// Returns the TCP address of the gRPC server; `None` if TCP is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the metrics; `None` if nothing consumes them.
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.parts.fleet.metrics.as_ref()
    }

    /// Returns the address of metrics, probes and the dashboard.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// Stops the service within `drain.delay` plus `drain.timeout`, whatever its peers do: reports
    /// that it is not ready, waits for callers to notice, finishes the requests in flight, and
    /// closes Redis. Returns true if every RPC was finished.
    pub async fn stop(self, stop: Stop) -> bool {
        let ServiceParts { config, core, fleet, lifecycle, .. } = self.parts;
        let Lifecycle { draining, ending, tasks } = lifecycle;
        let delay = if stop == Stop::Drain { config.drain.delay } else { Duration::ZERO };
        let drain_timeout = config.drain.timeout;
        let deadline = Instant::now() + delay + drain_timeout;
        tracing::info!(delay_ms = millis(delay), timeout_ms = millis(drain_timeout), "draining");
        draining.cancel();
        sleep(delay).await;
        core.cache.stop_waiting();
        let finished = self.serving.drain(drain_timeout.saturating_sub(SHUTDOWN_RESERVE)).await;
        if !finished {
            tracing::warn!("drain timeout: closed connections with requests in flight");
        }
        let closing = async {
            core.cache.close().await;
            ending.cancel();
            if let Some(warm_start) = &fleet.warm_start {
                let _ = timeout(SHUTDOWN_FLUSH_TIMEOUT, warm_start.publish_hot_keys()).await;
            }
            core.l2.close().await;
            tasks.close();
            tasks.wait().await;
            if let Some(metrics) = &fleet.metrics {
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

/// Builds the parts that read and publish the state of this replica.
fn build_fleet(config: &Config, core: &CacheParts, state: ReplicaState, consumers: &MetricsConfig) -> FleetParts {
    let ReplicaState { replica, health, security, access } = state;
    let CacheParts { cache, l2, store, namespaces, clock, .. } = core;
    let policies = Arc::new(PolicySync::new(store.clone(), namespaces.clone(), cache.clone(), clock.clone()));
    let warm_start = store.clone().zip(config.warm_start.clone()).map(|(store, config)| {
        Arc::new(WarmStart::new(config, cache.clone(), namespaces.clone(), store, clock.clone()))
    });
    let handles = Arc::new(ReplicaHandles {
        replica,
        cache: cache.clone(),
        l2: l2.clone(),
        namespaces: namespaces.clone(),
        admission: Arc::new(Admission::new(config.admission)),
        rpcs: (!consumers.is_off()).then(|| Arc::new(rpc_metrics::table())),
        health,
        shared_store: store.clone(),
        warm_start: warm_start.clone(),
        security,
        access,
        clock: clock.clone(),
    });
    let metrics = (!consumers.is_off()).then(|| Arc::new(Metrics::start(handles.clone(), consumers)));
    let reports = Arc::new(StatsReporter::new(handles.clone()));
    FleetParts { policies, warm_start, handles, reports, metrics }
}

/// Spawns the tasks that run until the service ends.
fn spawn_background(parts: &ServiceParts, health: watch::Sender<Health>, drained: watch::Receiver<bool>) {
    let ServiceParts { config, core, fleet, lifecycle, authority } = parts;
    let CacheParts { cache, l2, repaired, coherence, namespaces, clock, .. } = core;
    let (draining, ending) = (lifecycle.draining.clone(), lifecycle.ending.clone());
    if let Some(repaired) = repaired {
        let repair = FailoverRepair::new(coherence.clone(), repaired.clone(), namespaces.clone(), clock.clone());
        let ending = ending.clone();
        lifecycle.tasks.spawn(async move { repair.run(ending).await });
        lifecycle.spawn(coherence.clone().sweep_memory());
    }
    let grace = config.redis.as_ref().map_or(Duration::ZERO, |redis| 2 * redis.connect_timeout);
    let prepared = CancellationToken::new();
    let (policies, warm_start) = (fleet.policies.clone(), fleet.warm_start.clone());
    lifecycle.spawn(prepare(cache.clone(), policies, warm_start, grace, prepared.clone()));
    let inputs = HealthInputs { l2: l2.clone(), grace, draining, prepared, drained };
    lifecycle.tasks.spawn(async move {
        follow_health(&health, inputs).await;
        // Keeps the last state until the end: watchers of health would ask again at once.
        ending.cancelled().await;
    });
    if let Some(metrics) = fleet.metrics.clone() {
        lifecycle.spawn(async move { metrics.run().await });
    }
    let authority = authority.clone();
    lifecycle.spawn(async move { authority.audit().run().await });
    let reports = fleet.reports.clone();
    lifecycle.spawn(async move { reports.publish_summaries().await });
}

/// Spawns the warnings of certificates that end, and the reload of the configuration.
fn spawn_security(lifecycle: &Lifecycle, tls: ServerTls, reload: Option<(Reloader, Signal)>) {
    if let Some(tls) = tls {
        lifecycle.spawn(warn_of_expiry(tls));
    }
    if let Some((reloader, hangups)) = reload {
        lifecycle.spawn(reloader.run(hangups));
    }
}

/// Starts the admin server and the gRPC server.
fn serve(
    parts: &ServiceParts,
    listeners: Listeners,
    observers: Observers,
    drain: watch::Sender<bool>,
) -> (ServerHandle, Option<(SocketAddr, Admin)>) {
    let ServiceParts { config, core, fleet, authority, .. } = parts;
    let FleetParts { handles, reports, policies, .. } = fleet;
    let Observers { tracing, metrics: consumers, log_level } = observers;
    let admin_tls = listeners.tls.clone().filter(|_| config.tls.as_ref().is_some_and(|tls| tls.admin));
    let admin = listeners.admin.zip(config.admin.clone()).map(|(listeners, config)| {
        let metrics = fleet.metrics.clone().filter(|_| consumers.prometheus);
        let metrics = metrics.map(|metrics| -> admin::MetricsText { Arc::new(move || metrics.prometheus_text()) });
        let sources = admin::AdminSources {
            observed: handles.clone(),
            fleet: fleet_query(reports.clone()),
            metrics,
            authority: authority.clone(),
        };
        (listeners.address, Admin::start(listeners, admin_tls, config, sources))
    });
    let server = &config.server;
    let (limits, events, clock) = (config.limits.clone(), config.events.clone(), core.clock.clone());
    let cache = CacheApi::new(reports.clone(), limits, events, clock, server.logged_keys);
    let parts = ServerParts {
        admin: server.admin.then(|| AdminApi::new(&cache, policies.clone(), drain, log_level, authority.clone())),
        cache,
        health: HealthApi::new(handles.health.clone(), server.admin),
        admission: handles.admission.clone(),
        timings: handles.rpcs.clone(),
        tracing,
        hint: Arc::new(hint(config, admin.as_ref().map(|(address, _)| *address))),
        authority: authority.clone(),
    };
    (ServerHandle::start(listeners.grpc, listeners.tls, server.clone(), parts), admin)
}

/// Returns the query of the admin server for the replicas of the fleet.
fn fleet_query(reports: Arc<StatsReporter>) -> admin::FleetQuery {
    Arc::new(move || {
        let reports = reports.clone();
        Box::pin(async move { reports.fleet().await })
    })
}
