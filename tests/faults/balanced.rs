//! A client as docs/rolling-updates.md recommends it.
//!
//! Round robin over every address of a name, a deadline on every call, bounded retries of
//! UNAVAILABLE, and no call on a connection after GOAWAY. Deadlines and retries are those of its
//! service config.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::harness::Wire;

/// Shortest time between two resolutions of the name. In gRPC it is 30 s, but these replicas start
/// faster than that.
const MIN_RESOLUTION_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after an address that could not be reached, and longest time to reach one.
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// A name and the addresses that it resolves to, like the DNS of a cluster.
#[derive(Clone, Default)]
pub struct Name {
    places: Arc<Mutex<Vec<Place>>>,
    pub tally: Arc<Tally>,
}

/// A replica and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub replica: u8,
    pub address: SocketAddr,
}

/// Counts of failures, retries and answers of a name's callers.
#[derive(Default)]
pub struct Tally {
    /// Calls that failed after all retries, or with a code that is not retried. Without calls whose
    /// own deadline passed.
    failed: Mutex<Vec<Code>>,
    /// Number of retries, by reason.
    retried: Mutex<BTreeMap<&'static str, usize>>,
    /// Number of answers of each replica.
    answers: Mutex<BTreeMap<u8, usize>>,
}

/// Deadline and retries of a call.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    timeout: Duration,
    attempts: u32,
    first_backoff: Duration,
    longest_backoff: Duration,
    multiplier: f64,
}

/// One caller. It makes one call at a time.
#[derive(Clone)]
pub struct Balanced(Arc<Caller>);

struct Caller {
    name: Name,
    policy: Policy,
    pool: tokio::sync::Mutex<Pool>,
    answered_by: AtomicU8,
}

/// Connections of a caller.
#[derive(Default)]
struct Pool {
    resolved: Option<Instant>,
    /// True if an address was lost or could not be reached, so that the name should be resolved
    /// again.
    must_resolve: bool,
    ways: Vec<Way>,
    next: usize,
}

/// Connection to one address.
struct Way {
    place: Place,
    wire: Option<Wire>,
    paused_until: Option<Instant>,
}

type Failure = Box<dyn Error + Send + Sync>;

// === impl Name ===

impl Name {
    /// Adds `place` to the addresses.
    pub fn add(&self, place: Place) {
        self.places.lock().unwrap().push(place);
    }

    /// Removes the address of `replica`.
    pub fn remove_replica(&self, replica: u8) {
        self.places.lock().unwrap().retain(|place| place.replica != replica);
    }

    fn resolve(&self) -> Vec<Place> {
        self.places.lock().unwrap().clone()
    }
}

// === impl Tally ===

impl Tally {
    /// Codes of the calls that failed.
    pub fn failed(&self) -> Vec<Code> {
        self.failed.lock().unwrap().clone()
    }

    /// Number of retries, by reason.
    pub fn retried(&self) -> BTreeMap<&'static str, usize> {
        self.retried.lock().unwrap().clone()
    }

    /// Number of answers of a replica.
    pub fn answers_of(&self, replica: u8) -> usize {
        self.answers.lock().unwrap().get(&replica).copied().unwrap_or_default()
    }

    fn count_retry(&self, why: &'static str) {
        *self.retried.lock().unwrap().entry(why).or_default() += 1;
    }

    fn count_failure(&self, code: Code) {
        if !matches!(code, Code::Ok | Code::DeadlineExceeded) {
            self.failed.lock().unwrap().push(code);
        }
    }
}

// === impl Policy ===

impl Policy {
    /// The service config that the documentation recommends for every method that ends.
    pub fn documented() -> Policy {
        let page = include_str!("../../docs/rolling-updates.md");
        let block = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let config: serde_json::Value = serde_json::from_str(block).unwrap();
        assert_eq!(config["loadBalancingConfig"], serde_json::json!([{"round_robin": {}}]));
        let method = &config["methodConfig"][0];
        let retries = &method["retryPolicy"];
        assert_eq!(retries["retryableStatusCodes"], serde_json::json!(["UNAVAILABLE"]));
        let seconds = |value: &serde_json::Value| {
            Duration::from_secs_f64(value.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap())
        };
        Policy {
            timeout: seconds(&method["timeout"]),
            attempts: retries["maxAttempts"].as_u64().unwrap() as u32,
            first_backoff: seconds(&retries["initialBackoff"]),
            longest_backoff: seconds(&retries["maxBackoff"]),
            multiplier: retries["backoffMultiplier"].as_f64().unwrap(),
        }
    }
}

