//! `Metrics`: registers all instruments, serves them to Prometheus, and sends them by OTLP.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument as SdkInstrument, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use super::histogram_bridge::HistogramBridge;
use super::instrument::{Instrument, InstrumentSource};
use super::instruments::TOPICS;
use super::otlp_exporter::LoggingExporter;
use super::scrape::{Emit, MAX_NAMESPACES, Scrape};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::log_fields::millis;
use crate::telemetry::env::Environment;
use crate::telemetry::resource::resource;
use crate::telemetry::signal::{Otlp, Signal};

/// Interval at which durations are transferred to the SDK's histograms.
const TRANSFER_INTERVAL: Duration = Duration::from_secs(1);
/// Durations transferred without a pause: about a millisecond of work.
const TRANSFER_BATCH: u64 = 1 << 16;
/// Longest wait for the last export.
const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Most series that one instrument has for a namespace.
const MAX_SERIES_PER_NAMESPACE: usize = 5;

/// Consumers of metrics: Prometheus, a collector, or none.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// True if metrics can be scraped.
    pub prometheus: bool,
    /// The collector, and the interval between two exports.
    otlp: Option<(Otlp, Duration)>,
    /// Attributes of this replica.
    resource: Option<Resource>,
}

/// The metrics of a replica.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    bridge: Arc<HistogramBridge>,
}

/// Metrics of the process, which Prometheus' library collects.
const PROCESS_METRICS: [(&str, &str, &str); 7] = [
    ("process_cpu_seconds_total", "counter", "CPU time used, in user and kernel mode"),
    ("process_resident_memory_bytes", "gauge", "Memory in use"),
    ("process_virtual_memory_bytes", "gauge", "Address space in use"),
    ("process_open_fds", "gauge", "File descriptors open"),
    ("process_max_fds", "gauge", "Most file descriptors that may be open"),
    ("process_threads", "gauge", "Threads"),
    ("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970"),
];

/// One metric of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MetricDescription {
    pub topic: &'static str,
    pub name: String,
    /// `None` if it is not sent by OTLP.
    pub otel_name: Option<&'static str>,
    pub kind: &'static str,
    /// Names of labels in Prometheus.
    pub labels: Vec<String>,
    pub description: &'static str,
}

/// All metrics, in the order of docs/metrics.md.
pub fn reference() -> Vec<MetricDescription> {
    let described = |(topic, instrument): (&'static str, &Instrument)| MetricDescription {
        topic,
        name: instrument.prometheus_name(),
        otel_name: Some(instrument.name),
        kind: instrument.source.kind(),
        labels: instrument.labels.iter().map(|label| label.replace('.', "_")).collect(),
        description: instrument.description,
    };
    let all = TOPICS.iter().flat_map(|(topic, of)| of.iter().map(move |instrument| (*topic, instrument)));
    let process = PROCESS_METRICS.map(|(name, kind, description)| MetricDescription {
        topic: "Process (Linux and Prometheus only)",
        name: name.to_owned(),
        otel_name: None,
        kind,
        labels: Vec::new(),
        description,
    });
    all.map(described).chain(process).collect()
}

// === impl MetricsConfig ===

impl MetricsConfig {
    /// Parses OTEL_* variables. They cannot switch scraping off.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
        prometheus: bool,
        replica: &str,
    ) -> MetricsConfig {
        MetricsConfig::from_environment(&mut Environment::new(variables), prometheus, replica)
    }

    /// Reads the parsed OTEL_* variables.
    pub(crate) fn from_environment(environment: &mut Environment, prometheus: bool, replica: &str) -> MetricsConfig {
        let resource = Some(resource(environment, replica));
        if environment.is_disabled() {
            return MetricsConfig { prometheus, otlp: None, resource };
        }
        let otlp = environment.exporters(Signal::Metrics).otlp.map(|otlp| {
            environment.check_sdk_variables(Signal::Metrics);
            (otlp, environment.metric_interval())
        });
        MetricsConfig { prometheus, otlp, resource }
    }

    /// True if there is no consumer: skip measurements that cost anything.
    pub fn is_off(&self) -> bool {
        !self.prometheus && self.otlp.is_none()
    }
}

// === impl Metrics ===

