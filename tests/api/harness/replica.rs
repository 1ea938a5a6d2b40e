//! `Replica` and `Fleet`: the real service in this process, on its own port, with a client.

use std::net::SocketAddr;
use std::path::Path;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use twintier::app::{App, Observers};
use twintier::cache::coherence::safeguards::Safeguards;
use twintier::cache::fleet::replica::Replica as Identity;
use twintier::config::{Config, Problems, Sources, apply_auth};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;
use twintier::shutdown::Stop;
use twintier::telemetry::metrics::MetricsConfig;

use super::answers::set_request;
use super::process::Process;
use super::{Answer as _, Redis, Scrape, eventually};

/// One replica. It stops in the background on drop.
pub struct Replica {
    app: Option<App>,
    process: Option<Process>,
    pub address: SocketAddr,
    pub channel: Channel,
    pub client: CacheServiceClient<Channel>,
}

/// Long timeouts, for a machine that runs many tests at once. Only tests about timeouts set shorter
/// ones.
const LONG_TIMEOUTS: &[(&str, &str)] =
    &[("redis.read_timeout", "1s"), ("redis.write_timeout", "5s"), ("redis.unresponsive_after", "5s")];

/// Builds a configuration from these settings, as from flags.
fn config(settings: &[(&str, &str)]) -> Config {
    let own_port = [("server.listen", "127.0.0.1:0"), ("admin.enabled", "false")];
    // A connection that is renewed would fail a call that was not sent yet.
    let defaults = [("drain.delay", "0s"), ("drain.timeout", "3s"), ("server.max_connection_age", "1h")];
    let overrides =
        own_port.iter().chain(&defaults).chain(settings).map(|(path, value)| ((*path).to_owned(), (*value).to_owned()));
    let sources = Sources { overrides: overrides.collect(), ..Sources::default() };
    Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}")).config
}

impl Replica {
    /// Starts a replica, without Redis unless `settings` name one. Does not wait for Redis.
    pub async fn start(settings: &[(&str, &str)]) -> Replica {
        Replica::start_with(settings, Safeguards::default()).await
    }

    /// Starts a replica with these safeguards. A build for drills can switch one off.
    pub async fn start_with(settings: &[(&str, &str)], safeguards: Safeguards) -> Replica {
        let app = App::start_with(config(settings), safeguards).await.expect("starts");
        Replica::in_process(app).await
    }

    /// Starts a replica that can be scraped, and that exports metrics as the OTEL_* `variables`
    /// say.
    pub async fn with_metrics(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Replica {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let replica = Identity::new();
        let metrics = MetricsConfig::from_variables(owned, true, &replica.id);
        let observers = Observers { tracing: None, metrics, log_level: None };
        let app = App::start_as(replica, config(settings), observers).await;
        Replica::in_process(app.expect("starts")).await
    }

    async fn in_process(app: App) -> Replica {
        let address = app.address().expect("TCP");
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.expect("accepts");
        let client = CacheServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let client = client.max_encoding_message_size(usize::MAX);
        Replica { app: Some(app), process: None, address, channel, client }
    }

    /// Starts a replica on the Redis at `url`, which may be a proxy. Does not wait for it.
    pub async fn connected_to(url: &str, settings: &[(&str, &str)]) -> Replica {
        Replica::connected_to_with(url, settings, Safeguards::default()).await
    }

    /// Starts a replica on the Redis at `url` with these safeguards.
    pub async fn connected_to_with(url: &str, settings: &[(&str, &str)], safeguards: Safeguards) -> Replica {
        let mut all = vec![("redis.url", url)];
        all.extend_from_slice(LONG_TIMEOUTS);
        all.extend_from_slice(settings);
        Replica::start_with(&all, safeguards).await
    }

    /// Starts a replica as a child process with environment variables. Waits until it listens.
    pub async fn process(url: &str, settings: &[(&str, &str)], environment: &[(String, String)]) -> Replica {
        Replica::process_with(&[&[("redis.url", url)], LONG_TIMEOUTS, settings].concat(), environment).await
    }

    /// Starts a replica as a child process with only these settings.
    pub async fn process_with(settings: &[(&str, &str)], environment: &[(String, String)]) -> Replica {
        Replica::of(Process::start(settings, environment).await)
    }

    /// Starts a replica as a child process of another build. Waits until it listens.
    pub async fn of_build(program: &Path, url: &str, settings: &[(&str, &str)]) -> Replica {
        Replica::of(Process::of_build(program, &[&[("redis.url", url)], LONG_TIMEOUTS, settings].concat(), &[]).await)
    }

    fn of(process: Process) -> Replica {
        let address = process.address();
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let client = CacheServiceClient::new(channel.clone());
        Replica { app: None, process: Some(process), address, channel, client }
    }

    /// Id of the child process.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("a process").id()
    }

