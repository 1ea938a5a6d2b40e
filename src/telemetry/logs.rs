//! Logs: on standard error, for people on a terminal, as JSON elsewhere; and to a collector, if one is asked for. A line that is written inside of
//! a span that is recorded says which.

use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TraceId};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLoggerProvider};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::format::{Format as Line, JsonFields, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, reload};

use super::env::{Otlp, Protocol};
use super::exporter::{ExportQueue, Unusable, Watched, grpc_tls, http_client};
use super::log_rate_limit::LogRateLimit;
use crate::cache::spans::TARGET;

/// What carries logs to a collector may not make any there.
const CARRIERS: [&str; 6] = ["opentelemetry", "hyper", "h2", "tonic", "reqwest", "rustls"];

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The Redis client logs every step of a lost connection; what matters of it is logged here, once a change. Naming it brings its lines back.
/// Spans are no lines.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let fred = if level.contains("fred") { "" } else { ",fred=off" };
    EnvFilter::try_new(format!("{level}{fred},{TARGET}=off"))
}

/// Changes what the log lets through. A filter that is none is refused.
pub type ChangeLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What `level`, a tracing filter, lets through: written on standard error, and sent to a collector if there is a provider. Both within `limit`.
/// And what changes it.
pub fn layer<S>(
    level: &str,
    format: Format,
    provider: Option<&SdkLoggerProvider>,
    limit: LogRateLimit,
) -> Result<(Box<dyn Layer<S> + Send + Sync>, ChangeLevel), Unusable>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let mut layers = vec![on_standard_error(format)];
    layers.extend(provider.map(to_collector).transpose()?);
    let (filtered, handle) = reload::Layer::new(filter(level)?);
    let change: ChangeLevel = Arc::new(move |level| {
        let filter = filter(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    });
    // What the level does not let through does not count.
    Ok((layers.with_filter(filtered.and(limit)).boxed(), change))
}

/// Writes on standard error.
fn on_standard_error<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let terminal = stderr().is_terminal();
    let is_json = format == Format::Json || (format == Format::Auto && !terminal);
    if is_json {
        let line = Line::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let traced = Traced { line, is_json };
        return fmt::layer().fmt_fields(JsonFields::new()).event_format(traced).with_writer(stderr).boxed();
    }
    let ansi = terminal && std::env::var_os("NO_COLOR").is_none();
    let traced = Traced { line: Line::default().with_ansi(ansi), is_json };
    fmt::layer().with_ansi(ansi).event_format(traced).with_writer(stderr).boxed()
}

/// Sends to a collector.
fn to_collector<S>(provider: &SdkLoggerProvider) -> Result<Box<dyn Layer<S> + Send + Sync>, Unusable>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let carriers: String = CARRIERS.iter().map(|carrier| format!(",{carrier}=off")).collect();
    let filter = EnvFilter::try_new(format!("trace{carriers}"))?;
    Ok(OpenTelemetryTracingBridge::new(provider).with_filter(filter).boxed())
}

/// The provider of loggers, which has to be shut down.
pub fn provider(otlp: &Otlp, queue_size: usize, resource: &Resource) -> Result<SdkLoggerProvider, Unusable> {
    let queue = ExportQueue::new("logs", queue_size);
    let exporter = Watched::new(exporter(otlp)?, &queue);
    let batches = BatchLogProcessor::builder(exporter).build();
    let builder = SdkLoggerProvider::builder().with_resource(resource.clone());
    Ok(builder.with_log_processor(Watched::new(batches, &queue)).build())
}

fn exporter(otlp: &Otlp) -> Result<LogExporter, Unusable> {
    match otlp.protocol {
        Protocol::Grpc => {
            let builder = LogExporter::builder().with_tonic().with_tls_config(grpc_tls(otlp)?);
            Ok(builder.with_endpoint(&otlp.endpoint).build()?)
        }
        Protocol::Http => {
            let mut builder = LogExporter::builder().with_http().with_endpoint(&otlp.endpoint);
            if let Some(client) = http_client(otlp)? {
                builder = builder.with_http_client(client);
            }
            Ok(builder.build()?)
        }
    }
}

/// A line that ends with the trace and the span at hand, if there is one.
struct Traced<F> {
    line: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let Some((trace, span)) = at_hand() else { return self.line.format_event(context, to, event) };
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| self.is_json) {
            Some(open) => writeln!(to, "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}"),
            None => writeln!(to, "{line} trace_id={trace} span_id={span}"),
        }
    }
}

fn at_hand() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let is_recorded = context.has_active_span() && span.span_context().is_sampled();
        is_recorded.then(|| (span.span_context().trace_id(), span.span_context().span_id()))
    })
}
