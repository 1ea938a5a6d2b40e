//! What people see of a running service from outside its RPCs: logs and traces. OpenTelemetry's variables say where they go; nothing leaves the
//! process unless one of them asks for it.

mod export;
pub mod logs;
mod otel;
mod traces;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use export::Unusable;
use logs::Format;
use otel::{Environment, Exporters, Otlp, Signal};
use traces::{Decision, RpcTracing};

/// What is sent as long as the service runs.
#[derive(Default)]
pub struct Telemetry {
    rpcs: Option<RpcTracing>,
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Begins to log what `level`, a tracing filter, lets through, and to send what `variables` ask for. Once per process, inside of a runtime.
pub fn start(
    level: &str,
    format: Format,
    replica: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Telemetry, Unusable> {
    let mut environment = Environment::new(variables);
    let (mut telemetry, mut says) = (Telemetry::default(), Vec::new());
    let (mut spans, mut records) = (None, None);
    if !environment.is_disabled() {
        let resource = resource(&environment, replica);
        let (to_traces, to_logs) = (environment.exporters(Signal::Traces), environment.exporters(Signal::Logs));
        if to_traces != Exporters::default() {
            environment.check_what_the_sdk_reads();
            let decision = Decision { sampling: environment.sampling(), joins: environment.joins_traces() };
            let provider = traces::provider(&to_traces, room(&environment, "OTEL_BSP_MAX_QUEUE_SIZE"), &resource);
            telemetry.traces = usable(provider, "traces", to_traces.otlp.as_ref(), &mut says);
            spans = telemetry.traces.as_ref().map(|provider| traces::layer(provider, decision));
            telemetry.rpcs = telemetry.traces.as_ref().map(|_| decision.of_rpcs());
        }
        if let Some(otlp) = &to_logs.otlp {
            environment.check_what_the_sdk_reads();
            let provider = logs::provider(otlp, room(&environment, "OTEL_BLRP_MAX_QUEUE_SIZE"), &resource);
            telemetry.logs = usable(provider, "logs", Some(otlp), &mut says);
            records = telemetry.logs.as_ref().map(|provider| logs::to_collector(level, provider)).transpose()?;
        }
    }
    let lines = logs::on_standard_error(level, format)?;
    tracing_subscriber::registry().with(lines).with(spans.map(|spans| spans.boxed())).with(records).try_init()?;
    environment.into_warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    says.iter().for_each(Said::say);
    Ok(telemetry)
}

/// Something to be said once there is a log.
enum Said {
    Sends { what: &'static str, address: String },
    Cannot { what: &'static str, error: Unusable },
}

impl Said {
    fn say(&self) {
        match self {
            Said::Sends { what, address } => tracing::info!(%address, "{what} are sent"),
            Said::Cannot { what, error } => tracing::warn!(%error, "{what} are not sent"),
        }
    }
}

/// What can be used of it. A service goes on without the rest.
fn usable<T>(made: Result<T, Unusable>, what: &'static str, otlp: Option<&Otlp>, says: &mut Vec<Said>) -> Option<T> {
    match made {
        Ok(made) => {
            let address = otlp.map_or_else(|| "standard output".to_owned(), |otlp| otlp.address.clone());
            says.push(Said::Sends { what, address });
            Some(made)
        }
        Err(error) => {
            says.push(Said::Cannot { what, error });
            None
        }
    }
}

/// How many the SDK lets wait.
fn room(environment: &Environment, name: &str) -> usize {
    environment.get(name).and_then(|size| size.parse().ok()).unwrap_or(2048)
}

/// Who sends: what the variables say goes before what is known here.
fn resource(environment: &Environment, replica: &str) -> Resource {
    let known = [
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", replica.to_owned()),
    ];
    let builder = Resource::builder_empty().with_attributes(known);
    let builder =
        builder.with_detector(Box::new(TelemetryResourceDetector)).with_detector(Box::new(EnvResourceDetector::new()));
    match environment.get("OTEL_SERVICE_NAME") {
        Some(name) => builder.with_service_name(name.to_owned()).build(),
        None => builder.build(),
    }
}

// === impl Telemetry ===

impl Telemetry {
    /// How RPCs are traced; none: they are not.
    pub fn rpcs(&self) -> Option<RpcTracing> {
        self.rpcs.clone()
    }

    /// Sends what waits, for at most `patience`, and nothing after it.
    pub async fn stop(self, patience: Duration) {
        let Telemetry { traces, logs, .. } = self;
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
