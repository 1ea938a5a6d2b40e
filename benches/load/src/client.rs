//! Closed-loop client: each slot sends its next request when the answer to the last one has come.
//! One thread serves all connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::dialect::{Dialect, Events};
use crate::keys::Sequence;
use crate::plan::{Operation, Shape};
use crate::tls::{Certificate, Session};

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Maximum duration of a measurement that waits for more answers, as a multiple of its time.
const MOST_EXTENSION: u32 = 5;
const BUFFER: usize = 256 << 10;

/// Bounds of a run.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Time before the measurement.
    pub warm_up: Duration,
    pub time: Duration,
    /// Minimum number of answers. The measurement goes on after its time until it has them.
    pub enough: u64,
    /// Most requests, those of the warm-up included.
    pub requests: u64,
}

/// Result of a run.
pub struct Measured {
    pub requests: u64,
    pub time: Duration,
    /// Nanoseconds from sending a request to reading its answer, sorted.
    pub latencies: Vec<u32>,
    /// Entries that the service read from Redis.
    pub from_redis: u64,
    pub wrong: u64,
    /// Bytes of the last answer.
    pub bytes: usize,
}

/// Moment of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Begin,
    End,
}

/// A load before it runs.
pub struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    operation: Operation,
    keys: Sequence,
    limits: Limits,
    requested: u64,
    outstanding: usize,
    is_over: bool,
    measured: Measured,
}

struct Connection {
    stream: TcpStream,
    tls: Option<Session>,
    dialect: Box<dyn Dialect>,
    /// Bytes of an answer that is not complete.
    input: Vec<u8>,
    output: Vec<u8>,
    waits_to_write: bool,
    /// Keys and start of the request in each slot.
    keys: Vec<Vec<u32>>,
    requested_at: Vec<Instant>,
}

impl Load {
    /// Connects to the server.
    pub fn new(
        address: SocketAddr,
        shape: Shape,
        operation: Operation,
        keys: Sequence,
        dialect: impl Fn() -> Box<dyn Dialect>,
    ) -> Load {
        Load::over(|| (connect(address), None), shape, operation, keys, dialect)
    }

    /// Connects to a server with TLS.
    pub fn with_tls(
        (address, certificate): (SocketAddr, &Certificate),
        shape: Shape,
        operation: Operation,
        keys: Sequence,
        dialect: impl Fn() -> Box<dyn Dialect>,
    ) -> Load {
        let open = || {
            let mut stream = connect(address);
            let session = certificate.connect(&mut stream);
            (stream, Some(session))
        };
        Load::over(open, shape, operation, keys, dialect)
    }

