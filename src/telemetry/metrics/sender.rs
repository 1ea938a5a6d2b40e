//! Sends metrics by OTLP, and says in the log when that begins to fail and when it works again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::telemetry::otel::{Otlp, Protocol};

/// An exporter that is listened to.
pub struct Sender {
    exporter: MetricExporter,
    fails: AtomicBool,
}

// === impl Sender ===

impl Sender {
    /// To be made inside of a runtime, which sends what goes by gRPC.
    pub fn new(otlp: &Otlp) -> Result<Sender, ExporterBuildError> {
        let exporter = match (otlp.protocol, &otlp.endpoint) {
            (Protocol::Grpc, None) => MetricExporter::builder().with_tonic().build(),
            (Protocol::Grpc, Some(endpoint)) => MetricExporter::builder().with_tonic().with_endpoint(endpoint).build(),
            (Protocol::HttpProtobuf, endpoint) => {
                let http = MetricExporter::builder().with_http();
                let http = http.with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
                match endpoint {
                    Some(endpoint) => http.with_endpoint(endpoint).build(),
                    None => http.build(),
                }
            }
        };
        Ok(Sender { exporter: exporter?, fails: AtomicBool::new(false) })
    }

    fn heard(&self, result: &OTelSdkResult) {
        let failed = self.fails.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !failed => tracing::warn!(%error, "metrics cannot be sent by OTLP; it is tried again"),
            Ok(()) if failed => tracing::info!("metrics are sent by OTLP again"),
            _ => {}
        }
    }
}

impl PushMetricExporter for Sender {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.heard(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
