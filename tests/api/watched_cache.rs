//! A client's own cache by the rules of docs/watch.md never answers older data than it accepts.
//!
//! Holds under faults of the messages between Redis and the replica, and between the replica and
//! the cache.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;
use twintier::pb::watch_change::Covers;
use twintier::pb::watch_response::Event;

use crate::harness::{
    Answer as _, Class, Direction, Proxy, Redis, Replica, SCHEDULING_ALLOWANCE, SHORT_BOUND, Seen, eventually,
    with_short_heartbeats,
};

/// Staleness that the client's cache accepts.
const ACCEPTED: Duration = Duration::from_secs(1);
const KEYS: usize = 8;
/// Longest pause between two writes of a key.
const SHORT_PAUSE: Duration = Duration::from_millis(400);
/// Longest pause between two writes of a key in the drill of late heartbeats. A newer change must
/// not make up for an older one that arrived late.
const LONG_PAUSE: Duration = ACCEPTED.saturating_mul(8);

/// The client's cache.
struct Cache {
    replica: Replica,
    state: Mutex<State>,
    /// False to ignore, as a mistake, that heartbeats may arrive late.
    respects_late_heartbeats: bool,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, (u64, Instant)>,
    /// Changes received since the last heartbeat.
    changed: HashSet<String>,
    /// Number of discontinuities, and of changes that cover more than keys.
    discontinuities: u64,
    heartbeats: u64,
    token: Option<String>,
    /// Every change acknowledged before this moment has arrived.
    proven: Option<Instant>,
}

impl State {
    fn clear(&mut self) {
        self.entries.clear();
        self.discontinuities += 1;
    }

    fn handle(&mut self, event: Event, called: Instant, respects_late_heartbeats: bool) {
        match event {
            Event::Change(change) => match change.covers.expect("a change covers something") {
                Covers::Keys(keys) => {
                    for key in keys.keys {
                        self.entries.remove(&key);
                        self.changed.insert(key);
                    }
                }
                _ => self.clear(),
            },
            Event::Discontinuity(_) => self.clear(),
            Event::Heartbeat(heartbeat) => {
                let duration = |wire: prost_types::Duration| Duration::try_from(wire).expect("not negative");
                let sent = if respects_late_heartbeats {
                    called + heartbeat.elapsed.map(duration).expect("a heartbeat has an elapsed time")
                } else {
                    Instant::now()
                };
                self.proven = heartbeat.proof_age.and_then(|age| sent.checked_sub(duration(age)));
                self.changed.clear();
                self.heartbeats += 1;
                self.token = Some(heartbeat.token);
            }
        }
    }
}