impl Metrics {
    /// Starts the metrics of `replica`. Must be called inside a runtime.
    ///
    /// A reader or exporter that cannot be created is logged and left out.
    pub fn start(replica: Arc<ReplicaHandles>, config: &MetricsConfig) -> Metrics {
        let registry = Registry::new();
        let mut provider = SdkMeterProvider::builder().with_view(namespace_cardinality);
        if let Some(resource) = &config.resource {
            provider = provider.with_resource(resource.clone());
        }
        if config.prometheus {
            let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
            match exporter.scope_info_enabled(false).build() {
                Ok(exporter) => provider = provider.with_reader(exporter),
                Err(error) => tracing::error!(%error, "metrics cannot be scraped"),
            }
            #[cfg(target_os = "linux")]
            if let Err(error) = registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            {
                tracing::error!(%error, "there are no metrics of the process");
            }
        }
        if let Some((otlp, interval)) = &config.otlp {
            match LoggingExporter::new(otlp) {
                Ok(exporter) => {
                    tracing::info!(what = "metrics", address = %otlp.address, interval_ms = millis(*interval), "telemetry is sent");
                    provider = provider.with_reader(PeriodicReader::builder(exporter).with_interval(*interval).build());
                }
                Err(error) => tracing::warn!(what = "metrics", %error, "telemetry is not sent"),
            }
        }
        let provider = provider.build();
        let meter = provider.meter("twintier");
        let bridge = Arc::new(HistogramBridge::new(replica.clone(), &meter, super::instruments::all()));
        register_instruments(&meter, replica, &bridge);
        Metrics { registry, provider, bridge }
    }

    /// Collects all metrics, in Prometheus' text format.
    ///
    /// Takes tens of milliseconds with a thousand namespaces: do not call it on a worker of the
    /// runtime.
    pub fn prometheus_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be written");
            String::new()
        })
    }

    /// Transfers durations continuously, so that a collection does not have to do all the work.
    /// Runs until dropped.
    pub async fn run(&self) {
        loop {
            sleep(TRANSFER_INTERVAL).await;
            while self.bridge.transfer(TRANSFER_BATCH) {
                yield_now().await;
            }
        }
    }

    /// Sends metrics for the last time, and waits at most a second for that.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        // The exporter logs a failure.
        let _ = timeout(SHUTDOWN_FLUSH_TIMEOUT, spawn_blocking(move || provider.shutdown())).await;
    }
}

/// Shuts the provider down on its own thread: the SDK blocks until the last metrics are sent.
impl Drop for Metrics {
    fn drop(&mut self) {
        let provider = self.provider.clone();
        // If no thread can be started, the last metrics are not sent.
        let _ = std::thread::Builder::new().spawn(move || provider.shutdown());
    }
}

/// Raises the cardinality limit of instruments with a namespace label: the SDK's default would fold
/// some series into one.
fn namespace_cardinality(sdk_instrument: &SdkInstrument) -> Option<Stream> {
    let instrument = super::instruments::all().find(|instrument| instrument.name == sdk_instrument.name())?;
    let limit = (MAX_NAMESPACES + 1) * MAX_SERIES_PER_NAMESPACE;
    instrument.labels.contains(&"namespace").then(|| Stream::builder().with_cardinality_limit(limit).build().ok())?
}

/// Registers a callback for every instrument except histograms.
fn register_instruments(meter: &Meter, replica: Arc<ReplicaHandles>, bridge: &Arc<HistogramBridge>) {
    let latest: Arc<ArcSwapOption<Scrape>> = Arc::default();
    let (scrape, bridge) = (latest.clone(), bridge.clone());
    // In a collection the SDK calls the instruments in the order of their creation, and reads
    // histograms after them.
    let mut first = Some(move || {
        while bridge.transfer(TRANSFER_BATCH) {}
        scrape.store(Some(Arc::new(Scrape::take(&replica))));
    });
    for instrument in super::instruments::all() {
        let (name, unit, description) = (instrument.name, instrument.unit, instrument.description);
        match instrument.source {
            InstrumentSource::Counter(read) => {
                let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
                _ = counter.with_callback(callback(instrument, read, latest.clone(), first.take())).build();
            }
            InstrumentSource::Count(read) => {
                let gauge = meter.u64_observable_gauge(name).with_unit(unit).with_description(description);
                _ = gauge.with_callback(callback(instrument, read, latest.clone(), first.take())).build();
            }
            InstrumentSource::Measure(read) => {
                let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(description);
                _ = gauge.with_callback(callback(instrument, read, latest.clone(), first.take())).build();
            }
            InstrumentSource::Histogram(..) => {}
        }
    }
}

fn callback<T>(
    instrument: &'static Instrument,
    read: fn(&Scrape, &mut Emit<'_, T>),
    latest: Arc<ArcSwapOption<Scrape>>,
    before: Option<impl Fn()>,
) -> impl Fn(&dyn AsyncInstrument<T>) {
    move |observer| {
        before.iter().for_each(|before| before());
        if let Some(at) = &*latest.load() {
            read(at, &mut |labels, value| observer.observe(value, &instrument.attributes(labels)));
        }
    }
}
