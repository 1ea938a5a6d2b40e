//! `Telemetry`: starts the log and the exporters of traces and logs, and flushes them at the end.

use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::spawn_blocking;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::env::{Environment, Warning};
use super::exporter::ExporterError;
use super::log_rate_limit::LogRateLimit;
use super::logs::{ChangeLevel, LogConfig};
use super::metrics::MetricsConfig;
use super::resource::resource;
use super::signal::{Exporters, Sampling, Signal};
use super::traces::{Decision, RpcTracing};

/// The running log and exporters of a process.
pub struct Telemetry {
    metrics: MetricsConfig,
    rpcs: Option<RpcTracing>,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    limit: LogRateLimit,
    change_level: ChangeLevel,
    /// Task that logs the counts of suppressed lines.
    _count_task: AbortOnDropHandle<()>,
}

/// Starts the log, and the exporters that `variables` select.
///
/// `prometheus` switches on metrics for scraping. Must be called once per process, inside a
/// runtime.
pub fn start(
    log: &LogConfig,
    replica: &str,
    prometheus: bool,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Telemetry, ExporterError> {
    let (mut environment, mut notices) = (Environment::new(variables), Vec::new());
    let (mut traces, mut logs) = (None, None);
    if !environment.is_disabled() {
        let resource = resource(&environment, replica);
        traces = start_traces(&mut environment, &resource, &mut notices);
        logs = start_logs(&mut environment, &resource, &mut notices);
    }
    let metrics = MetricsConfig::from_environment(&mut environment, prometheus, replica);
    // A list of layers and no `Option<Layer>`: a `None` layer would disable the caching of
    // callsites, and filters keep state per callsite.
    let limit = LogRateLimit::new();
    let (log_layer, change_level) = super::logs::layer(log, logs.as_ref(), limit.clone())?;
    let mut layers = vec![log_layer];
    layers.extend(traces.as_ref().map(|(provider, decision)| super::traces::layer(provider, *decision).boxed()));
    tracing_subscriber::registry().with(layers).try_init()?;
    for Warning { variable, value, problem, fallback } in environment.into_warnings() {
        tracing::warn!(%variable, %value, problem, taken = %fallback, "a variable of OpenTelemetry cannot be used");
    }
    notices.iter().for_each(StartupNotice::log);
    let rpcs = traces.as_ref().map(|(_, decision)| decision.rpc_tracing());
    let count_task = AbortOnDropHandle::new(tokio::spawn(limit.clone().run()));
    let traces = traces.map(|(provider, _)| provider);
    Ok(Telemetry { metrics, rpcs, traces, logs, limit, change_level, _count_task: count_task })
}

fn start_traces(
    environment: &mut Environment,
    resource: &Resource,
    notices: &mut Vec<StartupNotice>,
) -> Option<(SdkTracerProvider, Decision)> {
    let exporters = environment.exporters(Signal::Traces);
    if exporters == Exporters::default() {
        return None;
    }
    environment.check_sdk_variables(Signal::Traces);
    let decision = Decision { sampling: environment.sampling(), joins: environment.joins_traces() };
    let provider = super::traces::provider(&exporters, queue_size(environment, "OTEL_BSP_MAX_QUEUE_SIZE"), resource);
    let address = exporters.otlp.map_or_else(|| "standard output".to_owned(), |otlp| otlp.address);
    let started = StartupNotice::Started { signal: "traces", address, sampler: Some(decision.sampling) };
    Some((provider_or_notice(provider, started, notices)?, decision))
}

fn start_logs(
    environment: &mut Environment,
    resource: &Resource,
    notices: &mut Vec<StartupNotice>,
) -> Option<SdkLoggerProvider> {
    let otlp = environment.exporters(Signal::Logs).otlp?;
    environment.check_sdk_variables(Signal::Logs);
    let provider = super::logs::provider(&otlp, queue_size(environment, "OTEL_BLRP_MAX_QUEUE_SIZE"), resource);
    let started = StartupNotice::Started { signal: "logs", address: otlp.address, sampler: None };
    provider_or_notice(provider, started, notices)
}

/// A log line that is kept until the log exists.
enum StartupNotice {
    Started { signal: &'static str, address: String, sampler: Option<Sampling> },
    Failed { signal: &'static str, error: ExporterError },
}

impl StartupNotice {
    fn signal(&self) -> &'static str {
        match self {
            StartupNotice::Started { signal, .. } | StartupNotice::Failed { signal, .. } => signal,
        }
    }

    fn log(&self) {
        match self {
            StartupNotice::Started { signal, address, sampler } => {
                let sampler = sampler.map(tracing::field::display);
                tracing::info!(what = signal, %address, sampler, "telemetry is sent");
            }
            StartupNotice::Failed { signal, error } => {
                tracing::warn!(what = signal, %error, "telemetry is not sent");
            }
        }
    }
}

/// Returns the provider, or records why there is none. The service runs without it.
fn provider_or_notice<T>(
    provider: Result<T, ExporterError>,
    started: StartupNotice,
    notices: &mut Vec<StartupNotice>,
) -> Option<T> {
    match provider {
        Ok(provider) => {
            notices.push(started);
            Some(provider)
        }
        Err(error) => {
            notices.push(StartupNotice::Failed { signal: started.signal(), error });
            None
        }
    }
}

/// Number of items that the SDK queues for export.
fn queue_size(environment: &Environment, name: &str) -> usize {
    environment.get(name).and_then(|size| size.parse().ok()).unwrap_or(2048)
}

// === impl Telemetry ===

impl Telemetry {
    /// The configuration of metrics.
    pub fn metrics(&self) -> MetricsConfig {
        self.metrics.clone()
    }

    /// Tracing of RPCs. `None` if traces are off.
    pub fn rpcs(&self) -> Option<RpcTracing> {
        self.rpcs.clone()
    }

    /// Handle that changes the log level.
    pub fn change_level(&self) -> ChangeLevel {
        self.change_level.clone()
    }

    /// Flushes queued telemetry for at most `timeout`, then stops the exporters.
    pub async fn stop(self, timeout: Duration) {
        let Telemetry { traces, logs, limit, .. } = self;
        limit.log_counts();
        let traces = shut_down(traces.map(|traces| move || traces.shutdown_with_timeout(timeout)));
        let logs = shut_down(logs.map(|logs| move || logs.shutdown_with_timeout(timeout)));
        let _ = time::timeout(timeout, async { tokio::join!(traces, logs) }).await;
    }
}

async fn shut_down(shutdown: Option<impl FnOnce() -> OTelSdkResult + Send + 'static>) {
    if let Some(shutdown) = shutdown {
        let _ = spawn_blocking(shutdown).await;
    }
}
