//! Curves (`make scale`): what a request costs as entries, connections, replicas or subscribers grow.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::client::{Limits, Load};
use crate::curves::{Curve, Line};
use crate::dialect::Dialect;
use crate::fleet::{FILLING, PATIENCE, SETTINGS, namespace};
use crate::http2::Http2;
use crate::keys::Sequence;
use crate::messages::Messages;
use crate::plan::{BATCH, Keys, MULTIPLEXED, Operation, Row, SMALL, Shape, Target};
use crate::servers::{Cores, Server};

/// Keys of the curves that do not vary them: all of them are hot.
const HOT: u32 = 1_000;
/// Partitions of the service, each with a channel.
const PARTITIONS: u16 = 64;
/// The client and the service are separate processes: each has a limit of its own.
const FILES: u64 = 20_000;

/// Points of all curves, and how long each is measured.
pub struct Plan {
    pub rounds: u64,
    /// Time of a round. The warm-up before it takes half of that.
    pub time: Duration,
    pub entries: &'static [u32],
    pub connections: &'static [u32],
    pub replicas: &'static [u32],
    pub subscribers: &'static [u32],
}

pub const QUICK: Plan = Plan {
    rounds: 3,
    time: Duration::from_millis(400),
    entries: &[10_000, 100_000, 1_000_000],
    connections: &[1, 10, 100, 1_000],
    replicas: &[1, 2, 4],
    subscribers: &[1, 4, 16],
};
pub const FULL: Plan = Plan {
    rounds: 5,
    time: Duration::from_millis(800),
    entries: &[10_000, 100_000, 1_000_000, 10_000_000],
    connections: &[1, 10, 100, 1_000, 10_000],
    replicas: &[1, 2, 4],
    subscribers: &[1, 4, 16, 64],
};
/// Plan of a test, which checks answers and no times.
pub const SMALLEST: Plan = Plan {
    rounds: 1,
    time: Duration::from_millis(20),
    entries: &[200, 400],
    connections: &[1, 20],
    replicas: &[1, 2],
    subscribers: &[1, 2],
};

/// Measures all curves.
pub fn curves(plan: &Plan) -> Vec<Curve> {
    raise_file_limit();
    let cores = Cores::choose();
    let folder = tempfile::Builder::new().prefix("twintier-scale-").tempdir().unwrap();
    let bench = Bench { plan, cores, folder };
    vec![bench.by_entries(), bench.by_connections(), bench.by_replicas(), bench.by_subscribers()]
}

fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(FILES, |most| most.min(FILES)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Servers and extent of a run.
struct Bench<'a> {
    plan: &'a Plan,
    cores: Cores,
    folder: TempDir,
}

// === the curves ===

impl Bench<'_> {
    fn by_entries(&self) -> Curve {
        let measured = self.plan.entries.iter().map(|entries| {
            let server = self.alone();
            fill(server.address, *entries);
            let cost = self.cost(&[&server], &server, GET, *entries);
            server.stop();
            (*entries, cost.each)
        });
        let line = Line { name: "Get from memory", points: measured.collect() };
        Curve { title: "Entries in memory", axis: "entries", unit: OF_SERVICE, lines: vec![line] }
    }

    fn by_connections(&self) -> Curve {
        let server = self.alone();
        fill(server.address, HOT);
        let measured = self.plan.connections.iter().map(|connections| {
            let shape = Shape { connections: *connections as usize, in_flight: 1 };
            (*connections, self.cost(&[&server], &server, Row { shape, ..GET }, HOT).each)
        });
        let line = Line { name: "Get from memory", points: measured.collect() };
        server.stop();
        let title = "Connections, one request in flight on each";
        Curve { title, axis: "connections", unit: OF_SERVICE, lines: vec![line] }
    }

    /// The load on Redis of a fleet whose replicas are all busy with the same hot keys.
    fn by_replicas(&self) -> Curve {
        let (mut gets, mut sets) = (Vec::new(), Vec::new());
        for count in self.plan.replicas {
            let redis = Server::redis(self.folder.path(), self.cores.client);
            let replicas: Vec<Server> = (0..*count).map(|_| self.replica(&redis)).collect();
            fill(replicas[0].address, HOT);
            let all: Vec<&Server> = replicas.iter().collect();
            gets.push((*count, self.cost(&all, &redis, GET, HOT).a_second / 1e3));
            sets.push((*count, self.cost(&all[..1], &redis, SET, HOT).each));
            replicas.into_iter().for_each(Server::stop);
            redis.stop();
        }
        let gets = Line { name: "ms a second, while all answer Gets", points: gets };
        let sets = Line { name: "µs a Set at one of them", points: sets };
        let title = "Replicas with the same hot keys";
        Curve { title, axis: "replicas", unit: "CPU of Redis", lines: vec![gets, sets] }
    }

    fn by_subscribers(&self) -> Curve {
        let redis = Server::redis(self.folder.path(), self.cores.client);
        let server = self.replica(&redis);
        fill(server.address, HOT);
        // The replica is one of them.
        let mut subscribers = 1;
        let measured = self.plan.subscribers.iter().map(|count| {
            (subscribers..*count).for_each(|_| subscribe(redis.address));
            subscribers = *count;
            (*count, self.cost(&[&server], &redis, SET, HOT).each)
        });
        let line = Line { name: "Set", points: measured.collect() };
        server.stop();
        redis.stop();
        let title = "Subscribers of all channels";
        Curve { title, axis: "subscribers", unit: "µs of CPU of Redis", lines: vec![line] }
    }
}