    /// Address of the admin server, which the settings must enable.
    pub fn admin_address(&self) -> SocketAddr {
        self.app.as_ref().and_then(App::admin_address).expect("an admin server")
    }

    /// Kills the child process with SIGKILL and starts it again. Waits until it listens.
    pub async fn restart(&mut self) {
        let process = self.process.as_mut().expect("a process");
        process.kill9();
        process.restart().await;
    }

    /// Stops the child process with SIGTERM and starts it again. Waits until it listens.
    pub async fn replace_process(&mut self) {
        let process = self.process.as_mut().expect("a process");
        process.terminate_and_wait().await;
        process.restart().await;
    }

    /// Starts a replica on `redis`, and waits until all partitions are proven.
    pub async fn on(redis: &Redis, settings: &[(&str, &str)]) -> Replica {
        let replica = Replica::connected_to(&redis.url(), settings).await;
        replica.wait_until_proven().await;
        replica
    }

    /// Sends SIGTERM to the child process.
    pub fn terminate(&mut self) {
        self.process.as_mut().expect("a process").terminate();
    }

    /// Waits for the end of the child process. Returns true if it exited with success.
    pub async fn wait_for_exit(mut self) -> bool {
        self.process.as_mut().expect("a process").wait_for_exit().await
    }

    /// Replaces the identities and grants by those of these settings, as a reload does.
    pub fn reload_auth(&self, settings: &[(&str, &str)]) {
        self.try_reload_auth(settings).unwrap_or_else(|problems| panic!("{problems}"));
    }

    /// Like `reload_auth`, but returns the problems of the settings' files.
    pub fn try_reload_auth(&self, settings: &[(&str, &str)]) -> Result<(), Problems> {
        apply_auth(self.app.as_ref().expect("in this process").authority(), &config(settings))
    }

    /// Metrics in Prometheus' format.
    pub fn scrape(&self) -> Scrape {
        let metrics = self.app.as_ref().and_then(App::metrics).expect("metrics are enabled");
        Scrape(metrics.prometheus_text())
    }

    /// Stops the replica without a drain, like Ctrl-C. Returns true if every RPC was finished.
    pub async fn stop(mut self) -> bool {
        match self.app.take() {
            Some(app) => app.stop(Stop::Now).await,
            None => self.process.take().expect("running").terminate_and_wait().await,
        }
    }

    /// Stops the replica with a drain, like an orchestrator.
    pub async fn drain(mut self) -> bool {
        self.app.take().expect("running").stop(Stop::Drain).await
    }

    // === requests ===

    pub async fn try_get(&self, request: pb::GetRequest) -> Result<pb::GetResponse, Status> {
        self.client.clone().get(request).await.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, key: &str) -> pb::GetResponse {
        self.get_from("", key).await
    }

    pub async fn get_from(&self, namespace: &str, key: &str) -> pb::GetResponse {
        let request = pb::GetRequest { namespace: namespace.into(), key: key.into(), ..Default::default() };
        self.try_get(request).await.expect("a Get never fails")
    }

    pub async fn get_with(&self, key: &str, tokens: &[&str]) -> pb::GetResponse {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        self.try_get(pb::GetRequest { key: key.into(), tokens, ..Default::default() }).await.expect("a Get never fails")
    }

    pub async fn get_strong(&self, key: &str) -> Result<pb::GetResponse, Status> {
        let consistency = pb::Consistency::Strong.into();
        self.try_get(pb::GetRequest { key: key.into(), consistency, ..Default::default() }).await
    }

