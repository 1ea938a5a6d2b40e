//! A TCP proxy between replicas and Redis with faults per direction and class of connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Burst of a rate limit, in bytes.
const PIECE: usize = 512;
/// Burst of the rate limit of a link that all connections share, in bytes.
const SHARED_PIECE: usize = 16 * 1024;
/// Time by which a shared link may catch up after late timers.
const CATCH_UP: Duration = Duration::from_millis(10);

/// Purpose of a connection. It starts as `Commands` and becomes `Subscription` at the first
/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Commands,
    Subscription,
}

/// A direction on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Faults for the bytes of one class in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Way {
    stalled: bool,
    lossy: bool,
    latency: Duration,
    jitter: Duration,
    /// Bytes per second. Zero means no limit.
    rate: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    /// Target of new connections.
    port: u16,
    refusing: bool,
    /// Database that replaces number 0.
    database: Option<u8>,
    /// Counts resets of each class: a connection ends when the count of its class moves.
    resets: [u64; 2],
    ways: [[Way; 2]; 2],
    /// Bytes per second of all connections together in each direction. Zero means no limit.
    shared: [u32; 2],
}

/// Time at which the shared link is free again, for each direction. Connections take turns.
type Link = Arc<[Mutex<Instant>; 2]>;

/// The proxy. Stops with all its connections on drop.
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    accepting: AbortHandle,
}

type SharedClass = Arc<watch::Sender<Class>>;

