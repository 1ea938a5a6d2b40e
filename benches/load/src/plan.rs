//! Rows of the benchmark: what is sent to which server in which shape, floors and goals.

use std::fmt;

/// Bytes of a small and of a large value.
pub const SMALL: usize = 100;
pub const LARGE: usize = 4096;
/// Entries of a batch.
pub const BATCH: usize = 100;

/// A server that answers requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    /// Service over Redis with room in L1 for every entry.
    Service,
    /// The first one over TLS.
    ServiceTls,
    /// The first one over TLS, to callers with a token.
    ServiceToken,
    /// Service over Redis with an L1 that holds one entry in fifty.
    SmallL1,
    /// Service without Redis.
    Alone,
    /// Bare tonic server on a current_thread runtime.
    EchoCurrent,
    /// Bare tonic server on a multi_thread runtime.
    EchoMulti,
    Redis,
    Memcached,
}

impl Target {
    /// True if its callers speak TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Target::ServiceTls | Target::ServiceToken)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    Get,
    Set,
    BatchGet,
    BatchSet,
}

impl Operation {
    /// Entries of one request.
    pub fn entries(self) -> usize {
        match self {
            Operation::Get | Operation::Set => 1,
            Operation::BatchGet | Operation::BatchSet => BATCH,
        }
    }
}

/// Connections, and requests in flight on each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Shape {
    pub connections: usize,
    pub in_flight: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.connections, self.in_flight)
    }
}

/// Distribution of the keys that are requested.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Keys {
    Uniform,
    Zipfian,
    /// One after the other, for filling.
    InOrder,
}

/// One row: a load on one server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    pub target: Target,
    pub operation: Operation,
    pub shape: Shape,
    pub size: usize,
    pub keys: Keys,
}

impl Row {
    /// Name of the request, without its shape.
    pub fn request(&self) -> &'static str {
        use Operation::{BatchGet, BatchSet, Get, Set};
        match (self.target, self.operation) {
            (Target::Service, Get) => "L1 Get",
            (Target::ServiceTls, _) => "L1 Get over TLS",
            (Target::ServiceToken, _) => "L1 Get over TLS with a token",
            (Target::Service, Set) => "Set",
            (Target::Service, BatchGet) => "BatchGet 100, L1",
            (Target::Service | Target::SmallL1, BatchSet) => "BatchSet 100",
            (Target::SmallL1, BatchGet) => "BatchGet 100, L2",
            (Target::SmallL1, _) => "L2 hit",
            (Target::Alone, _) => "Set without Redis",
            (Target::EchoCurrent, _) => "tonic echo, current_thread",
            (Target::EchoMulti, _) => "tonic echo, multi_thread",
            (Target::Redis, Get) => "Redis GET",
            (Target::Redis, Set) => "Redis SET PX",
            (Target::Redis, BatchGet) => "Redis MGET 100",
            (Target::Redis, BatchSet) => "Redis, 100 SET PX",
            (Target::Memcached, Get) => "memcached get",
            (Target::Memcached, _) => "memcached set",
        }
    }

    /// Value size as in tables.
    pub fn value(&self) -> &'static str {
        if self.size == SMALL { "100 B" } else { "4 KiB" }
    }

    pub fn distribution(&self) -> &'static str {
        match self.keys {
            Keys::Uniform => "uniform",
            Keys::Zipfian => "zipfian",
            Keys::InOrder => "in order",
        }
    }

    /// True if the row measures the service, false for floors and peers.
    pub fn is_of_service(&self) -> bool {
        self.uses_redis() || self.target == Target::Alone
    }

    /// True if the service answers by a Redis of its own.
    pub fn uses_redis(&self) -> bool {
        self.target.has_tls() || matches!(self.target, Target::Service | Target::SmallL1)
    }

    /// True if requests of the row are sent on to Redis.
    pub fn asks_redis(&self) -> bool {
        self.target == Target::SmallL1 || (self.target == Target::Service && !self.is_read())
    }

    pub fn is_read(&self) -> bool {
        matches!(self.operation, Operation::Get | Operation::BatchGet)
    }

    /// The same load on another server, with uniform keys.
    pub fn on(&self, target: Target, operation: Operation) -> Row {
        Row { target, operation, keys: Keys::Uniform, ..*self }
    }

    /// The request of Redis that does the same.
    pub fn on_redis(&self) -> Row {
        self.on(Target::Redis, self.operation)
    }

    /// Row that the service is compared with first.
    pub fn floor(&self) -> Row {
        match self.operation {
            // The same request without TLS and without a token.
            Operation::Get if self.target.has_tls() => self.on(Target::Service, Operation::Get),
            Operation::Get | Operation::Set => self.on(Target::EchoCurrent, Operation::Get),
            Operation::BatchGet | Operation::BatchSet => self.on_redis(),
        }
    }

    /// Highest ratio to [`Row::floor`] that is aimed at.
    pub fn goal(&self) -> Option<f64> {
        let shape = (self.shape.connections, self.shape.in_flight);
        match (self.target, self.operation, shape, self.size) {
            (Target::Service, Operation::Get, (8, 16), SMALL) => Some(1.2),
            (Target::Service, Operation::Get, (50, 1), SMALL) => Some(1.15),
            (Target::Service, Operation::Get, (8, 16), LARGE) => Some(1.15),
            (Target::ServiceTls | Target::ServiceToken, Operation::Get, (8, 16) | (50, 1), SMALL) => Some(1.3),
            (Target::Service, Operation::BatchGet, _, SMALL) => Some(1.0),
            (Target::Service, Operation::BatchGet, _, LARGE) => Some(0.9),
            (Target::SmallL1, Operation::Get, (8, 16), SMALL) => Some(2.5),
            (Target::Service, Operation::Set, (8, 16), SMALL) => Some(3.0),
            (Target::Alone, Operation::Set, (8, 16), SMALL) => Some(1.5),
            _ => None,
        }
        .filter(|_| self.keys == Keys::Uniform)
    }

    /// Highest ratio of the CPU in Redis to that of [`Row::on_redis`] that is aimed at.
    pub fn goal_of_redis(&self) -> Option<f64> {
        let shape = (self.shape.connections, self.shape.in_flight);
        match (self.target, self.operation, shape, self.size) {
            (Target::SmallL1, Operation::Get, (8, 16), SMALL) => Some(1.5),
            (Target::Service, Operation::Set, (8, 16), SMALL) => Some(2.0),
            _ => None,
        }
        .filter(|_| self.keys == Keys::Uniform)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}, {}", self.request(), self.shape, self.value(), self.distribution())
    }
}

