//! Clients that read and write at random on every replica, and record the results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use twintier::cache::key::KeyRef;
use twintier::cache::namespace::{NamespaceRules, Namespaces};
use twintier::cache::token::Token;
use twintier::cache::version::Version;
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use super::balanced::{Balanced, Name, Policy};
use super::drill::at_length;
use super::history::{Action, Answer, At, Operation, Outcome};
pub use ways::Way;

/// One call in this many has several keys.
const BATCHES: u32 = 4;

/// Amount and kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: u16,
    pub keys: u32,
    /// Share of operations, in percent, that write: two Sets for one Invalidate.
    pub writes: u32,
    /// Mean pause of a client between two operations.
    pub pause: Duration,
    /// True if a tenth of the Gets are STRONG. False where a replaced primary keeps answering:
    /// STRONG holds only while a primary is the primary.
    pub strong: bool,
    /// Bytes of a value.
    pub value_size: usize,
    /// Timeout of a client. A call that exceeds it counts as a failure of the drill.
    pub call_timeout: Duration,
    /// Share of operations, in percent, that the client cancels after a millisecond.
    pub cancelled: u32,
    /// Share of operations, in percent, that select keys by prefix, tag or pattern, or fill an
    /// entry under a lease.
    pub features: u32,
    /// True if replicas die under this load. A call that fails with its connection is no failure of
    /// the drill then.
    pub replicas_die: bool,
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            clients: if at_length() { 48 } else { 12 },
            keys: 24,
            writes: 30,
            // Drills that do not run alone leave the machine to each other.
            pause: if at_length() { Duration::from_micros(500) } else { Duration::from_millis(20) },
            strong: true,
            value_size: 16,
            call_timeout: Duration::from_secs(4),
            cancelled: 0,
            features: 10,
            replicas_die: false,
            seed: 1,
        }
    }
}

/// Results of a drill's clients, in addition to the history.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub history: Vec<Operation>,
    /// Codes of failed Gets. None is allowed.
    pub failed_gets: Vec<Code>,
    /// Codes of failed writes.
    pub failed_writes: Vec<Code>,
    /// Codes of calls of balanced clients that failed after all retries. None is allowed.
    pub failed_calls: Vec<Code>,
    /// Number of retries of balanced clients, by reason.
    pub retried: BTreeMap<&'static str, usize>,
    /// Longest duration of a Get.
    pub slowest_get: Duration,
}

/// A load that is running.
pub struct Running {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Report>,
    /// Number of operations so far.
    operations: Arc<AtomicU64>,
    /// Name that its clients are balanced over, if any.
    name: Option<Name>,
}

impl Running {
    /// Starts clients that call every replica directly.
    pub fn begin(load: Load, channels: &[Channel]) -> Running {
        Running::by(load, || channels.iter().cloned().map(Way::One).collect())
    }

    /// Starts clients that are balanced over the addresses of a name.
    pub fn balanced(load: Load, name: &Name) -> Running {
        let policy = Policy::documented();
        Running { name: Some(name.clone()), ..Running::by(load, || vec![Way::Any(Balanced::over(name, policy))]) }
    }

    fn by(load: Load, ways: impl Fn() -> Vec<Way>) -> Running {
        let (stop, values) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let operations = Arc::<AtomicU64>::default();
        let mut clients = JoinSet::new();
        let epoch = Instant::now();
        for number in 0..load.clients {
            let ways = ways();
            let client = Client {
                load,
                number,
                replicas: ways.iter().cloned().map(CacheServiceClient::new).collect(),
                ways,
                values: values.clone(),
                operations: operations.clone(),
                seen: vec![(Version::ZERO, String::new()); load.keys as usize],
                random: StdRng::seed_from_u64(load.seed * 1000 + u64::from(number)),
                epoch,
                report: Report::default(),
            };
            clients.spawn(client.run(stop.clone()));
        }
        Running { stop, clients, operations, name: None }
    }

    /// Number of operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Ends the load, and collects the results of its clients.
    pub async fn end(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = Report::default();
        while let Some(report) = self.clients.join_next().await {
            let report = report.unwrap();
            whole.history.extend(report.history);
            whole.failed_gets.extend(report.failed_gets);
            whole.failed_writes.extend(report.failed_writes);
            whole.slowest_get = whole.slowest_get.max(report.slowest_get);
        }
        if let Some(name) = self.name {
            (whole.failed_calls, whole.retried) = (name.tally.failed(), name.tally.retried());
        }
        whole
    }
}

/// Invalidates keys that are never read, as fast as the replica allows, until it is dropped.
pub fn flood(channel: &Channel) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let mut client = CacheServiceClient::new(channel.clone());
        clients.spawn(async move {
            loop {
                let keys = (0..200).map(|key| format!("flood {number} {key}")).collect();
                let selector = Some(pb::invalidate_request::Selector::Keys(pb::Keys { keys }));
                // The next call follows after an error too.
                let _ = client.invalidate(pb::InvalidateRequest { selector, ..Default::default() }).await;
            }
        });
    }
    clients
}

