//! Large values beside small ones, over a link that all connections to Redis share.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::Request;
use twintier::pb;
use twintier::pb::batch_get_item::Result as Found;

use crate::harness::{Answer as _, Direction, Proxy, Redis, Replica, set_request};

const MIB: usize = 1 << 20;
/// Bytes that the link carries in a second.
const RATE: u32 = 4 << 20;
/// A value takes four seconds on the link: twice the timeout of a read, and longer than Redis may be
/// silent. A loaded machine answers a small read in half of that.
const LARGE: usize = 16 * MIB;
const LARGE_KEYS: usize = 2;
const SMALL: usize = 1024;
const SMALL_KEYS: usize = 64;
const DEADLINE: Duration = Duration::from_secs(60);
/// Memory answers nothing here: each Get asks Redis.
const NAMESPACE: &str = "cold";

const SETTINGS: &[(&str, &str)] = &[
    ("namespaces.cold.l1", "false"),
    ("namespaces.cold.compression", "none"),
    ("l1.size", "128MiB"),
    ("redis.read_timeout", "2s"),
    ("redis.write_timeout", "2s"),
    ("redis.unresponsive_after", "2s"),
];

/// A replica whose way to Redis is a link of `RATE`.
struct Bench {
    _redis: Redis,
    proxy: Proxy,
    replica: Arc<Replica>,
}

impl Bench {
    /// Fills Redis before the link is slow.
    async fn with(value_size: &str, values: impl IntoIterator<Item = (String, usize)>) -> Bench {
        let redis = Redis::start().await;
        let proxy = Proxy::to(redis.port()).await;
        let replica = Arc::new(
            Replica::connected_to(&proxy.url(), &[&[("limits.value_size", value_size)], SETTINGS].concat()).await,
        );
        replica.wait_until_proven().await;
        let small = (0..SMALL_KEYS).map(|index| (small(index), SMALL));
        for (key, size) in small.chain(values) {
            replica.store(set(&key, size)).await.expect("stored");
        }
        Bench { _redis: redis, proxy, replica }
    }

    /// Reads small values until `large` has ended. Returns its result, and how many reads of small
    /// values hit, of how many.
    async fn read_small_beside<T>(&self, large: JoinHandle<T>) -> (T, usize, usize) {
        let (mut hits, mut all) = (0, 0);
        while !large.is_finished() {
            let found = self.replica.get_from(NAMESPACE, &small(all % SMALL_KEYS)).await;
            hits += usize::from(found.miss().is_none() && found.stale().is_none());
            all += 1;
            sleep(Duration::from_millis(2)).await;
        }
        (large.await.expect("ends"), hits, all)
    }
}

fn small(index: usize) -> String {
    format!("small-{index}")
}

fn large(index: usize) -> String {
    format!("large-{index}")
}

fn set(key: &str, size: usize) -> pb::SetRequest {
    pb::SetRequest { namespace: NAMESPACE.into(), ..set_request(key, &content(key, size)) }
}

/// A value that no other key has.
fn content(key: &str, size: usize) -> String {
    key.chars().cycle().take(size).collect()
}

fn patient<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(DEADLINE);
    request
}

