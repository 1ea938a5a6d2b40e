//! Metrics: what the core counts, for Prometheus to scrape and to be sent by OTLP. The core counts by itself and knows nothing of this; all is
//! read when it is asked for.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument as Made, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

use super::histogram_bridge::HistogramBridge;
use super::instrument::{Instrument, InstrumentSource};
use super::instruments::TOPICS;
use super::otlp_exporter::LoggingExporter;
use super::scrape::{MOST_NAMESPACES, Scrape, Tell};
use crate::cache::fleet::replica::ReplicaHandles;
use crate::cache::log_fields::millis;
use crate::telemetry::env::{Environment, Otlp, Signal};
use crate::telemetry::resource::resource;

/// How often durations are handed on.
const HAND_ON_EVERY: Duration = Duration::from_secs(1);
/// Durations that are handed on at once: about a millisecond's work.
const AT_ONCE: u64 = 1 << 16;
/// Longest wait for the last metrics to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Series of one instrument that a namespace has at most.
const SERIES: usize = 5;

/// Who wants metrics.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// They can be scraped.
    pub prometheus: bool,
    /// They are sent, this often.
    otlp: Option<(Otlp, Duration)>,
    /// Whose they are.
    resource: Option<Resource>,
}

/// The metrics of a replica.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    handover: Arc<HistogramBridge>,
}

/// What Prometheus is told of the process, by its own library.
const PROCESS: [(&str, &str, &str); 7] = [
    ("process_cpu_seconds_total", "counter", "CPU time used, in user and kernel mode"),
    ("process_resident_memory_bytes", "gauge", "Memory in use"),
    ("process_virtual_memory_bytes", "gauge", "Address space in use"),
    ("process_open_fds", "gauge", "File descriptors open"),
    ("process_max_fds", "gauge", "Most file descriptors that may be open"),
    ("process_threads", "gauge", "Threads"),
    ("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970"),
];

/// What the reference says of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Described {
    pub topic: &'static str,
    pub name: String,
    /// None: it is not sent by OTLP.
    pub otel_name: Option<&'static str>,
    pub kind: &'static str,
    /// As Prometheus has them.
    pub labels: Vec<String>,
    pub description: &'static str,
}

/// Every metric, in the order of the page.
pub fn reference() -> Vec<Described> {
    let described = |(topic, instrument): (&'static str, &Instrument)| Described {
        topic,
        name: instrument.prometheus_name(),
        otel_name: Some(instrument.name),
        kind: instrument.source.kind(),
        labels: instrument.labels.iter().map(|label| label.replace('.', "_")).collect(),
        description: instrument.description,
    };
    let all = TOPICS.iter().flat_map(|(topic, of)| of.iter().map(move |instrument| (*topic, instrument)));
    let process = PROCESS.map(|(name, kind, description)| Described {
        topic: "The process, on Linux and for Prometheus only",
        name: name.to_owned(),
        otel_name: None,
        kind,
        labels: Vec::new(),
        description,
    });
    all.map(described).chain(process).collect()
}

// === impl Wanted ===

impl MetricsConfig {
    /// As these variables say, which cannot switch scraping off.
    pub fn asked_for(
        variables: impl IntoIterator<Item = (String, String)>,
        prometheus: bool,
        replica: &str,
    ) -> MetricsConfig {
        MetricsConfig::by(&mut Environment::new(variables), prometheus, replica)
    }

    /// As the environment says.
    pub(crate) fn by(environment: &mut Environment, prometheus: bool, replica: &str) -> MetricsConfig {
        let resource = Some(resource(environment, replica));
        if environment.is_disabled() {
            return MetricsConfig { prometheus, otlp: None, resource };
        }
        let otlp = environment.exporters(Signal::Metrics).otlp.map(|otlp| {
            environment.check_what_the_sdk_reads(Signal::Metrics);
            (otlp, environment.metric_interval())
        });
        MetricsConfig { prometheus, otlp, resource }
    }

    /// By nobody: nothing has to be measured that costs anything.
    pub fn is_nobody(&self) -> bool {
        !self.prometheus && self.otlp.is_none()
    }
}

// === impl Metrics ===

impl Metrics {
    /// Metrics of what is observed. To be called inside of a runtime. What cannot be set up is said in the log, and missing.
    pub fn start(observed: Arc<ReplicaHandles>, wanted: &MetricsConfig) -> Metrics {
        let registry = Registry::new();
        let mut provider = SdkMeterProvider::builder().with_view(with_room);
        if let Some(resource) = &wanted.resource {
            provider = provider.with_resource(resource.clone());
        }
        if wanted.prometheus {
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
        if let Some((otlp, interval)) = &wanted.otlp {
            match LoggingExporter::new(otlp) {
                Ok(sender) => {
                    tracing::info!(what = "metrics", address = %otlp.address, interval_ms = millis(*interval), "telemetry is sent");
                    provider = provider.with_reader(PeriodicReader::builder(sender).with_interval(*interval).build());
                }
                Err(error) => tracing::warn!(what = "metrics", %error, "telemetry is not sent"),
            }
        }
        let provider = provider.build();
        let meter = provider.meter("twintier");
        let handover = Arc::new(HistogramBridge::new(observed.clone(), &meter, super::instruments::all()));
        observe(&meter, observed, &handover);
        Metrics { registry, provider, handover }
    }

    /// All of them as they are now, in Prometheus's text format. With a thousand namespaces that is work for tens of milliseconds: not for a worker of
    /// the runtime.
    pub fn prometheus_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be written");
            String::new()
        })
    }

    /// Hands durations on as they come, for ever: so that not all the work is left to whoever collects them.
    pub async fn run(&self) {
        loop {
            sleep(HAND_ON_EVERY).await;
            while self.handover.turn(AT_ONCE) {
                yield_now().await;
            }
        }
    }

    /// Sends them for the last time, and waits a second for that.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        // A failure is said in the log by the sender.
        let _ = timeout(LAST_WORDS, spawn_blocking(move || provider.shutdown())).await;
    }
}

/// The SDK sends what it has when its provider goes, and waits for that: not on the thread of whoever lets this go.
impl Drop for Metrics {
    fn drop(&mut self) {
        let provider = self.provider.clone();
        // Where there is no room for a thread either, the last metrics are not sent.
        let _ = std::thread::Builder::new().spawn(move || provider.shutdown());
    }
}

/// Room for every series of an instrument that tells namespaces apart: the SDK's own limit would fold some into one.
fn with_room(made: &Made) -> Option<Stream> {
    let instrument = super::instruments::all().find(|instrument| instrument.name == made.name())?;
    let limit = (MOST_NAMESPACES + 1) * SERIES;
    instrument.labels.contains(&"namespace").then(|| Stream::builder().with_cardinality_limit(limit).build().ok())?
}

/// Has every instrument but histograms read when it is collected.
fn observe(meter: &Meter, observed: Arc<ReplicaHandles>, handover: &Arc<HistogramBridge>) {
    let latest: Arc<ArcSwapOption<Scrape>> = Arc::default();
    let (reading, handover) = (latest.clone(), handover.clone());
    // Of a collection the SDK asks the instruments in the order in which they were made, and only then looks at histograms.
    let mut first = Some(move || {
        while handover.turn(AT_ONCE) {}
        reading.store(Some(Arc::new(Scrape::take(&observed))));
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
    read: fn(&Scrape, &mut Tell<'_, T>),
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