const SINGLE: Shape = Shape { connections: 1, in_flight: 1 };
const MANY: Shape = Shape { connections: 50, in_flight: 1 };
pub const MULTIPLEXED: Shape = Shape { connections: 8, in_flight: 16 };
/// Shape of batches.
const BATCHES: Shape = Shape { connections: 8, in_flight: 1 };

/// Rows of the full run. Floors and peers come right before the rows that are compared with them.
pub fn full() -> Vec<Row> {
    let mut rows = Vec::new();
    for shape in [SINGLE, MANY, MULTIPLEXED] {
        for size in [SMALL, LARGE] {
            rows.extend(gets(shape, size));
            rows.extend(sets(shape, size));
        }
    }
    rows.extend([SMALL, LARGE].into_iter().flat_map(batches));
    rows
}

/// Rows of the quick run: those with a goal, and a few more.
pub fn quick() -> Vec<Row> {
    let is_zipfian = |row: &Row| row.keys == Keys::Zipfian;
    let small = gets(MANY, SMALL).into_iter().chain(gets(SINGLE, SMALL)).filter(|row| !is_zipfian(row));
    let large = gets(MULTIPLEXED, LARGE).into_iter().filter(|row| !is_zipfian(row) && row.target != Target::SmallL1);
    let mut rows = gets(MULTIPLEXED, SMALL);
    rows.extend(small.filter(|row| row.target != Target::SmallL1).chain(large));
    rows.extend(sets(MULTIPLEXED, SMALL).into_iter().filter(|row| !is_zipfian(row)));
    rows.extend(batches(SMALL).into_iter().filter(|row| !is_zipfian(row)));
    let batch = Row {
        target: Target::Service,
        operation: Operation::BatchGet,
        shape: BATCHES,
        size: LARGE,
        keys: Keys::Uniform,
    };
    rows.extend([batch.floor(), batch]);
    rows
}

fn gets(shape: Shape, size: usize) -> Vec<Row> {
    let get = Row { target: Target::Service, operation: Operation::Get, shape, size, keys: Keys::Uniform };
    let peers = [Target::EchoCurrent, Target::EchoMulti, Target::Redis, Target::Memcached];
    let mut rows: Vec<Row> = peers.into_iter().map(|target| Row { target, ..get }).collect();
    // A small L1 would hold the keys that a zipfian load requests most.
    rows.extend([get, Row { keys: Keys::Zipfian, ..get }, Row { target: Target::SmallL1, ..get }]);
    if size == SMALL && shape != SINGLE {
        rows.extend([Target::ServiceTls, Target::ServiceToken].map(|target| Row { target, ..get }));
    }
    rows
}

fn sets(shape: Shape, size: usize) -> Vec<Row> {
    let set = Row { target: Target::Service, operation: Operation::Set, shape, size, keys: Keys::Uniform };
    let targets = [Target::Redis, Target::Memcached, Target::Service, Target::Alone];
    let mut rows: Vec<Row> = targets.into_iter().map(|target| Row { target, ..set }).collect();
    rows.push(Row { keys: Keys::Zipfian, ..set });
    rows
}

fn batches(size: usize) -> Vec<Row> {
    let row = |target, operation| Row { target, operation, shape: BATCHES, size, keys: Keys::Uniform };
    let read = row(Target::Service, Operation::BatchGet);
    vec![
        row(Target::Redis, Operation::BatchGet),
        read,
        Row { keys: Keys::Zipfian, ..read },
        row(Target::SmallL1, Operation::BatchGet),
        row(Target::Redis, Operation::BatchSet),
        row(Target::Service, Operation::BatchSet),
    ]
}

/// Leaves the rows of the service whose names contain `filter`, with their floors and peers.
pub fn filtered(rows: &[Row], filter: &str) -> Vec<Row> {
    let wanted = |row: &Row| row.to_string().to_lowercase().contains(&filter.to_lowercase());
    let chosen: Vec<Row> = rows.iter().copied().filter(|row| wanted(row)).collect();
    let needed = |row: &Row| {
        let beside = [Target::EchoMulti, Target::Memcached];
        chosen.iter().filter(|chosen| chosen.is_of_service()).any(|chosen| {
            let others = beside
                .into_iter()
                .flat_map(|target| [chosen.on(target, Operation::Get), chosen.on(target, Operation::Set)]);
            *row == chosen.floor() || *row == chosen.on_redis() || others.into_iter().any(|other| *row == other)
        })
    };
    rows.iter().copied().filter(|row| chosen.contains(row) || needed(row)).collect()
}
