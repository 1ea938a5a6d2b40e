//! What people see of a running service from outside its RPCs: logs, traces and metrics. OpenTelemetry's variables say where they go; nothing leaves the
//! process unless one of them asks for it.

use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::env::{Environment, Exporters, Sampling, Signal, Warning};
use super::exporter::Unusable;
use super::log_rate_limit::LogRateLimit;
use super::logs::{ChangeLevel, Format};
use super::metrics::MetricsConfig;
use super::resource::resource;
use super::traces::{Decision, RpcTracing};

/// What is sent as long as the service runs.
pub struct Telemetry {
    metrics: MetricsConfig,
    rpcs: Option<RpcTracing>,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    limit: LogRateLimit,
    change_level: ChangeLevel,
    /// Logs the counts of lines that were left out.
    _counting: AbortOnDropHandle<()>,
}

/// Begins to log what `level`, a tracing filter, lets through, and to send what `variables` ask for. Metrics can be scraped when `prometheus` says so. Once per process, inside of a runtime.
pub fn start(
    level: &str,
    format: Format,
    replica: &str,
    prometheus: bool,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Telemetry, Unusable> {
    let (mut environment, mut said) = (Environment::new(variables), Vec::new());
    let (mut traces, mut logs) = (None, None);
    if !environment.is_disabled() {
        let resource = resource(&environment, replica);
        traces = begin_traces(&mut environment, &resource, &mut said);
        logs = begin_logs(&mut environment, &resource, &mut said);
    }
    let metrics = MetricsConfig::by(&mut environment, prometheus, replica);
    // Not an optional layer each: one that is none would have every callsite looked at every time, and filters remember what they saw.
    let limit = LogRateLimit::new();
    let (log, change_level) = super::logs::layer(level, format, logs.as_ref(), limit.clone())?;
    let mut layers = vec![log];
    layers.extend(traces.as_ref().map(|(provider, decision)| super::traces::layer(provider, *decision).boxed()));
    tracing_subscriber::registry().with(layers).try_init()?;
    for Warning { variable, value, problem, taken } in environment.into_warnings() {
        tracing::warn!(%variable, %value, problem, %taken, "a variable of OpenTelemetry cannot be used");
    }
    said.iter().for_each(StartupNotice::say);
    let rpcs = traces.as_ref().map(|(_, decision)| decision.of_rpcs());
    let counting = AbortOnDropHandle::new(tokio::spawn(limit.clone().count()));
    let traces = traces.map(|(provider, _)| provider);
    Ok(Telemetry { metrics, rpcs, traces, logs, limit, change_level, _counting: counting })
}

fn begin_traces(
    environment: &mut Environment,
    resource: &Resource,
    said: &mut Vec<StartupNotice>,
) -> Option<(SdkTracerProvider, Decision)> {
    let exporters = environment.exporters(Signal::Traces);
    if exporters == Exporters::default() {
        return None;
    }
    environment.check_what_the_sdk_reads(Signal::Traces);
    let decision = Decision { sampling: environment.sampling(), joins: environment.joins_traces() };
    let provider = super::traces::provider(&exporters, room(environment, "OTEL_BSP_MAX_QUEUE_SIZE"), resource);
    let address = exporters.otlp.map_or_else(|| "standard output".to_owned(), |otlp| otlp.address);
    let sends = StartupNotice::Sends { what: "traces", address, sampler: Some(decision.sampling) };
    Some((usable(provider, sends, said)?, decision))
}

fn begin_logs(
    environment: &mut Environment,
    resource: &Resource,
    said: &mut Vec<StartupNotice>,
) -> Option<SdkLoggerProvider> {
    let otlp = environment.exporters(Signal::Logs).otlp?;
    environment.check_what_the_sdk_reads(Signal::Logs);
    let provider = super::logs::provider(&otlp, room(environment, "OTEL_BLRP_MAX_QUEUE_SIZE"), resource);
    usable(provider, StartupNotice::Sends { what: "logs", address: otlp.address, sampler: None }, said)
}

/// Something to be said once there is a log.
enum StartupNotice {
    Sends { what: &'static str, address: String, sampler: Option<Sampling> },
    Cannot { what: &'static str, error: Unusable },
}

impl StartupNotice {
    fn what(&self) -> &'static str {
        match self {
            StartupNotice::Sends { what, .. } | StartupNotice::Cannot { what, .. } => what,
        }
    }

    fn say(&self) {
        match self {
            StartupNotice::Sends { what, address, sampler } => {
                let sampler = sampler.map(tracing::field::display);
                tracing::info!(what, %address, sampler, "telemetry is sent");
            }
            StartupNotice::Cannot { what, error } => tracing::warn!(what, %error, "telemetry is not sent"),
        }
    }
}

/// What can be used of it. A service goes on without the rest.
fn usable<T>(made: Result<T, Unusable>, sends: StartupNotice, said: &mut Vec<StartupNotice>) -> Option<T> {
    match made {
        Ok(made) => {
            said.push(sends);
            Some(made)
        }
        Err(error) => {
            said.push(StartupNotice::Cannot { what: sends.what(), error });
            None
        }
    }
}

/// How many the SDK lets wait.
fn room(environment: &Environment, name: &str) -> usize {
    environment.get(name).and_then(|size| size.parse().ok()).unwrap_or(2048)
}


// === impl Telemetry ===

impl Telemetry {
    /// Who wants metrics.
    pub fn metrics(&self) -> MetricsConfig {
        self.metrics.clone()
    }

    /// How RPCs are traced; none: they are not.
    pub fn rpcs(&self) -> Option<RpcTracing> {
        self.rpcs.clone()
    }

    /// Changes what is logged.
    pub fn change_level(&self) -> ChangeLevel {
        self.change_level.clone()
    }

    /// Sends what waits, for at most `patience`, and nothing after it.
    pub async fn stop(self, patience: Duration) {
        let Telemetry { traces, logs, limit, .. } = self;
        limit.log_counts();
        let traces = ended(traces.map(|traces| move || traces.shutdown_with_timeout(patience)));
        let logs = ended(logs.map(|logs| move || logs.shutdown_with_timeout(patience)));
        let _ = timeout(patience, async { tokio::join!(traces, logs) }).await;
    }
}

async fn ended(shutdown: Option<impl FnOnce() -> OTelSdkResult + Send + 'static>) {
    if let Some(shutdown) = shutdown {
        let _ = spawn_blocking(shutdown).await;
    }
}