/// Subscribes to every channel of the deployment, as a replica does, and reads what comes until
/// Redis ends.
fn subscribe(redis: SocketAddr) {
    let mut stream = TcpStream::connect(redis).unwrap();
    let names: Vec<String> = (0..PARTITIONS).map(|partition| format!("twintier:{{{partition}}}:b")).collect();
    let mut command = format!("*{}\r\n$9\r\nSUBSCRIBE\r\n", names.len() + 1);
    for name in names {
        command += &format!("${}\r\n{name}\r\n", name.len());
    }
    stream.write_all(command.as_bytes()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
}

// === servers and loads ===

const OF_SERVICE: &str = "µs of CPU of the service";
const GET: Row =
    Row { target: Target::Service, operation: Operation::Get, shape: MULTIPLEXED, size: SMALL, keys: Keys::Uniform };
const SET: Row = Row { operation: Operation::Set, ..GET };

/// CPU of a server under a load, in microseconds: medians over the rounds.
struct Cost {
    /// Time for one request.
    each: f64,
    /// Time in one second.
    a_second: f64,
}

impl Bench<'_> {
    fn alone(&self) -> Server {
        let more = [
            ("l1.size", "16GiB"),
            ("server.max_connections", "20000"),
            ("server.max_in_flight", "20000"),
            ("server.max_share_per_peer", "1"),
        ];
        Server::service(&[&SETTINGS[..], &more].concat(), None, &self.cores)
    }

    fn replica(&self, redis: &Server) -> Server {
        let url = format!("redis://{}", redis.address);
        let more = [("l1.size", "1GiB"), ("redis.url", url.as_str())];
        Server::service(&[&SETTINGS[..], &PATIENCE, &more].concat(), None, &self.cores)
    }

    /// Loads these servers at the same time, and measures one.
    fn cost(&self, loaded: &[&Server], measured: &Server, row: Row, keys: u32) -> Cost {
        let mut rounds: Vec<(f64, f64)> = Vec::new();
        for round in 1..=self.plan.rounds {
            run(loaded, &row, keys, self.plan.time / 2, round);
            let (begin, before) = (Instant::now(), measured.spent());
            let requests = run(loaded, &row, keys, self.plan.time, round);
            let spent = measured.spent().since(&before) as f64 / 1e3;
            rounds.push((spent / requests.max(1) as f64, spent / begin.elapsed().as_secs_f64()));
        }
        let median = |figure: fn(&(f64, f64)) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Cost { each: median(|round| round.0), a_second: median(|round| round.1) }
    }
}

/// Writes the keys that Gets read, and those that Sets overwrite.
fn fill(address: SocketAddr, keys: u32) {
    let row = Row { operation: Operation::BatchSet, shape: FILLING, keys: Keys::InOrder, ..GET };
    let requests = u64::from(keys) / BATCH as u64;
    let limits = Limits { warm_up: Duration::ZERO, enough: 0, time: Duration::from_secs(600), requests };
    for read in [GET, SET] {
        let filled = load(address, &row, namespace(&read), keys, 1).run(limits, |_| {});
        assert_eq!(filled.wrong, 0, "filling");
    }
}

fn load(address: SocketAddr, row: &Row, namespace: &str, keys: u32, seed: u64) -> Load {
    let messages = Messages::new(row, namespace, 0);
    let dialect = || -> Box<dyn Dialect> { Box::new(Http2::new(messages.clone(), address.to_string())) };
    Load::new(address, row.shape, row.operation, Sequence::new(row.keys, keys, seed), dialect)
}

/// Sends requests to all these servers for a time. Returns the number of answers.
fn run(servers: &[&Server], row: &Row, keys: u32, time: Duration, seed: u64) -> u64 {
    let limits = Limits { warm_up: Duration::ZERO, enough: 0, time, requests: u64::MAX };
    let one = |address| {
        let measured = load(address, row, namespace(row), keys, seed).run(limits, |_| {});
        assert_eq!(measured.wrong, 0, "wrong answers: {row}");
        measured.requests
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> =
            servers.iter().map(|server| server.address).map(|at| scope.spawn(move || one(at))).collect();
        loads.into_iter().map(|load| load.join().unwrap()).sum()
    })
}