    pub async fn store(&self, request: pb::SetRequest) -> Result<pb::SetResponse, Status> {
        self.client.clone().set(request).await.map(tonic::Response::into_inner)
    }

    /// Sets an entry, and asserts that it is stored.
    pub async fn set(&self, key: &str, value: &str) -> pb::SetResponse {
        self.set_in("", key, value).await
    }

    pub async fn set_in(&self, namespace: &str, key: &str, value: &str) -> pb::SetResponse {
        let request = pb::SetRequest { namespace: namespace.into(), ..set_request(key, value) };
        let response = self.store(request).await.expect("stored");
        assert_eq!(response.outcome(), pb::SetOutcome::Stored);
        response
    }

    pub async fn remove(&self, request: pb::InvalidateRequest) -> Result<pb::InvalidateResponse, Status> {
        self.client.clone().invalidate(request).await.map(tonic::Response::into_inner)
    }

    pub async fn invalidate(&self, key: &str) -> pb::InvalidateResponse {
        self.remove(super::invalidate_key(key)).await.expect("invalidated")
    }

    pub async fn stats(&self) -> pb::StatsResponse {
        let request = pb::StatsRequest { namespace: String::new(), ..Default::default() };
        self.client.clone().stats(request).await.expect("stats").into_inner()
    }

    pub async fn counts(&self, namespace: &str) -> pb::NamespaceStats {
        let all = self.stats().await.namespaces;
        all.into_iter().find(|stats| stats.namespace == namespace).unwrap_or_default()
    }

    pub async fn coherence(&self) -> pb::CoherenceStats {
        self.stats().await.coherence.unwrap()
    }

    pub async fn redis(&self) -> pb::RedisStats {
        self.stats().await.redis.unwrap()
    }

    // === waiting for a state ===

    /// Waits until Redis is healthy and every partition is proven.
    pub async fn wait_until_proven(&self) {
        eventually("every partition is proven", async || {
            let request = pb::StatsRequest { namespace: String::new(), ..Default::default() };
            let Ok(stats) = self.client.clone().stats(request).await else { return false };
            let stats = stats.into_inner();
            let (coherence, redis) = (stats.coherence.unwrap(), stats.redis.unwrap());
            redis.state() == pb::RedisState::Healthy && coherence.partitions_proven == coherence.partitions
        })
        .await;
    }

    /// Waits until a Get returns `value` from memory, not flagged as stale.
    pub async fn wait_until_cached(&self, key: &str, value: &str) {
        eventually("memory holds the value", async || {
            let answer = self.get(key).await;
            answer.is(value) && answer.tier() == pb::Tier::L1 && answer.stale().is_none()
        })
        .await;
    }

    /// Waits until a Get returns `value`.
    pub async fn wait_until_visible(&self, key: &str, value: &str) {
        eventually("the value is seen", async || self.get(key).await.is(value)).await;
    }

    /// Waits until a Get is a miss because there is no entry.
    pub async fn assert_missing(&self, key: &str) {
        eventually("the entry is gone", async || self.get(key).await.miss() == Some(pb::MissReason::Absent)).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let (app, runtime) = (self.app.take(), tokio::runtime::Handle::try_current());
        if let (Some(app), Ok(runtime)) = (app, runtime) {
            runtime.spawn(app.stop(Stop::Now));
        }
    }
}

/// Several replicas on one Redis.
pub struct Fleet {
    pub replicas: Vec<Replica>,
    pub redis: Redis,
}

impl Fleet {
    pub async fn start(size: usize, settings: &[(&str, &str)]) -> Fleet {
        let redis = Redis::start().await;
        let mut replicas = Vec::new();
        for _ in 0..size {
            replicas.push(Replica::connected_to(&redis.url(), settings).await);
        }
        for replica in &replicas {
            replica.wait_until_proven().await;
        }
        Fleet { replicas, redis }
    }
}

impl std::ops::Index<usize> for Fleet {
    type Output = Replica;

    fn index(&self, index: usize) -> &Replica {
        &self.replicas[index]
    }
}