impl Cache {
    /// Follows changes through a connection to `port`. Never returns.
    async fn follow(&self, port: u16) {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let mut client = CacheServiceClient::new(endpoint.connect_lazy());
        loop {
            let tokens: Vec<String> = self.state.lock().unwrap().token.clone().into_iter().collect();
            let begins = tokens.is_empty();
            let called = Instant::now();
            let request = with_short_heartbeats(pb::WatchRequest { tokens, ..Default::default() });
            if let Ok(opened) = client.watch(request).await {
                let mut events = opened.into_inner();
                if begins {
                    self.state.lock().unwrap().clear();
                }
                while let Ok(Some(message)) = events.message().await {
                    let event = message.event.expect("an event");
                    self.state.lock().unwrap().handle(event, called, self.respects_late_heartbeats);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Answer of the cache, without a call.
    fn get(&self, key: &str) -> Option<u64> {
        let state = self.state.lock().unwrap();
        let now = Instant::now();
        let proven = state.proven.is_some_and(|proven| now <= proven + ACCEPTED);
        state.entries.get(key).filter(|(_, ends)| proven && now < *ends).map(|(value, _)| *value)
    }

    /// Reads from the replica, and keeps the answer if the rules allow it.
    async fn fill(&self, key: &str) {
        let (note, token) = {
            let state = self.state.lock().unwrap();
            let Some(token) = state.token.clone().filter(|_| !state.changed.contains(key)) else { return };
            ((state.discontinuities, state.heartbeats), token)
        };
        let requested_at = Instant::now();
        let request = pb::GetRequest { key: key.to_owned(), tokens: vec![token], ..Default::default() };
        let Ok(answer) = self.replica.try_get(request).await else { return };
        if let (Seen::Value(value), None) = (answer.seen(), answer.stale()) {
            let mut state = self.state.lock().unwrap();
            // After another heartbeat, the changes since the first one are no longer known.
            if note == (state.discontinuities, state.heartbeats) && !state.changed.contains(key) {
                state.entries.insert(key.to_owned(), (value.parse().unwrap(), requested_at + answer.ttl()));
            }
        }
    }
}

/// Acknowledged writes of each key, with their times.
#[derive(Default)]
struct History(Mutex<HashMap<String, Vec<(u64, Instant)>>>);

impl History {
    fn acknowledged(&self, key: &str, value: u64) {
        self.0.lock().unwrap().entry(key.to_owned()).or_default().push((value, Instant::now()));
    }

    /// The newest value acknowledged before `moment`.
    fn newest(&self, key: &str, moment: Instant) -> u64 {
        let history = self.0.lock().unwrap();
        let before = history.get(key).into_iter().flatten().rev().find(|(_, at)| *at <= moment);
        before.map_or(0, |(value, _)| *value)
    }
}

/// A drill: writers at one replica, and a client with a cache at another.
struct Drill {
    redis: Redis,
    /// Proxy between the client's replica and Redis.
    bus: Proxy,
    /// Proxy between the client and its replica.
    wire: Proxy,
    cache: Arc<Cache>,
    hits: Arc<AtomicU64>,
    broken: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Drill {
    async fn start(respects_late_heartbeats: bool, pause: Duration) -> Drill {
        let redis = Redis::start().await;
        let bus = Proxy::to(redis.port()).await;
        let (replica, writer) =
            (Replica::connected_to(&bus.url(), SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
        replica.wait_until_proven().await;
        let wire = Proxy::to(replica.address.port()).await;
        let cache = Arc::new(Cache { replica, state: Mutex::default(), respects_late_heartbeats });
        let history = Arc::new(History::default());
        let (hits, broken) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut tasks = JoinSet::new();
        let (following, port) = (cache.clone(), wire.port());
        tasks.spawn(async move { following.follow(port).await });
        for number in 0..KEYS {
            let (key, client) = (format!("key {number}"), writer.client.clone());
            tasks.spawn(write(key.clone(), client, history.clone(), pause));
            tasks.spawn(read(key, cache.clone(), history.clone(), hits.clone(), broken.clone()));
        }
        // The writers' replica lives as long as the tasks.
        tasks.spawn(async move {
            let _writer = writer;
            std::future::pending::<()>().await;
        });
        Drill { redis, bus, wire, cache, hits, broken, tasks }
    }

    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    async fn wait_for_hits(&self) {
        let before = self.hits();
        eventually("the cache answers", async || self.hits() > before).await;
    }
}

async fn write(
    key: String,
    mut client: CacheServiceClient<tonic::transport::Channel>,
    history: Arc<History>,
    pause: Duration,
) {
    for value in 1u64.. {
        let request = crate::harness::set_request(&key, &value.to_string());
        if client.set(request).await.is_ok() {
            history.acknowledged(&key, value);
        }
        sleep(Duration::from_millis(20) + pause.mul_f64(rand::random())).await;
    }
}

async fn read(
    key: String,
    cache: Arc<Cache>,
    history: Arc<History>,
    hits: Arc<AtomicU64>,
    broken: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let requested_at = Instant::now();
        match cache.get(&key) {
            None => cache.fill(&key).await,
            Some(value) => {
                hits.fetch_add(1, Ordering::Relaxed);
                let newest = history.newest(&key, requested_at - ACCEPTED);
                if value < newest {
                    broken
                        .lock()
                        .unwrap()
                        .push(format!("{key}: {value}, when {newest} was more than {ACCEPTED:?} old"));
                }
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_cache_never_answers_data_older_than_it_accepts() {
    let drill = Drill::start(true, SHORT_PAUSE).await;
    drill.wait_for_hits().await;
    let ended = Instant::now() + Duration::from_secs(8);
    while Instant::now() < ended || drill.hits() <= 100 {
        let moment = Duration::from_millis(rand::random_range(100..900));
        let (subscription, commands) = (Class::Subscription, Class::Commands);
        match rand::random_range(0..7) {
            0 => drill.bus.lose(subscription, Direction::ToClient),
            1 => drill.bus.stall(subscription, Direction::ToClient),
            2 => drill.bus.reset(subscription),
            3 => drill.bus.jitter(subscription, Direction::ToClient, Duration::from_millis(300)),
            4 => drill.wire.stall(commands, Direction::ToClient),
            5 => drill.wire.delay(commands, Direction::ToClient, moment),
            _ => drill.wire.reset(commands),
        }
        sleep(moment).await;
        drill.bus.resume(subscription, Direction::ToClient);
        drill.wire.resume(commands, Direction::ToClient);
        // Lost bytes desynchronize a connection, so that it has to be reset.
        drill.bus.reset(subscription);
        sleep(Duration::from_millis(300)).await;
    }
    drill.wait_for_hits().await;
    let broken = drill.broken.lock().unwrap();
    assert!(broken.is_empty(), "{} of {} answers: {:?}", broken.len(), drill.hits(), &broken[..broken.len().min(5)]);
    assert!(drill.redis.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_ignores_late_heartbeats_is_detected() {
    let mut drill = Drill::start(false, LONG_PAUSE).await;
    drill.wait_for_hits().await;
    // The server may close a late connection, and then no event arrives. The drill tries again.
    for _ in 0..10 {
        drill.wire.delay(Class::Commands, Direction::ToClient, 2 * ACCEPTED + SCHEDULING_ALLOWANCE);
        let ended = Instant::now() + 6 * ACCEPTED + SCHEDULING_ALLOWANCE;
        while Instant::now() < ended && drill.broken.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        drill.wire.resume(Class::Commands, Direction::ToClient);
        if !drill.broken.lock().unwrap().is_empty() {
            break;
        }
        drill.wait_for_hits().await;
    }
    assert!(!drill.broken.lock().unwrap().is_empty(), "no answer was too old");
    drill.tasks.shutdown().await;
    drop(drill.cache);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_respects_late_heartbeats_stops_answering() {
    let drill = Drill::start(true, SHORT_PAUSE).await;
    drill.wait_for_hits().await;
    drill.wire.delay(Class::Commands, Direction::ToClient, 2 * ACCEPTED + SCHEDULING_ALLOWANCE);
    sleep(2 * ACCEPTED).await;
    let before = drill.hits();
    sleep(2 * ACCEPTED + SCHEDULING_ALLOWANCE).await;
    assert_eq!((drill.hits() - before, drill.broken.lock().unwrap().len()), (0, 0));
}