    fn over(
        open: impl Fn() -> (TcpStream, Option<Session>),
        shape: Shape,
        operation: Operation,
        keys: Sequence,
        dialect: impl Fn() -> Box<dyn Dialect>,
    ) -> Load {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let connections = (0..shape.connections).map(|_| Connection::new(open(), shape.in_flight, dialect()));
        let connections: Vec<Connection> = connections.collect();
        for (index, connection) in connections.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.stream, data, epoll::EventFlags::IN).unwrap();
        }
        let limits = Limits { warm_up: Duration::ZERO, time: Duration::ZERO, enough: 0, requests: 0 };
        let measured =
            Measured { requests: 0, time: limits.time, latencies: Vec::new(), from_redis: 0, wrong: 0, bytes: 0 };
        Load { epoll, connections, operation, keys, limits, requested: 0, outstanding: 0, is_over: false, measured }
    }

    /// Runs the load, and reports the begin and the end of the measurement.
    pub fn run(mut self, limits: Limits, mut report: impl FnMut(Moment)) -> Measured {
        self.limits = limits;
        self.measured.latencies.reserve(1 << 20);
        self.start();
        self.run_until(Instant::now() + limits.warm_up);
        self.measured.latencies.clear();
        (self.measured.requests, self.measured.from_redis) = (0, 0);
        let begin = Instant::now();
        report(Moment::Begin);
        for times in 1..=MOST_EXTENSION {
            self.run_until(begin + times * limits.time);
            if self.measured.requests >= limits.enough || self.outstanding == 0 {
                break;
            }
        }
        report(Moment::End);
        self.measured.time = begin.elapsed();
        let (requests, from_redis) = (self.measured.requests, self.measured.from_redis);
        self.is_over = true;
        self.run_until(Instant::now() + PATIENCE);
        assert_eq!(self.outstanding, 0, "no answer within {PATIENCE:?}");
        (self.measured.requests, self.measured.from_redis) = (requests, from_redis);
        self.measured.latencies.truncate(requests as usize);
        self.measured.latencies.sort_unstable();
        self.measured
    }

    fn start(&mut self) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            connection.dialect.open(&mut connection.output);
            for slot in 0..connection.keys.len() {
                self.request(index, slot, Instant::now());
            }
            self.write(index);
        }
    }

    /// Serves the connections until `end`, or until no request is outstanding.
    fn run_until(&mut self, end: Instant) {
        let mut events = Vec::with_capacity(64);
        let mut buffer = vec![0; BUFFER];
        let mut last_answer = Instant::now();
        while self.outstanding > 0 {
            let now = Instant::now();
            if now >= end {
                return;
            }
            let left = (end - now).min(Duration::from_secs(1));
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(0) => assert!(last_answer.elapsed() < PATIENCE, "no answer within {PATIENCE:?}"),
                Ok(_) => last_answer = now,
                Err(error) => assert_eq!(error, rustix::io::Errno::INTR, "epoll"),
            }
            for event in events.drain(..) {
                let index = event.data.u64() as usize;
                self.read(index, &mut buffer);
                self.write(index);
            }
        }
    }

    fn request(&mut self, index: usize, slot: usize, now: Instant) {
        if self.is_over || self.requested == self.limits.requests {
            return;
        }
        self.requested += 1;
        self.outstanding += 1;
        let connection = &mut self.connections[index];
        let keys = &mut connection.keys[slot];
        match self.operation {
            Operation::BatchSet => self.keys.next_distinct(keys),
            _ => self.keys.next(self.operation.entries(), keys),
        }
        connection.requested_at[slot] = now;
        connection.dialect.request(slot, keys, &mut connection.output);
    }

    /// Reads what came, and sends the next request for each answer.
    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        loop {
            let Connection { stream, tls, .. } = &mut self.connections[index];
            let read = match tls {
                Some(tls) => tls.read(stream, buffer),
                None => stream.read(buffer),
            };
            let length = match read {
                Ok(0) => panic!("the server closed the connection"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("reading: {error}"),
            };
            let now = Instant::now();
            let mut events = self.connections[index].take(&buffer[..length]);
            self.connections[index].output.append(&mut events.output);
            for (slot, verdict) in events.answers {
                let latency = now - self.connections[index].requested_at[slot];
                self.measured.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
                self.measured.requests += 1;
                self.measured.from_redis += verdict.from_redis as u64;
                self.measured.wrong += u64::from(!verdict.is_right);
                self.measured.bytes = verdict.bytes;
                self.outstanding -= 1;
                self.request(index, slot, now);
            }
            // TLS hands out one record at a time.
            if length < buffer.len() && self.connections[index].tls.is_none() {
                return;
            }
        }
    }

    fn write(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let is_left = connection.flush();
        if is_left != connection.waits_to_write {
            connection.waits_to_write = is_left;
            let flags = if is_left { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.epoll, &connection.stream, epoll::EventData::new_u64(index as u64), flags).unwrap();
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

// === impl Connection ===

impl Connection {
    fn new((stream, tls): (TcpStream, Option<Session>), slots: usize, dialect: Box<dyn Dialect>) -> Connection {
        stream.set_nonblocking(true).unwrap();
        Connection {
            stream,
            tls,
            dialect,
            input: Vec::new(),
            output: Vec::new(),
            waits_to_write: false,
            keys: vec![Vec::new(); slots],
            requested_at: vec![Instant::now(); slots],
        }
    }

    /// Reads the answers that are complete with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Events {
        let mut events = Events::default();
        if self.input.is_empty() {
            let read = self.dialect.read(bytes, &self.keys, &mut events);
            self.input.extend_from_slice(&bytes[read..]);
        } else {
            self.input.extend_from_slice(bytes);
            let read = self.dialect.read(&self.input, &self.keys, &mut events);
            self.input.drain(..read);
        }
        events
    }

    /// Sends what the socket takes. Returns true if something is left.
    fn flush(&mut self) -> bool {
        let mut sent = 0;
        while sent < self.output.len() {
            let (stream, rest) = (&mut self.stream, &self.output[sent..]);
            let written = match &mut self.tls {
                Some(tls) => tls.write(stream, rest),
                None => stream.write(rest),
            };
            match written {
                Ok(0) => break,
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("writing: {error}"),
            }
        }
        self.output.drain(..sent);
        let is_left = self.tls.as_mut().is_some_and(|tls| tls.is_left(&mut self.stream));
        is_left || !self.output.is_empty()
    }
}