impl Proxy {
    /// Starts a proxy to a port of this machine.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new(watch::Sender::new(Rules { port, ..Rules::default() }));
        let accepting = tokio::spawn(accept(listener, rules.clone())).abort_handle();
        Proxy { address, rules, accepting }
    }

    pub fn url(&self) -> String {
        super::redis::url(self.address.port())
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Holds bytes back until `resume`.
    pub fn stall(&self, class: Class, direction: Direction) {
        self.way(class, direction, |way| way.stalled = true);
    }

    /// Forwards bytes again, held ones first.
    pub fn resume(&self, class: Class, direction: Direction) {
        self.way(class, direction, |way| *way = Way::default());
    }

    /// Drops every byte.
    pub fn lose(&self, class: Class, direction: Direction) {
        self.way(class, direction, |way| way.lossy = true);
    }

    /// Delays bytes by a random time of up to `jitter`. Keeps their order.
    pub fn jitter(&self, class: Class, direction: Direction, jitter: Duration) {
        self.way(class, direction, |way| way.jitter = jitter);
    }

    /// Delays every byte.
    pub fn delay(&self, class: Class, direction: Direction, latency: Duration) {
        self.way(class, direction, |way| way.latency = latency);
    }

    /// Limits each connection to this many bytes per second.
    pub fn limit_each(&self, class: Class, direction: Direction, rate: u32) {
        self.way(class, direction, |way| way.rate = rate);
    }

    /// Replaces database 0 with this one on new connections, without the client's knowledge.
    pub fn select_database(&self, database: u8) {
        self.rules.send_modify(|rules| rules.database = Some(database));
    }

    /// Limits one direction of all connections together to this many bytes per second, in equal
    /// shares.
    pub fn limit_together(&self, direction: Direction, rate: u32) {
        self.rules.send_modify(|rules| rules.shared[direction as usize] = rate);
    }

    /// Closes every connection, and connects new ones to another port.
    pub fn redirect(&self, port: u16) {
        self.rules.send_modify(|rules| rules.port = port);
        self.reset(Class::Commands);
        self.reset(Class::Subscription);
    }

    /// Resets every connection of the class.
    pub fn reset(&self, class: Class) {
        self.rules.send_modify(|rules| rules.resets[class as usize] += 1);
    }

    /// Closes every connection, and each new one at once, until `welcome`.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| rules.refusing = true);
        self.reset(Class::Commands);
        self.reset(Class::Subscription);
    }

    /// Accepts new connections again.
    pub fn accept_again(&self) {
        self.rules.send_modify(|rules| rules.refusing = false);
    }

    fn way(&self, class: Class, direction: Direction, change: impl FnOnce(&mut Way)) {
        self.rules.send_modify(|rules| change(&mut rules.ways[class as usize][direction as usize]));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, rules: Arc<watch::Sender<Rules>>) {
    // Dropped with this task, so that the connections end with the proxy.
    let mut connections = JoinSet::new();
    let link: Link = Arc::new([Mutex::new(Instant::now()), Mutex::new(Instant::now())]);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if rules.borrow().refusing {
                    let _ = client.set_zero_linger();
                    continue;
                }
                connections.spawn(serve(client, rules.clone(), link.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, rules: Arc<watch::Sender<Rules>>, link: Link) {
    let Rules { port, resets: seen, .. } = *rules.borrow();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let class: SharedClass = Arc::new(watch::Sender::new(Class::Commands));
    // Both ends see a reset, unless the peers close the connection themselves.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pump(from_client, to_server, Direction::ToServer, class.clone(), rules.subscribe(), &link) => {}
        () = pump(from_server, to_client, Direction::ToClient, class.clone(), rules.subscribe(), &link) => {}
        () = reset(seen, class.clone(), rules.subscribe()) => {}
    }
}

async fn reset(seen: [u64; 2], class: SharedClass, mut rules: watch::Receiver<Rules>) {
    let mut class = class.subscribe();
    loop {
        let index = *class.borrow_and_update() as usize;
        if rules.borrow_and_update().resets[index] != seen[index] {
            return;
        }
        tokio::select! {
            _ = rules.changed() => {}
            _ = class.changed() => {}
        }
    }
}

/// Moves bytes until either end closes.
async fn pump(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    direction: Direction,
    class: SharedClass,
    rules: watch::Receiver<Rules>,
    link: &Link,
) {
    let (chunks, waiting) = mpsc::channel(64);
    tokio::join!(
        take(from, direction, class.clone(), rules.clone(), chunks),
        give(to, direction, class, rules, waiting, link)
    );
}

async fn take(
    mut from: OwnedReadHalf,
    direction: Direction,
    class: SharedClass,
    rules: watch::Receiver<Rules>,
    chunks: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut sniffer = Sniffer::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut bytes = buffer[..length].to_vec();
        if direction == Direction::ToServer
            && let Some(database) = rules.borrow().database
        {
            select(&mut bytes, database);
        }
        if direction == Direction::ToServer && sniffer.hears_subscribe(&bytes) {
            class.send_replace(Class::Subscription);
        }
        let way = rules.borrow().ways[*class.borrow() as usize][direction as usize];
        let latency = way.latency + way.jitter.mul_f64(rand::random());
        if chunks.send((Instant::now() + latency, bytes)).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    direction: Direction,
    class: SharedClass,
    mut rules: watch::Receiver<Rules>,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    link: &Link,
) {
    while let Some((due, bytes)) = chunks.recv().await {
        sleep_until(due).await;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let way = |rules: &Rules| rules.ways[*class.borrow() as usize][direction as usize];
            let both = |rules: &Rules| (way(rules), rules.shared[direction as usize]);
            let Ok((way, shared)) = rules.wait_for(|rules| !way(rules).stalled).await.map(|rules| both(&rules)) else {
                return;
            };
            let most = if shared == 0 { rest.len() } else { SHARED_PIECE };
            let most = if way.rate == 0 { most } else { PIECE };
            let (piece, further) = rest.split_at(rest.len().min(most));
            rest = further;
            if shared != 0 {
                take_turn(&link[direction as usize], piece.len(), shared).await;
            }
            if !way.lossy && to.write_all(piece).await.is_err() {
                return;
            }
            if way.rate != 0 {
                sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(way.rate))).await;
            }
        }
    }
}

/// Replaces the number in SELECT 0. The command arrives alone and in one piece: its client waits
/// for the answer.
fn select(bytes: &mut [u8], database: u8) {
    const COMMAND: &[u8] = b"SELECT\r\n$1\r\n0\r\n";
    if let Some(at) = bytes.windows(COMMAND.len()).position(|window| window == COMMAND) {
        bytes[at + COMMAND.len() - 3] = b'0' + database;
    }
}

/// Waits until the link has carried this many bytes.
async fn take_turn(link: &Mutex<Instant>, bytes: usize, rate: u32) {
    let mut free = link.lock().await;
    let now = Instant::now();
    let begins = (*free).max(now.checked_sub(CATCH_UP).unwrap_or(now));
    *free = begins + Duration::from_secs_f64(bytes as f64 / f64::from(rate));
    sleep_until(*free).await;
}

/// Finds the word SUBSCRIBE, also across pieces.
#[derive(Default)]
struct Sniffer(Vec<u8>);

impl Sniffer {
    fn hears_subscribe(&mut self, bytes: &[u8]) -> bool {
        const WORD: &[u8] = b"SUBSCRIBE";
        let tail = &mut self.0;
        tail.extend_from_slice(bytes);
        let found = tail.windows(WORD.len()).any(|window| window == WORD);
        let keep = tail.len().saturating_sub(WORD.len() - 1);
        tail.drain(..keep);
        found
    }
}
