//! What stands around the SDK's exporters: TLS towards a collector, and a word in the log when a collector goes, comes back, or is too slow for
//! what is made. The SDK says nothing of all that.

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

use super::env::Otlp;

/// What waits to be sent, and how sending goes.
#[derive(Debug)]
pub struct ExportQueue {
    what: &'static str,
    limit: usize,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    overflows: AtomicBool,
    fails: AtomicBool,
}

// === impl Queue ===

impl ExportQueue {
    /// Room for `limit` of `what`, which is as many as the SDK has.
    pub fn new(what: &'static str, limit: usize) -> Arc<ExportQueue> {
        let (waiting, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(ExportQueue {
            what,
            limit,
            waiting,
            dropped,
            overflows: AtomicBool::new(false),
            fails: AtomicBool::new(false),
        })
    }

    /// Whether there is room for one more. What there is none for is dropped.
    fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if !self.overflows.swap(true, Ordering::Relaxed) {
            tracing::warn!(what = self.what, limit = self.limit, "telemetry is dropped: more is made than is sent");
        }
        false
    }

    /// So many are being sent.
    fn leave(&self, number: usize) {
        self.waiting.fetch_sub(number, Ordering::Relaxed);
    }

    /// How sending a batch ended.
    fn sent(&self, result: &OTelSdkResult) {
        match result {
            Err(error) if !self.fails.swap(true, Ordering::Relaxed) => {
                tracing::warn!(what = self.what, %error, "telemetry cannot be sent");
            }
            Err(_) => return,
            Ok(()) if self.fails.swap(false, Ordering::Relaxed) => {
                tracing::info!(what = self.what, "telemetry is sent again")
            }
            Ok(()) => {}
        }
        let has_room = self.waiting.load(Ordering::Relaxed) < self.limit / 2;
        if result.is_ok() && has_room && self.overflows.swap(false, Ordering::Relaxed) {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            tracing::warn!(what = self.what, dropped, "telemetry is not dropped any more");
        }
    }
}

/// An exporter or a processor whose queue is watched.
#[derive(Debug)]
pub struct Watched<T> {
    inner: T,
    queue: Arc<ExportQueue>,
}

impl<T> Watched<T> {
    /// Watched on behalf of `queue`.
    pub fn new(inner: T, queue: &Arc<ExportQueue>) -> Watched<T> {
        Watched { inner, queue: queue.clone() }
    }
}

impl<T: SpanExporter> SpanExporter for Watched<T> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.queue.leave(batch.len());
        let result = self.inner.export(batch).await;
        self.queue.sent(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: LogExporter> LogExporter for Watched<T> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.queue.leave(batch.iter().count());
        let result = self.inner.export(batch).await;
        self.queue.sent(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: SpanProcessor> SpanProcessor for Watched<T> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.enter() {
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

impl<T: LogProcessor> LogProcessor for Watched<T> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.queue.enter() {
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

/// Writes spans to standard output, one a line, for people.
#[derive(Debug)]
pub struct Console;

impl SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter().for_each(|span| println!("{span:?}"));
        Ok(())
    }
}

// === TLS towards a collector ===

/// Why a collector cannot be spoken to.
pub type Unusable = Box<dyn std::error::Error + Send + Sync>;

/// For gRPC. The SDK leaves out the system's roots and reads no files.
pub fn grpc_tls(otlp: &Otlp) -> Result<ClientTlsConfig, Unusable> {
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

/// For HTTP, where files are named; else the SDK's own client will do.
pub fn http_client(otlp: &Otlp) -> Result<Option<reqwest::blocking::Client>, Unusable> {
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
    // It has a runtime of its own, which may not be made inside of another.
    let built = std::thread::spawn(move || builder.build()).join();
    Ok(Some(built.map_err(|_| "the HTTP client could not be made")??))
}

fn read(file: &str) -> Result<Vec<u8>, Unusable> {
    fs::read(file).map_err(|error| format!("{file}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted() {
        let queue = ExportQueue::new("spans", 2);
        assert_eq!([queue.enter(), queue.enter(), queue.enter()], [true, true, false]);
        assert_eq!((queue.waiting.load(Ordering::Relaxed), queue.dropped.load(Ordering::Relaxed)), (2, 1));
        queue.leave(2);
        queue.sent(&Ok(()));
        assert_eq!((queue.enter(), queue.dropped.load(Ordering::Relaxed)), (true, 0));
    }
}
