//! Logs: to standard error, as text on a terminal and JSON elsewhere, and to a collector if set.
//!
//! A line that is written inside a recorded span carries the ids of its trace and span.

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

use super::exporter::{ExportQueue, ExporterError, Tracked, grpc_tls, http_client};
use super::log_rate_limit::LogRateLimit;
use super::signal::{Otlp, Protocol};
use crate::cache::log_fields::AUDIT;
use crate::cache::spans::TARGET;

/// Crates that carry logs to a collector. Their own lines are not sent: each would cause more.
const TRANSPORT_CRATES: [&str; 6] = ["opentelemetry", "hyper", "h2", "tonic", "reqwest", "rustls"];

/// Configuration of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or `target=level` directives separated by commas.
    pub level: String,
    /// Format of log lines.
    pub format: Format,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Human,
    /// One JSON object per line.
    Json,
}

/// Parses a tracing filter, and switches off spans and the Redis client's log.
///
/// The client logs every step of a lost connection; twintier logs each change of state once. A
/// level that names `fred` brings its lines back.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let fred = if level.contains("fred") { "" } else { ",fred=off" };
    // The setting audit.log decides what the audit log has.
    let audit = if level == "off" || level.contains(AUDIT) { String::new() } else { format!(",{AUDIT}=info") };
    EnvFilter::try_new(format!("{level}{audit}{fred},{TARGET}=off"))
}

/// Changes the tracing filter of the log. Returns an error if the filter is invalid.
pub type ChangeLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The layer of logs, and the handle that changes its level.
///
/// Writes to standard error what the tracing filter lets through, and sends it to a
/// collector if there is a provider. `limit` applies to both.
pub fn layer<S>(
    config: &LogConfig,
    provider: Option<&SdkLoggerProvider>,
    limit: LogRateLimit,
) -> Result<(Box<dyn Layer<S> + Send + Sync>, ChangeLevel), ExporterError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let mut layers = vec![stderr_layer(config.format)];
    layers.extend(provider.map(collector_layer).transpose()?);
    let (filtered, handle) = reload::Layer::new(filter(&config.level)?);
    let change: ChangeLevel = Arc::new(move |level| {
        let filter = filter(level).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    });
    // The level first: lines below it do not count towards the limit.
    Ok((layers.with_filter(filtered.and(limit)).boxed(), change))
}

/// The layer that writes to standard error.
fn stderr_layer<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let terminal = stderr().is_terminal();
    let is_json = format == Format::Json || (format == Format::Auto && !terminal);
    if is_json {
        let line = Line::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let traced = WithTraceIds { line, is_json };
        return fmt::layer().fmt_fields(JsonFields::new()).event_format(traced).with_writer(stderr).boxed();
    }
    let ansi = terminal && std::env::var_os("NO_COLOR").is_none();
    let traced = WithTraceIds { line: Line::default().with_ansi(ansi), is_json };
    fmt::layer().with_ansi(ansi).event_format(traced).with_writer(stderr).boxed()
}

/// The layer that sends to a collector.
fn collector_layer<S>(provider: &SdkLoggerProvider) -> Result<Box<dyn Layer<S> + Send + Sync>, ExporterError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let off: String = TRANSPORT_CRATES.iter().map(|name| format!(",{name}=off")).collect();
    let filter = EnvFilter::try_new(format!("trace{off}"))?;
    Ok(OpenTelemetryTracingBridge::new(provider).with_filter(filter).boxed())
}

/// The provider of loggers. The caller must shut it down.
pub fn provider(otlp: &Otlp, queue_size: usize, resource: &Resource) -> Result<SdkLoggerProvider, ExporterError> {
    let queue = ExportQueue::new("logs", queue_size);
    let exporter = Tracked::new(exporter(otlp)?, &queue);
    let batches = BatchLogProcessor::builder(exporter).build();
    let builder = SdkLoggerProvider::builder().with_resource(resource.clone());
    Ok(builder.with_log_processor(Tracked::new(batches, &queue)).build())
}

fn exporter(otlp: &Otlp) -> Result<LogExporter, ExporterError> {
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

/// Formats a line, and appends the ids of the current trace and span if there is one.
struct WithTraceIds<F> {
    line: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithTraceIds<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let Some((trace, span)) = current_trace_ids() else { return self.line.format_event(context, to, event) };
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| self.is_json) {
            Some(open) => writeln!(to, "{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}"),
            None => writeln!(to, "{line} trace_id={trace} span_id={span}"),
        }
    }
}

fn current_trace_ids() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let is_recorded = context.has_active_span() && span.span_context().is_sampled();
        is_recorded.then(|| (span.span_context().trace_id(), span.span_context().span_id()))
    })
}
