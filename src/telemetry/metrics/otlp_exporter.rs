//! OTLP exporter of metrics that logs when sending fails and when it recovers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{MetricExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::telemetry::exporter::{ExporterError, grpc_tls, http_client};
use crate::telemetry::signal::{Otlp, Protocol};

/// An OTLP exporter that logs changes of its state.
pub struct LoggingExporter {
    exporter: MetricExporter,
    fails: AtomicBool,
}

// === impl LoggingExporter ===

impl LoggingExporter {
    /// Must be called inside a runtime, which gRPC needs.
    pub fn new(otlp: &Otlp) -> Result<LoggingExporter, ExporterError> {
        let exporter = match otlp.protocol {
            Protocol::Grpc => {
                let builder = MetricExporter::builder().with_tonic().with_tls_config(grpc_tls(otlp)?);
                builder.with_endpoint(&otlp.endpoint).build()?
            }
            Protocol::Http => {
                let mut builder = MetricExporter::builder().with_http().with_endpoint(&otlp.endpoint);
                if let Some(client) = http_client(otlp)? {
                    builder = builder.with_http_client(client);
                }
                builder.build()?
            }
        };
        Ok(LoggingExporter { exporter, fails: AtomicBool::new(false) })
    }

    fn log_change(&self, result: &OTelSdkResult) {
        let failed = self.fails.swap(result.is_err(), Ordering::Relaxed);
        match result {
            Err(error) if !failed => tracing::warn!(what = "metrics", %error, "telemetry cannot be sent"),
            Ok(()) if failed => tracing::info!(what = "metrics", "telemetry is sent again"),
            _ => {}
        }
    }
}

impl PushMetricExporter for LoggingExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.log_change(&result);
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
