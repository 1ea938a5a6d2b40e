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

/// Least time between two looks at what the name resolves to. gRPC's is 30 s, and a rollout of
/// replicas that start as fast as these takes that.
const RESOLUTION: Duration = Duration::from_secs(1);
/// Pause after an address that could not be reached, and longest time to reach one.
const REST: Duration = Duration::from_millis(300);

/// What a name resolves to, as a cluster's DNS has it.
#[derive(Clone, Default)]
pub struct Name {
    places: Arc<Mutex<Vec<Place>>>,
    pub tally: Arc<Tally>,
}

/// A replica, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub replica: u8,
    pub address: SocketAddr,
}

/// What callers of a name had to do.
#[derive(Default)]
pub struct Tally {
    /// Calls that failed, whatever was tried, or in a way that is not tried again. Not those whose
    /// own deadline passed.
    failed: Mutex<Vec<Code>>,
    /// Why calls were tried again, and how often.
    retried: Mutex<BTreeMap<&'static str, usize>>,
    /// How often each replica answered.
    answers: Mutex<BTreeMap<u8, usize>>,
}

/// When a call fails, and what is tried before.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    timeout: Duration,
    attempts: u32,
    first_backoff: Duration,
    longest_backoff: Duration,
    multiplier: f64,
}

/// One caller. Its calls follow one another.
#[derive(Clone)]
pub struct Balanced(Arc<Caller>);

struct Caller {
    name: Name,
    policy: Policy,
    pool: tokio::sync::Mutex<Pool>,
    answered_by: AtomicU8,
}

/// The connections of a caller.
#[derive(Default)]
struct Pool {
    resolved: Option<Instant>,
    /// An address was lost, or not reached: another look at the name may help.
    in_doubt: bool,
    ways: Vec<Way>,
    next: usize,
}

/// The way to one address.
struct Way {
    place: Place,
    wire: Option<Wire>,
    rests_until: Option<Instant>,
}

type Failure = Box<dyn Error + Send + Sync>;

// === impl Name ===

impl Name {
    /// From now on it resolves to `place`, too.
    pub fn gains(&self, place: Place) {
        self.places.lock().unwrap().push(place);
    }

    /// From now on it does not resolve to `replica` any more.
    pub fn loses(&self, replica: u8) {
        self.places.lock().unwrap().retain(|place| place.replica != replica);
    }

    fn resolve(&self) -> Vec<Place> {
        self.places.lock().unwrap().clone()
    }
}

// === impl Tally ===

impl Tally {
    /// Calls that failed.
    pub fn failed(&self) -> Vec<Code> {
        self.failed.lock().unwrap().clone()
    }

    /// Why calls were tried again, and how often.
    pub fn retried(&self) -> BTreeMap<&'static str, usize> {
        self.retried.lock().unwrap().clone()
    }

    /// How often a replica answered.
    pub fn answers_of(&self, replica: u8) -> usize {
        self.answers.lock().unwrap().get(&replica).copied().unwrap_or_default()
    }

    fn again(&self, why: &'static str) {
        *self.retried.lock().unwrap().entry(why).or_default() += 1;
    }

    fn fails(&self, code: Code) {
        if !matches!(code, Code::Ok | Code::DeadlineExceeded) {
            self.failed.lock().unwrap().push(code);
        }
    }
}

// === impl Policy ===

impl Policy {
    /// What the documentation tells users to configure for every method that ends.
    pub fn of_the_docs() -> Policy {
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

    /// The replica that answered last.
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
                        name.tally.fails(status.map_or(Code::Ok, |status| status.code()));
                        return Ok(response);
                    }
                },
                Err(why) => why,
            };
            if attempt == policy.attempts {
                name.tally.fails(Code::Unavailable);
                return Err(Status::unavailable(why).into());
            }
            name.tally.again(why);
            sleep(backoff.mul_f64(rand::random())).await;
            backoff = backoff.mul_f64(policy.multiplier).min(policy.longest_backoff);
        }
        unreachable!("attempts are bounded")
    }

    /// One attempt. What failed before there was a status is UNAVAILABLE to gRPC, whatever it was.
    async fn attempt(&self, parts: &Parts, body: &Bytes) -> Result<Response<Body>, &'static str> {
        let (place, mut wire) = self.0.pool.lock().await.next(&self.0.name).await.ok_or("unreachable")?;
        let request = Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
        let response = wire.call(request).await.map_err(|error| why(&error))?;
        self.0.answered_by.store(place.replica, Ordering::Relaxed);
        *self.0.name.tally.answers.lock().unwrap().entry(place.replica).or_default() += 1;
        Ok(response.map(Body::new))
    }
}

/// Whether the server may have begun with a request that failed in this way.
fn why(error: &hyper::Error) -> &'static str {
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
    /// The next address in turn that can be reached.
    async fn next(&mut self, name: &Name) -> Option<(Place, Wire)> {
        self.look(name);
        for _ in 0..self.ways.len() {
            self.next = (self.next + 1) % self.ways.len();
            let way = &mut self.ways[self.next];
            match way.open().await {
                Some(wire) => return Some((way.place, wire)),
                None => self.in_doubt = true,
            }
        }
        None
    }

    /// Lets go of connections that were asked to go, and looks at the name when that may help.
    fn look(&mut self, name: &Name) {
        for way in &mut self.ways {
            if way.wire.as_ref().is_some_and(|wire| !wire.is_open()) {
                way.wire = None;
                self.in_doubt = true;
            }
        }
        let recently = self.resolved.is_some_and(|at| at.elapsed() < RESOLUTION);
        if self.resolved.is_some() && (recently || !self.in_doubt) {
            return;
        }
        (self.resolved, self.in_doubt) = (Some(Instant::now()), false);
        let mut before = std::mem::take(&mut self.ways);
        for place in name.resolve() {
            let known = before.iter().position(|way| way.place == place);
            let way = known.map(|known| before.swap_remove(known));
            self.ways.push(way.unwrap_or(Way { place, wire: None, rests_until: None }));
        }
    }
}

// === impl Way ===

impl Way {
    /// Its connection, made now if there is none and it does not rest.
    async fn open(&mut self) -> Option<Wire> {
        if self.wire.is_none() && self.rests_until.is_none_or(|until| until <= Instant::now()) {
            let reached = timeout(REST, Wire::try_connect(self.place.address)).await;
            self.wire = reached.ok().and_then(Result::ok);
            self.rests_until = self.wire.is_none().then(|| Instant::now() + REST);
        }
        self.wire.clone()
    }
}