// === impl Balanced ===

impl Balanced {
    pub fn over(name: &Name, policy: Policy) -> Balanced {
        let (pool, answered_by) = (tokio::sync::Mutex::default(), AtomicU8::default());
        Balanced(Arc::new(Caller { name: name.clone(), policy, pool, answered_by }))
    }

    /// Number of the replica that answered last.
    pub fn answered_by(&self) -> u8 {
        self.0.answered_by.load(Ordering::Relaxed)
    }

    pub async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let Caller { name, policy, .. } = &*self.0;
        let deadline = HeaderValue::from_str(&format!("{}m", policy.timeout.as_millis()))?;
        parts.headers.entry("grpc-timeout").or_insert(deadline);
        let mut backoff = policy.first_backoff;
        for attempt in 1.. {
            let why = match self.attempt(&parts, &body).await {
                Ok(response) => match Status::from_header_map(response.headers()) {
                    Some(status) if status.code() == Code::Unavailable && attempt < policy.attempts => "answered",
                    status => {
                        name.tally.count_failure(status.map_or(Code::Ok, |status| status.code()));
                        return Ok(response);
                    }
                },
                Err(why) => why,
            };
            if attempt == policy.attempts {
                name.tally.count_failure(Code::Unavailable);
                return Err(Status::unavailable(why).into());
            }
            name.tally.count_retry(why);
            sleep(backoff.mul_f64(rand::random())).await;
            backoff = backoff.mul_f64(policy.multiplier).min(policy.longest_backoff);
        }
        unreachable!("attempts are bounded")
    }

    /// Makes one attempt. A failure without a status is UNAVAILABLE to gRPC, whatever its cause.
    async fn attempt(&self, parts: &Parts, body: &Bytes) -> Result<Response<Body>, &'static str> {
        let (place, mut wire) = self.0.pool.lock().await.next(&self.0.name).await.ok_or("unreachable")?;
        let request = Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
        let response = wire.call(request).await.map_err(|error| retry_reason(&error))?;
        self.0.answered_by.store(place.replica, Ordering::Relaxed);
        *self.0.name.tally.answers.lock().unwrap().entry(place.replica).or_default() += 1;
        Ok(response.map(Body::new))
    }
}

/// Reason of a failure, which tells if the server may have started the request.
fn retry_reason(error: &hyper::Error) -> &'static str {
    let cause = format!("{error:?}");
    if error.is_canceled() || error.is_closed() {
        "not sent"
    } else if cause.contains("GoAway") && cause.contains("NO_ERROR") || cause.contains("REFUSED_STREAM") {
        "refused"
    } else {
        "cut"
    }
}

// === impl Pool ===

impl Pool {
    /// The next reachable address, in turn.
    async fn next(&mut self, name: &Name) -> Option<(Place, Wire)> {
        self.refresh_addresses(name);
        for _ in 0..self.ways.len() {
            self.next = (self.next + 1) % self.ways.len();
            let way = &mut self.ways[self.next];
            match way.open().await {
                Some(wire) => return Some((way.place, wire)),
                None => self.must_resolve = true,
            }
        }
        None
    }

    /// Drops connections that received GOAWAY, and resolves the name if that may help.
    fn refresh_addresses(&mut self, name: &Name) {
        for way in &mut self.ways {
            if way.wire.as_ref().is_some_and(|wire| !wire.is_open()) {
                way.wire = None;
                self.must_resolve = true;
            }
        }
        let recently = self.resolved.is_some_and(|at| at.elapsed() < MIN_RESOLUTION_INTERVAL);
        if self.resolved.is_some() && (recently || !self.must_resolve) {
            return;
        }
        (self.resolved, self.must_resolve) = (Some(Instant::now()), false);
        let mut before = std::mem::take(&mut self.ways);
        for place in name.resolve() {
            let known = before.iter().position(|way| way.place == place);
            let way = known.map(|known| before.swap_remove(known));
            self.ways.push(way.unwrap_or(Way { place, wire: None, paused_until: None }));
        }
    }
}

// === impl Way ===

impl Way {
    /// The connection. Opens one if there is none, except during a pause.
    async fn open(&mut self) -> Option<Wire> {
        if self.wire.is_none() && self.paused_until.is_none_or(|until| until <= Instant::now()) {
            let reached = timeout(RECONNECT_PAUSE, Wire::try_connect(self.place.address)).await;
            self.wire = reached.ok().and_then(Result::ok);
            self.paused_until = self.wire.is_none().then(|| Instant::now() + RECONNECT_PAUSE);
        }
        self.wire.clone()
    }
}
