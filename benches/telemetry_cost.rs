//! CPU cost of telemetry for a Get from memory, with telemetry off and on (`make telemetry-cost`).
#![allow(clippy::unwrap_used, dead_code, unused_imports, unused_macros)]

#[path = "../tests/api/harness/mod.rs"]
mod harness;

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Collector, set_request};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use twintier::app::{App, Observers};
use twintier::cache::fleet::replica::Replica;
use twintier::config::{Config, Sources};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;
use twintier::shutdown::Stop;
use twintier::telemetry::metrics::MetricsConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 15;
/// Number of connections, concurrent Gets on each, and Gets of each stream in a round. A round
/// takes up to a second.
const SHAPE: (usize, usize, usize) = (8, 16, 400);
const KEYS: usize = 1000;

/// A service with some telemetry, on its own worker thread.
struct Service {
    name: &'static str,
    app: App,
    runtime: Runtime,
    clients: Vec<CacheServiceClient<Channel>>,
    /// CPU time of a Get in the best round.
    best: Duration,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // The caller and the collector run on this thread, whose CPU is not counted.
    let caller = Builder::new_current_thread().enable_all().build().unwrap();
    let collector = caller.block_on(Collector::http());
    let url = collector.url();
    let otlp = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "1000")];
    let mut services = [
        Service::start("off", &caller, false, &[]),
        Service::start("Prometheus, scraped every round", &caller, true, &[]),
        Service::start("metrics by OTLP, every second", &caller, false, &otlp),
    ];
    for _ in 0..ROUNDS {
        for service in &mut services {
            service.round(&caller);
        }
    }
    let off = services[0].best.as_secs_f64();
    println!("| telemetry | CPU of a Get | × off |");
    println!("|---|---|---|");
    for Service { name, best, .. } in &services {
        println!("| {name} | {:.2} µs | {:.3} |", best.as_secs_f64() * 1e6, best.as_secs_f64() / off);
    }
    for Service { app, runtime, clients, .. } in services {
        drop(clients);
        runtime.block_on(app.stop(Stop::Now));
    }
}

// === impl Service ===

impl Service {
    fn start(name: &'static str, caller: &Runtime, prometheus: bool, variables: &[(&str, &str)]) -> Service {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let overrides = [("server.listen", "127.0.0.1:0"), ("drain.timeout", "3s")];
        let overrides = overrides.map(|(path, value)| (path.to_owned(), value.to_owned())).into();
        let config = Config::load(&Sources { overrides, ..Sources::default() }).unwrap().config;
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let replica = Replica::new();
        let metrics = MetricsConfig::from_variables(owned, prometheus, &replica.id);
        let observers = Observers { metrics, ..Observers::default() };
        let app = runtime.block_on(App::start_as(replica, config, observers)).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", app.address().unwrap())).unwrap();
        let clients = caller.block_on(async {
            let channels = join_all((0..SHAPE.0).map(|_| endpoint.connect())).await;
            let mut clients: Vec<_> =
                channels.into_iter().map(|channel| CacheServiceClient::new(channel.unwrap())).collect();
            for n in 0..KEYS {
                clients[0].set(set_request(&key(n), &"x".repeat(100))).await.unwrap();
            }
            clients
        });
        Service { name, app, runtime, clients, best: Duration::MAX }
    }

    fn round(&mut self, caller: &Runtime) {
        let before = others_cpu();
        let streams = self.clients.iter().flat_map(|client| (0..SHAPE.1).map(move |stream| (client.clone(), stream)));
        caller.block_on(join_all(streams.map(|(client, stream)| gets(client, stream))));
        if let Some(metrics) = self.app.metrics().cloned() {
            // Another thread scrapes, because a scrape counts as a cost of the service.
            std::thread::spawn(move || metrics.prometheus_text()).join().unwrap();
        }
        let each = (others_cpu() - before) / (SHAPE.0 * SHAPE.1 * SHAPE.2) as u32;
        self.best = self.best.min(each);
    }
}

async fn gets(mut client: CacheServiceClient<Channel>, stream: usize) {
    for n in 0..SHAPE.2 {
        let key = key((stream * SHAPE.2 + n) % KEYS);
        let answer = client.get(pb::GetRequest { key, ..Default::default() }).await.unwrap().into_inner();
        assert!(matches!(answer.result, Some(pb::get_response::Result::Hit(_))));
    }
}

fn key(n: usize) -> String {
    format!("a-key-of-about-thirty-bytes:{n}")
}

/// CPU time of this process without this thread.
fn others_cpu() -> Duration {
    let cpu = |clock| {
        let time = clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    cpu(ClockId::ProcessCPUTime) - cpu(ClockId::ThreadCPUTime)
}
