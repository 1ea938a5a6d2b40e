//! TLS to a collector, and log lines when it fails, recovers or cannot keep up.
//!
//! The SDK's exporters log none of that.

use std::fmt::Debug;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use super::signal::Otlp;

/// Bookkeeping of an SDK queue: its length, dropped items, and the state of sending.
#[derive(Debug)]
pub struct ExportQueue {
    item_kind: &'static str,
    limit: usize,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    overflows: AtomicBool,
    fails: AtomicBool,
}

// === impl Queue ===

impl ExportQueue {
    /// A queue of at most `limit` items, which is the SDK's own limit.
    pub fn new(item_kind: &'static str, limit: usize) -> Arc<ExportQueue> {
        let (waiting, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(ExportQueue {
            item_kind,
            limit,
            waiting,
            dropped,
            overflows: AtomicBool::new(false),
            fails: AtomicBool::new(false),
        })
    }

    /// Returns true if the queue has room for one more item. Else the item is dropped and counted.
    fn try_push(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if !self.overflows.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                what = self.item_kind,
                limit = self.limit,
                "telemetry is dropped: more is made than is sent"
            );
        }
        false
    }

    /// Removes the items of a batch that is being sent.
    fn pop(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// Records the result of sending a batch.
    fn record_result(&self, result: &OTelSdkResult) {
        match result {
            Err(error) if !self.fails.swap(true, Ordering::Relaxed) => {
                tracing::warn!(what = self.item_kind, %error, "telemetry cannot be sent");
            }
            Err(_) => return,
            Ok(()) if self.fails.swap(false, Ordering::Relaxed) => {
                tracing::info!(what = self.item_kind, "telemetry is sent again")
            }
            Ok(()) => {}
        }
        let has_room = self.waiting.load(Ordering::Relaxed) < self.limit / 2;
        if result.is_ok() && has_room && self.overflows.swap(false, Ordering::Relaxed) {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            tracing::warn!(what = self.item_kind, dropped, "telemetry is not dropped any more");
        }
    }
}

/// An exporter or a processor that keeps an [`ExportQueue`] up to date.
#[derive(Debug)]
pub struct Tracked<T> {
    inner: T,
    queue: Arc<ExportQueue>,
}

impl<T> Tracked<T> {
    /// Wraps `inner`, and counts its items in `queue`.
    pub fn new(inner: T, queue: &Arc<ExportQueue>) -> Tracked<T> {
        Tracked { inner, queue: queue.clone() }
    }
}

impl<T: SpanExporter> SpanExporter for Tracked<T> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.queue.pop(batch.len());
        let result = self.inner.export(batch).await;
        self.queue.record_result(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: LogExporter> LogExporter for Tracked<T> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.queue.pop(batch.iter().count());
        let result = self.inner.export(batch).await;
        self.queue.record_result(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: SpanProcessor> SpanProcessor for Tracked<T> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.try_push() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: LogProcessor> LogProcessor for Tracked<T> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.queue.try_push() {
            self.inner.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Writes spans to standard output, one per line, for people.
#[derive(Debug)]
pub struct Console;

impl SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter().for_each(|span| println!("{span:?}"));
        Ok(())
    }
}

// === TLS towards a collector ===

/// Reason why an exporter cannot be created.
pub type ExporterError = Box<dyn std::error::Error + Send + Sync>;

/// TLS settings for gRPC. The SDK leaves out the system's roots and reads no files.
pub fn grpc_tls(otlp: &Otlp) -> Result<ClientTlsConfig, ExporterError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &otlp.certificate {
        Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &otlp.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// HTTP client with the configured certificates. `None` if the SDK's own client is enough.
pub fn http_client(otlp: &Otlp) -> Result<Option<reqwest::blocking::Client>, ExporterError> {
    if otlp.certificate.is_none() && otlp.identity.is_none() {
        return Ok(None);
    }
    let mut builder = reqwest::blocking::Client::builder().timeout(otlp.timeout);
    if let Some(file) = &otlp.certificate {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&read(file)?)?);
    }
    if let Some((certificate, key)) = &otlp.identity {
        let mut both = read(certificate)?;
        both.extend(read(key)?);
        builder = builder.identity(reqwest::Identity::from_pem(&both)?);
    }
    // The client has its own runtime, which must not be created inside another.
    let built = std::thread::spawn(move || builder.build()).join();
    Ok(Some(built.map_err(|_| "the HTTP client could not be made")??))
}

fn read(file: &str) -> Result<Vec<u8>, ExporterError> {
    fs::read(file).map_err(|error| format!("{file}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_dropped_and_counted_when_the_queue_is_full() {
        let queue = ExportQueue::new("spans", 2);
        assert_eq!([queue.try_push(), queue.try_push(), queue.try_push()], [true, true, false]);
        assert_eq!((queue.waiting.load(Ordering::Relaxed), queue.dropped.load(Ordering::Relaxed)), (2, 1));
        queue.pop(2);
        queue.record_result(&Ok(()));
        assert_eq!((queue.try_push(), queue.dropped.load(Ordering::Relaxed)), (true, 0));
    }
}