/// All but some, for which the machine was too slow.
fn nearly_all(hits: usize, all: usize) {
    assert!(all >= 50 && hits * 20 >= all * 19, "{hits} hits of {all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_reads_hit_while_large_values_are_read() {
    let bench = Bench::with("16MiB", (0..LARGE_KEYS).map(|index| (large(index), LARGE))).await;
    bench.proxy.limit_together(Direction::ToClient, RATE);
    let mut client = bench.replica.client.clone();
    let reading = tokio::spawn(async move {
        for index in 0..LARGE_KEYS {
            let (key, namespace) = (large(index), NAMESPACE.to_owned());
            let request = pb::GetRequest { namespace, key: key.clone(), ..Default::default() };
            let found = client.get(patient(request)).await.expect("an answer").into_inner();
            let Some(pb::get_response::Result::Hit(hit)) = found.result else { panic!("{key}: {:?}", found.miss()) };
            assert!(*hit.value == *content(&key, LARGE).as_bytes(), "{key}: another value");
        }
    });
    let ((), hits, all) = bench.read_small_beside(reading).await;
    nearly_all(hits, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_reads_hit_while_a_large_batch_is_read() {
    const ITEMS: usize = 40;
    let bench = Bench::with("1MiB", (0..ITEMS).map(|index| (large(index), MIB / 2))).await;
    bench.proxy.limit_together(Direction::ToClient, RATE);
    let mut client = bench.replica.client.clone();
    let reading = tokio::spawn(async move {
        let (keys, namespace) = ((0..ITEMS).map(large).collect(), NAMESPACE.to_owned());
        let request = pb::BatchGetRequest { namespace, keys, ..Default::default() };
        let mut stream = client.batch_get(patient(request)).await.expect("begins").into_inner();
        let (mut hits, mut index) = (0, 0);
        while let Some(message) = stream.message().await.expect("an answer") {
            for item in message.items {
                let is_whole = |value: &[u8]| *value == *content(&large(index), MIB / 2).as_bytes();
                hits += usize::from(matches!(&item.result, Some(Found::Hit(hit)) if is_whole(&hit.value)));
                index += 1;
            }
        }
        hits
    });
    let (own, hits, all) = bench.read_small_beside(reading).await;
    assert_eq!(own, ITEMS);
    nearly_all(hits, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_reads_hit_while_large_values_are_written() {
    let bench = Bench::with("16MiB", []).await;
    bench.proxy.limit_together(Direction::ToServer, RATE);
    let mut client = bench.replica.client.clone();
    let writing = tokio::spawn(async move {
        for index in 0..LARGE_KEYS {
            let set = patient(set(&large(index), LARGE));
            client.set(set).await.unwrap_or_else(|error| panic!("{index}: {error}"));
        }
    });
    let ((), hits, all) = bench.read_small_beside(writing).await;
    nearly_all(hits, all);
    for index in 0..LARGE_KEYS {
        let found = bench.replica.get_from(NAMESPACE, &large(index)).await;
        assert!(found.miss().is_none(), "{index}: {:?}", found.miss());
    }
}

/// The number that a value begins with.
fn number(found: &pb::GetResponse) -> u64 {
    let Some(pb::get_response::Result::Hit(hit)) = &found.result else { panic!("{:?}", found.miss()) };
    let text = String::from_utf8_lossy(&hit.value);
    let number = text.split(' ').next().expect("a number");
    assert!(text.split(' ').all(|word| word == number), "parts of several values");
    number.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_grows_and_shrinks_is_never_older_than_its_token() {
    const WRITES: u64 = 150;
    let redis = Redis::start().await;
    let fleet = [Replica::on(&redis, &SETTINGS[..2]).await, Replica::on(&redis, &SETTINGS[..2]).await];
    let [writer, reader] = &fleet;
    let written = tokio::sync::watch::Sender::new((0, String::new()));
    let mut seen = written.subscribe();
    let writing = async {
        for index in 1..=WRITES {
            let size = if index % 2 == 0 { 300 * 1024 } else { SMALL };
            let value = format!("{index} ").repeat(size / 4);
            let set = pb::SetRequest { namespace: NAMESPACE.into(), ..set_request("k", value.trim_end()) };
            let token = writer.store(set).await.expect("stored").token;
            written.send_replace((index, token));
        }
    };
    let reading = async {
        loop {
            let _ = seen.wait_for(|(index, _)| *index > 0).await;
            let (least, token) = seen.borrow_and_update().clone();
            let tokens = vec![token];
            let get = pb::GetRequest { namespace: NAMESPACE.into(), key: "k".into(), tokens, ..Default::default() };
            let found = reader.try_get(get).await.expect("an answer");
            assert!(number(&found) >= least, "older than its token");
            if least == WRITES {
                return;
            }
        }
    };
    tokio::join!(writing, reading);
}
