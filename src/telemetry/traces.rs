//! Traces: the sampling decision of RPCs and messages, and the exporters of spans.
//!
//! Decides before a span is created: that costs less than a span that is thrown away.

use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SamplingDecision, SdkTracer, SdkTracerProvider, ShouldSample as _,
};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context as LayerContext, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::exporter::{Console, ExportQueue, ExporterError, Tracked, grpc_tls, http_client};
use super::signal::{Exporters, Otlp, Protocol, Sampling};
use crate::cache::spans::{APPLY, RPC, TARGET};

/// Header with the trace of the caller.
const TRACEPARENT: &str = "traceparent";

/// The provider of tracers. The caller must shut it down.
pub fn provider(
    exporters: &Exporters,
    queue_size: usize,
    resource: &Resource,
) -> Result<SdkTracerProvider, ExporterError> {
    // Every span that exists was sampled already.
    let mut builder = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_resource(resource.clone());
    if let Some(otlp) = &exporters.otlp {
        let queue = ExportQueue::new("spans", queue_size);
        let exporter = Tracked::new(exporter(otlp)?, &queue);
        let batches = BatchSpanProcessor::builder(exporter).build();
        builder = builder.with_span_processor(Tracked::new(batches, &queue));
    }
    if exporters.console {
        builder = builder.with_batch_exporter(Console);
    }
    Ok(builder.build())
}

fn exporter(otlp: &Otlp) -> Result<SpanExporter, ExporterError> {
    match otlp.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic().with_tls_config(grpc_tls(otlp)?);
            Ok(builder.with_endpoint(&otlp.endpoint).build()?)
        }
        Protocol::Http => {
            let mut builder = SpanExporter::builder().with_http().with_endpoint(&otlp.endpoint);
            if let Some(client) = http_client(otlp)? {
                builder = builder.with_http_client(client);
            }
            Ok(builder.build()?)
        }
    }
}

/// Converts spans of the tracing crate to spans of OpenTelemetry.
pub fn layer<S>(provider: &SdkTracerProvider, decision: Decision) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build();
    let layer: OpenTelemetryLayer<S, SdkTracer> = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(scope))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    layer.with_filter(SpanFilter(decision))
}

/// Creates the span of an RPC with these headers, if it is sampled.
pub type RpcTracing = Arc<dyn Fn(&HeaderMap, &dyn Fn() -> Span) -> Span + Send + Sync>;

/// Decides which RPCs and messages are traced.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Sampling of traces.
    pub sampling: Sampling,
    /// True if callers' traces are joined.
    pub joins: bool,
}

// === impl Decision ===

impl Decision {
    /// This decision as a function for the gRPC server.
    pub fn rpc_tracing(self) -> RpcTracing {
        Arc::new(move |headers: &HeaderMap, make: &dyn Fn() -> Span| self.rpc_span(headers, make))
    }

    /// The span of an RPC with these headers, in its caller's trace. [`Span::none`] if it is not
    /// sampled.
    pub fn rpc_span(self, headers: &HeaderMap, make: &dyn Fn() -> Span) -> Span {
        let parent = Some(headers).filter(|headers| self.joins && headers.contains_key(TRACEPARENT)).map(parent_of);
        let parent = parent.filter(|parent| parent.has_active_span());
        let caller = parent.as_ref().map(|parent| parent.span().span_context().clone());
        if !self.samples(caller.as_ref()) {
            return Span::none();
        }
        let span = make();
        if let Some(parent) = parent {
            // Cannot fail: the span has not started, and without the layer there is no span.
            let _ = span.set_parent(parent);
        }
        span
    }

    fn samples(self, parent: Option<&SpanContext>) -> bool {
        let Sampling { parent_based, ratio } = self.sampling;
        match parent {
            Some(parent) if parent_based => parent.is_sampled(),
            // The trace id decides, so that every service decides the same for this trace.
            Some(parent) => {
                let sampler = Sampler::TraceIdRatioBased(ratio);
                let result = sampler.should_sample(None, parent.trace_id(), RPC, &SpanKind::Server, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
            None => ratio >= 1.0 || (ratio > 0.0 && rand::random::<f64>() < ratio),
        }
    }
}

fn parent_of(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Admits spans only: those of sampled RPCs, a random share of messages, and spans inside of an
/// admitted one.
struct SpanFilter(Decision);

impl<S> Filter<S> for SpanFilter
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn enabled(&self, metadata: &Metadata<'_>, context: &LayerContext<'_, S>) -> bool {
        metadata.target() == TARGET
            && match metadata.name() {
                RPC => true,
                APPLY => self.0.samples(None),
                _ => context.lookup_current().is_some(),
            }
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == TARGET { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(decision: Decision, parent: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(parent) = parent {
            headers.insert(TRACEPARENT, parent.parse().expect("a header"));
        }
        let made = std::cell::Cell::new(false);
        decision.rpc_span(&headers, &|| {
            made.set(true);
            Span::none()
        });
        made.get()
    }

    fn decision(parent_based: bool, ratio: f64, joins: bool) -> Decision {
        Decision { sampling: Sampling { parent_based, ratio }, joins }
    }

    const YES: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NO: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_callers_decision_is_followed_if_sampling_is_parent_based() {
        assert!(sampled(decision(true, 0.0, true), Some(YES)));
        assert!(!sampled(decision(true, 1.0, true), Some(NO)));
        assert!(!sampled(decision(false, 0.0, true), Some(YES)));
        assert!(sampled(decision(false, 1.0, true), Some(NO)));
        assert!(!sampled(decision(true, 0.0, false), Some(YES)), "callers are not heard");
    }

    #[test]
    fn the_ratio_decides_without_a_caller() {
        assert!(sampled(decision(true, 1.0, true), None));
        assert!(!sampled(decision(true, 0.0, true), None));
        assert!(sampled(decision(true, 1.0, true), Some("nonsense")), "what cannot be read is no caller");
        let half = (0..1000).filter(|_| sampled(decision(true, 0.5, true), None)).count();
        assert!((300..700).contains(&half), "{half} of 1000");
    }
}
