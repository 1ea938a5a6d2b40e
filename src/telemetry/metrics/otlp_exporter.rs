//! Sends metrics by OTLP, and says in the log when that begins to fail and when it works again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{MetricExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::telemetry::env::{Otlp, Protocol};
use crate::telemetry::exporter::{Unusable, grpc_tls, http_client};

/// An exporter that is listened to.
pub struct LoggingExporter {
    exporter: MetricExporter,
    fails: AtomicBool,
}

// === impl Sender ===

impl LoggingExporter {
    /// To be made inside of a runtime, which sends what goes by gRPC.
    pub fn new(otlp: &Otlp) -> Result<LoggingExporter, Unusable> {
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

    fn heard(&self, result: &OTelSdkResult) {
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
