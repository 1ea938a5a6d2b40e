//! The servers of a run, filled with entries, and the measurement of one row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Limits, Load, Measured, Moment};
use crate::dialect::Dialect;
use crate::http2::Http2;
use crate::keys::Sequence;
use crate::messages::{Messages, READ, WRITTEN};
use crate::plan::{BATCH, Keys, LARGE, Operation, Row, SMALL, Shape, Target};
use crate::samples::Sample;
use crate::servers::{Cores, Server};
use crate::text::Text;
use crate::tls::Certificate;

/// Shape of filling.
pub const FILLING: Shape = Shape { connections: 2, in_flight: 1 };
pub const SETTINGS: [(&str, &str); 2] = [("cache.default_ttl", "1h"), ("admin.listen", "127.0.0.1:0")];
/// A loaded machine makes a request slow, not wrong.
pub const PATIENCE: [(&str, &str); 3] =
    [("redis.read_timeout", "15s"), ("redis.write_timeout", "15s"), ("redis.unresponsive_after", "15s")];
const LARGE_L1: (&str, &str) = ("l1.size", "4GiB");
/// Token of callers, and the settings of a service that knows it by its hash.
const TOKEN: &str = "twt_benchmark-of-a-token-that-is-no-secret-0000";
const IDENTITY: [(&str, &str); 3] = [
    ("auth.mode", "enforce"),
    ("identities.bench.token_hashes", r#"["sha256:7680120d695c6307b45120e5eadf1012fcd849c37e500ee3f3d92cfb82b5ae66"]"#),
    ("identities.bench.grants", r#"[{"namespaces": ["*"], "verbs": ["read", "write"]}]"#),
];
/// The largest value has to be an eighth of L1 at most.
const SMALL_L1: [(&str, &str); 2] = [("l1.size", "1MiB"), ("limits.value_size", "64KiB")];

/// Servers of all rows.
pub struct Fleet {
    servers: BTreeMap<Target, Server>,
    /// Redis of each target that has one.
    redis: BTreeMap<Target, Server>,
    /// Certificate of the service with TLS. `None` if it cannot be created.
    certificate: Option<Certificate>,
    /// Number of keys.
    keys: u32,
    /// Length of a `GetResponse` by size of the value.
    answers: BTreeMap<usize, usize>,
    cores: Cores,
    _folder: TempDir,
}

impl Fleet {
    /// Starts the servers that the rows need, and fills them.
    pub fn start(rows: &[Row], keys: u32) -> Fleet {
        let cores = Cores::choose();
        let folder = tempfile::Builder::new().prefix("twintier-bench-").tempdir().unwrap();
        let answers = BTreeMap::new();
        let (servers, redis) = (BTreeMap::new(), BTreeMap::new());
        let certificate = Certificate::create(folder.path());
        let mut fleet = Fleet { servers, redis, certificate, keys, answers, cores, _folder: folder };
        // The service is started always: the echo answers as many bytes as it does.
        let targets: BTreeSet<Target> = rows.iter().map(|row| row.target).chain([Target::Service]).collect();
        targets.into_iter().for_each(|target| fleet.add(target));
        fleet.learn_answers();
        let used: BTreeSet<_> = rows.iter().map(|row| (row.target, namespace(row), row.size)).collect();
        used.into_iter().for_each(|(target, namespace, size)| fleet.fill(target, namespace, size));
        fleet
    }

    fn add(&mut self, target: Target) {
        if target.has_tls() && self.certificate.is_none() {
            return;
        }
        if target.has_tls() || matches!(target, Target::Service | Target::SmallL1) {
            let redis = Server::redis(self._folder.path(), self.cores.client);
            self.redis.insert(target, redis);
        }
        let url = self.redis.get(&target).map(|redis| format!("redis://{}", redis.address));
        let service = |more: &[(&str, &str)]| {
            let redis = url.iter().flat_map(|url| [("redis.url", url.as_str())].into_iter().chain(PATIENCE));
            let settings: Vec<_> = SETTINGS.into_iter().chain(redis).chain(more.iter().copied()).collect();
            let certificate = self.certificate.as_ref().filter(|_| target.has_tls());
            Server::service(&settings, certificate, &self.cores)
        };
        let server = match target {
            Target::Service | Target::ServiceTls | Target::Alone => Some(service(&[LARGE_L1])),
            Target::ServiceToken => Some(service(&[&IDENTITY[..], &[LARGE_L1]].concat())),
            Target::SmallL1 => Some(service(&SMALL_L1)),
            Target::EchoCurrent => Some(Server::echo("current_thread", &self.cores)),
            Target::EchoMulti => Some(Server::echo("multi_thread", &self.cores)),
            Target::Redis => Some(Server::redis(self._folder.path(), self.cores.server)),
            Target::Memcached => Server::memcached(&self.cores),
        };
        server.map(|server| self.servers.insert(target, server));
    }

    /// Returns false for a row of a server that is not installed.
    pub fn has(&self, row: &Row) -> bool {
        self.servers.contains_key(&row.target)
    }

    /// Measures the length of answers.
    fn learn_answers(&mut self) {
        let shape = Shape { connections: 1, in_flight: 1 };
        for size in [SMALL, LARGE] {
            let write = Row { target: Target::Service, operation: Operation::Set, shape, size, keys: Keys::InOrder };
            self.run(&write, READ, 1);
            let read = self.run(&Row { operation: Operation::Get, ..write }, READ, 1);
            // Without the head of a gRPC message.
            self.answers.insert(size, read.bytes - 5);
        }
    }

    /// Sends some requests, and checks their answers.
    fn run(&self, row: &Row, namespace: &str, requests: u64) -> Measured {
        let limits = Limits { warm_up: Duration::ZERO, time: Duration::from_secs(300), enough: 0, requests };
        let measured = self.load(row, namespace, 1).run(limits, |_| {});
        assert_eq!((measured.requests, measured.wrong), (requests, 0), "filling: {row}");
        measured
    }

    /// Writes every key. Then reads it, so that all that fit are in L1.
    fn fill(&self, target: Target, namespace: &str, size: usize) {
        let row = Row { target, operation: Operation::BatchSet, shape: FILLING, size, keys: Keys::InOrder };
        let batches = u64::from(self.keys) / BATCH as u64;
        match target {
            Target::EchoCurrent | Target::EchoMulti => {}
            Target::Memcached | Target::ServiceTls | Target::ServiceToken if !self.has(&row) => {}
            Target::Memcached => {
                drop(self.run(&Row { operation: Operation::Set, ..row }, namespace, u64::from(self.keys)))
            }
            Target::Redis => drop(self.run(&row, namespace, batches)),
            _ => {
                drop(self.run(&row, namespace, batches));
                drop(self.run(&Row { operation: Operation::BatchGet, ..row }, namespace, batches));
            }
        }
    }

    fn load(&self, row: &Row, namespace: &str, seed: u64) -> Load {
        let address = self.servers[&row.target].address;
        let dialect = || -> Box<dyn Dialect> {
            match row.target {
                Target::Redis | Target::Memcached => Box::new(Text::new(row)),
                _ => {
                    let messages = Messages::new(row, namespace, self.echoed(row.size));
                    let token = (row.target == Target::ServiceToken).then_some(TOKEN);
                    Box::new(Http2::new(messages, address.to_string()).with_token(token))
                }
            }
        };
        let keys = Sequence::new(row.keys, self.keys, seed);
        match self.certificate.as_ref().filter(|_| row.target.has_tls()) {
            Some(certificate) => Load::with_tls((address, certificate), row.shape, row.operation, keys, dialect),
            None => Load::new(address, row.shape, row.operation, keys, dialect),
        }
    }

    /// Length of an echo's payload: that of a Get's answer without the field's tag and length.
    fn echoed(&self, size: usize) -> usize {
        let Some(answer) = self.answers.get(&size) else { return 0 };
        answer - 1 - prost::encoding::encoded_len_varint(*answer as u64)
    }

    /// Measures a row once.
    pub fn measure(&self, row: &Row, limits: Limits, seed: u64) -> Sample {
        let server = &self.servers[&row.target];
        let redis = self.redis.get(&row.target);
        let spent = || (server.spent(), redis.map(Server::spent));
        let (mut before, mut after) = (None, None);
        let measured: Measured = self.load(row, namespace(row), seed).run(limits, |moment| match moment {
            Moment::Begin => before = Some(spent()),
            Moment::End => after = Some(spent()),
        });
        let (before, after) = (before.unwrap(), after.unwrap());
        let of_redis = after.1.zip(before.1).map(|(after, before)| after.since(&before));
        let is_sparse = measured.requests < limits.enough;
        Sample { is_sparse, ..Sample::new(row, &measured, after.0.since(&before.0), of_redis) }
    }
}

/// Namespace of the entries that a row reads or writes.
pub fn namespace(row: &Row) -> &'static str {
    match row.operation {
        Operation::Get | Operation::BatchGet => READ,
        Operation::Set | Operation::BatchSet => WRITTEN,
    }
}