pub(super) struct Client {
    pub(super) load: Load,
    number: u16,
    ways: Vec<Way>,
    pub(super) replicas: Vec<CacheServiceClient<Way>>,
    values: Arc<AtomicU64>,
    operations: Arc<AtomicU64>,
    /// The highest version seen of each key, and its token.
    seen: Vec<(Version, String)>,
    random: StdRng,
    epoch: Instant,
    pub(super) report: Report,
}

mod features;
mod ways;

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Report {
        while !stop.load(Ordering::Relaxed) {
            let key = self.random.random_range(0..self.load.keys);
            let replica = self.random.random_range(0..self.replicas.len());
            let invoked = self.now();
            if self.random.random_range(0..100) < self.load.features {
                self.use_features(key, replica).await;
                continue;
            }
            let many = self.random.random_ratio(1, BATCHES);
            let keys = if many { self.random_keys(key) } else { Vec::new() };
            let actions = match self.random.random_range(0..300) {
                die if die < self.load.writes && many => self.invalidate_many(&keys, replica).await,
                die if die < self.load.writes => vec![(key, self.invalidate(key, replica).await)],
                die if die < self.load.writes * 3 && many => self.set_many(&keys, replica).await,
                die if die < self.load.writes * 3 => vec![(key, self.set(key, replica).await)],
                _ if many => self.get_many(&keys, replica).await,
                _ => vec![(key, self.get(key, replica).await)],
            };
            let returned = self.now();
            if matches!(actions[0].1, Action::Read { .. }) {
                self.report.slowest_get = self.report.slowest_get.max(returned - invoked);
            }
            let (client, replica) = (self.number, self.answered_by(replica));
            let operation = |(key, action)| Operation { client, replica, key, invoked, returned, action };
            self.operations.fetch_add(actions.len() as u64, Ordering::Relaxed);
            self.report.history.extend(actions.into_iter().map(operation));
            if !self.load.pause.is_zero() {
                sleep(self.random.random_range(Duration::ZERO..self.load.pause * 2)).await;
            }
        }
        self.report
    }

    /// Records an operation that started at `invoked` and has just ended.
    pub(super) fn record(&mut self, replica: usize, key: u32, invoked: At, action: Action) {
        let (client, replica, returned) = (self.number, self.answered_by(replica), self.now());
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.report.history.push(Operation { client, replica, key, invoked, returned, action });
    }

    /// Number of the replica that answered the last call of this way.
    fn answered_by(&self, way: usize) -> u8 {
        match &self.ways[way] {
            Way::One(_) => way as u8,
            Way::Any(balanced) => balanced.answered_by(),
        }
    }

    /// Unique id of a Set that may be sent again.
    pub(super) fn request_id(&self, value: u64) -> String {
        match &self.ways[0] {
            Way::One(_) => String::new(),
            Way::Any(_) => format!("value {value}"),
        }
    }

    pub(super) fn now(&self) -> At {
        self.epoch.elapsed()
    }

    /// A few different keys, including `first`.
    fn random_keys(&mut self, first: u32) -> Vec<u32> {
        let mut keys = vec![first];
        for _ in 0..self.random.random_range(0..4) {
            let key = self.random.random_range(0..self.load.keys);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    pub(super) fn is_strong(&mut self) -> bool {
        self.random.random_ratio(1, 10) && self.load.strong
    }

    /// The highest version seen of a key and its token, if this client presents it.
    pub(super) fn presented_token(&mut self, key: u32) -> (Version, String) {
        let presents = self.random.random_ratio(1, 2);
        if presents { self.seen[key as usize].clone() } else { Default::default() }
    }

    /// A value that no other write has.
    pub(super) fn next_value(&mut self) -> (u64, pb::set_request::Content) {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let mut bytes = value.to_be_bytes().to_vec();
        bytes.resize(self.load.value_size.max(8), b'.');
        (value, pb::set_request::Content::Value(bytes.into()))
    }

    /// Timeout of the next call, and true if the client cancels it early.
    pub(super) fn next_timeout(&mut self) -> (Duration, bool) {
        if self.random.random_range(0..100) < self.load.cancelled {
            (Duration::from_millis(1), true)
        } else {
            (self.load.call_timeout, false)
        }
    }

    async fn get(&mut self, key: u32, replica: usize) -> Action {
        let strong = self.is_strong();
        let (seen, token) = self.presented_token(key);
        let request = pb::GetRequest {
            key: name(key),
            consistency: if strong { pb::Consistency::Strong } else { pb::Consistency::Bounded }.into(),
            tokens: (!token.is_empty()).then_some(token).into_iter().collect(),
            ..Default::default()
        };
        let (call_timeout, leaves) = self.next_timeout();
        let answered = timeout(call_timeout, self.replicas[replica].get(request)).await;
        let answer = match answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok(response) => self.read(key, response.into_inner()),
            Err(_) if leaves => Answer::Failed,
            Err(status) if self.load.replicas_die && is_connection_failure(&status) => Answer::Failed,
            Err(status) => {
                if !strong || status.code() != Code::Unavailable {
                    self.report.failed_gets.push(status.code());
                }
                Answer::Failed
            }
        };
        Action::Read { seen, strong, answer }
    }

    fn read(&mut self, key: u32, response: pb::GetResponse) -> Answer {
        match response.result {
            Some(pb::get_response::Result::Hit(hit)) => self.hit(key, hit, response.token),
            Some(pb::get_response::Result::Miss(miss)) if miss.reason() == pb::MissReason::Absent => {
                let known = !response.token.is_empty();
                Answer::Miss(if known { position(key, &response.token) } else { Version::ZERO })
            }
            _ => Answer::Miss(Version::ZERO),
        }
    }

    pub(super) fn hit(&mut self, key: u32, hit: pb::Hit, token: String) -> Answer {
        let entry = hit.entry.unwrap();
        let version: Version = entry.version.parse().unwrap();
        let value = u64::from_be_bytes(hit.value[..8].try_into().unwrap());
        self.saw(key, version, token);
        Answer::Value { value, version, stale: entry.stale.is_some() }
    }

    pub(super) fn saw(&mut self, key: u32, version: Version, token: String) {
        let seen = &mut self.seen[key as usize];
        if version > seen.0 {
            *seen = (version, token);
        }
    }

    async fn set(&mut self, key: u32, replica: usize) -> Action {
        let (value, content) = self.next_value();
        let tags = vec![tag(key)];
        let (key_name, request_id) = (name(key), self.request_id(value));
        let request = pb::SetRequest { key: key_name, content: Some(content), tags, request_id, ..Default::default() };
        let (call_timeout, _) = self.next_timeout();
        let answered = timeout(call_timeout, self.replicas[replica].set(request)).await;
        let outcome = match answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok(response) => {
                let response = response.into_inner();
                let version = response.version.parse().unwrap();
                self.saw(key, version, response.token);
                Outcome::Ok(version)
            }
            Err(status) => self.failed(&status),
        };
        Action::Write { value: Some(value), leased: None, outcome }
    }

    async fn invalidate(&mut self, key: u32, replica: usize) -> Action {
        let selector = Some(pb::invalidate_request::Selector::Key(name(key)));
        let request = pb::InvalidateRequest { selector, ..Default::default() };
        let (call_timeout, _) = self.next_timeout();
        let answered = timeout(call_timeout, self.replicas[replica].invalidate(request)).await;
        let outcome = match answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok(response) => {
                let token = response.into_inner().token;
                let version = position(key, &token);
                self.saw(key, version, token);
                Outcome::Ok(version)
            }
            Err(status) => self.failed(&status),
        };
        Action::Write { value: None, leased: None, outcome }
    }

    pub(super) fn failed(&mut self, status: &Status) -> Outcome {
        self.report.failed_writes.push(status.code());
        let details = status.get_error_details();
        let window = details.error_info().and_then(|info| info.metadata.get("outcome_unknown_for_ms").cloned());
        match (status.code(), window) {
            (_, Some(millis)) => Outcome::Unknown(Duration::from_millis(millis.parse::<u64>().unwrap() + 1)),
            (Code::Unavailable | Code::ResourceExhausted, None) if details.error_info().is_some() => Outcome::Failed,
            _ => Outcome::Unknown(Duration::from_secs(3600)),
        }
    }
}

/// True if the connection failed: the error is not from the service, which adds ErrorInfo, and not
/// from the caller's timeout.
pub(super) fn is_connection_failure(status: &Status) -> bool {
    status.code() != Code::DeadlineExceeded && status.get_error_details().error_info().is_none()
}

pub(super) fn name(key: u32) -> String {
    format!("{}:key {key}", group(key))
}

/// Prefix of a key, which a quarter of the keys share.
pub(super) fn group(key: u32) -> String {
    format!("group {}", key % 4)
}

/// Tag of a key, which a third of the keys share.
pub(super) fn tag(key: u32) -> String {
    format!("tag {}", key % 3)
}

/// Position of a key's partition in a token: `1.64.17-<epoch>-<sequence>` has that of partition 17.
pub(super) fn position(key: u32, token: &str) -> Version {
    let partitions: u16 = token.split('.').nth(1).unwrap().parse().unwrap();
    let namespaces = Namespaces::new(NamespaceRules { limit: 1, ..Default::default() }, partitions);
    let namespace = namespaces.get("namespace", "").unwrap();
    let partition = KeyRef::new(&namespace, name(key).as_bytes()).partition(partitions);
    Token::decode(token, partitions).unwrap().position(partition)
}
