//! Limits of the server: deadlines, load, connections, peers without gRPC.

use std::time::Duration;

use http::{Request, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;
use twintier::pb;

use crate::harness::{
    Answer as _, Class, Direction, Proxy, Redis, Refusal as _, Replica, WAIT_TIMEOUT, Wire, connect_from, eventually,
    set_request, within,
};

fn strong(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), consistency: pb::Consistency::Strong.into(), ..Default::default() }
}

fn timed<T>(message: T, timeout: &'static str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

/// Long timeouts, so that only the deadline ends a call to a frozen Redis.
const LONG_TIMEOUTS: &[(&str, &str)] =
    &[("redis.read_timeout", "30s"), ("redis.write_timeout", "30s"), ("redis.unresponsive_after", "30s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_deadline_returns_deadline_exceeded() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, LONG_TIMEOUTS).await;
    let mut client = Wire::connect(replica.address).await.client();
    client.get(timed(strong("k"), "10S")).await.unwrap();
    redis.freeze();
    let deadline = Duration::from_millis(60);
    for round in 0..10 {
        let begun = Instant::now();
        let refusal = within(deadline, client.get(timed(strong("k"), "60m"))).await.unwrap_err();
        assert_eq!(refusal.code(), Code::DeadlineExceeded, "get {round}: {refusal:?}");
        assert_eq!(refusal.reason(), "DEADLINE_EXCEEDED");
        let refusal = within(deadline, client.set(timed(set_request("k", "v"), "60m"))).await.unwrap_err();
        assert_eq!(refusal.code(), Code::DeadlineExceeded, "set {round}: {refusal:?}");
        assert!(begun.elapsed() > Duration::from_millis(115), "too early: {:?}", begun.elapsed());
    }
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_deadline_gets_the_servers() {
    let redis = Redis::start().await;
    let mut settings = LONG_TIMEOUTS.to_vec();
    settings.push(("server.max_deadline", "200ms"));
    let replica = Replica::on(&redis, &settings).await;
    let mut client = Wire::connect(replica.address).await.client();
    redis.freeze();
    let asked_for_more = timed(strong("k"), "10S");
    let refusal = within(Duration::from_secs(3), client.get(strong("k"))).await.unwrap_err();
    assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal:?}");
    let refusal = within(Duration::from_secs(3), client.get(asked_for_more)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal:?}");
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_strong_get_and_a_write_in_time() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, LONG_TIMEOUTS).await;
    let mut client = Wire::connect(replica.address).await.client();
    client.get(timed(strong("k"), "10S")).await.unwrap();
    redis.freeze();
    let limit = Duration::from_secs(3);
    for _ in 0..5 {
        for refusal in [
            within(limit, client.get(timed(strong("k"), "60m"))).await.unwrap_err(),
            within(limit, client.set(timed(set_request("k", "v"), "60m"))).await.unwrap_err(),
        ] {
            assert!(matches!(refusal.code(), Code::DeadlineExceeded | Code::Unavailable), "{refusal:?}");
        }
    }
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_an_ordinary_get_in_time() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, LONG_TIMEOUTS).await;
    let mut client = Wire::connect(replica.address).await.client();
    redis.freeze();
    let get = pb::GetRequest { key: "k".into(), ..Default::default() };
    match within(Duration::from_secs(3), client.get(timed(get, "100m"))).await {
        Ok(answer) => assert_eq!(answer.into_inner().miss(), Some(pb::MissReason::Unavailable)),
        Err(refusal) => assert_eq!(refusal.code(), Code::DeadlineExceeded),
    }
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_beyond_the_limit_is_shed_with_retry_info() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let settings = [("redis.url", proxy.url()), ("server.max_in_flight", "1".into())];
    let settings: Vec<_> =
        settings.iter().map(|(path, value)| (*path, value.as_str())).chain(LONG_TIMEOUTS.to_vec()).collect();
    let replica = Replica::start(&settings).await;
    replica.wait_until_proven().await;
    proxy.stall(Class::Commands, Direction::ToClient);
    let mut first = replica.client.clone();
    let slow = tokio::spawn(async move {
        loop {
            match first.get(strong("k")).await {
                // The check below used the only slot at this moment.
                Err(refusal) if refusal.code() == Code::ResourceExhausted => {}
                answer => return answer,
            }
        }
    });
    let mut refused = None;
    eventually("a second call is refused", async || {
        refused = replica.client.clone().stats(pb::StatsRequest::default()).await.err();
        refused.is_some()
    })
    .await;
    let get = pb::GetRequest { key: "k".into(), ..Default::default() };
    assert_eq!(replica.try_get(get).await.unwrap_err().code(), Code::ResourceExhausted);
    let refusal = refused.unwrap();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert_eq!(refusal.reason(), "LIMIT_REACHED");
    assert!(refusal.message().contains("requests in flight"), "{}", refusal.message());
    assert!(refusal.retry_delay().is_some());
    proxy.resume(Class::Commands, Direction::ToClient);
    within(Duration::from_secs(10), slow).await.unwrap().unwrap();
    eventually("a slot is free again", async || {
        let stats = replica.client.clone().stats(pb::StatsRequest::default()).await;
        stats.is_ok_and(|stats| stats.into_inner().replica.unwrap().shed > 0)
    })
    .await;
}

async fn call(wire: &mut Wire, path: &'static str) -> http::HeaderMap {
    use tower_service::Service as _;
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let request = Request::post(Uri::from_static(path)).header("content-type", "application/grpc");
    let request = request.header("x-request-id", "r-17").header("te", "trailers").body(tonic::body::Body::empty());
    wire.call(request.unwrap()).await.unwrap().headers().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_method_is_unimplemented() {
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    for path in ["/twintier.v1.CacheService/Nothing", "/twintier.v1.Nothing/Get", "/", "/nothing"] {
        let headers = call(&mut wire, path).await;
        assert_eq!(headers["grpc-status"], "12", "{path}");
        let message = tonic::Status::from_header_map(&headers).unwrap().message().to_owned();
        let named = match path {
            "/twintier.v1.CacheService/Nothing" => "\"Nothing\" of service \"twintier.v1.CacheService\"",
            "/twintier.v1.Nothing/Get" => "\"Get\" of service \"twintier.v1.Nothing\"",
            other => &format!("unknown path {other:?}"),
        };
        assert!(message.contains(named), "{path}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_comes_back() {
    let replica = Replica::start(&[]).await;
    let mut request = tonic::Request::new(set_request("k", "v"));
    request.metadata_mut().insert("x-request-id", "r-17".parse().unwrap());
    let response = replica.client.clone().set(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "r-17");
    let mut request = tonic::Request::new(set_request("", "v"));
    request.metadata_mut().insert("x-request-id", "r-18".parse().unwrap());
    let refusal = replica.client.clone().set(request).await.unwrap_err();
    assert_eq!(refusal.metadata().get("x-request-id").unwrap(), "r-18");
}

/// Bytes that the server sends until it closes the connection.
async fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut words = Vec::new();
    within(WAIT_TIMEOUT, stream.read_to_end(&mut words)).await.expect("no reset");
    words
}

async fn get_on(wire: &Wire) -> Result<pb::GetResponse, tonic::Status> {
    let get = pb::GetRequest { key: "k".into(), ..Default::default() };
    within(WAIT_TIMEOUT, wire.client().get(get)).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed() {
    let replica = Replica::start(&[("server.max_connections", "2")]).await;
    replica.set("k", "v").await;
    let second = Wire::connect(replica.address).await;
    assert!(get_on(&second).await.unwrap().is("v"));
    let mut third = TcpStream::connect(replica.address).await.unwrap();
    assert_eq!(read_to_close(&mut third).await, b"");
    assert!(replica.get("k").await.is("v") && get_on(&second).await.unwrap().is("v"));
    drop(second);
    eventually("the slot is free", async || {
        let Ok(wire) = Wire::try_connect(replica.address).await else { return false };
        get_on(&wire).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_use_all_connections() {
    let replica = Replica::start(&[("server.max_connections", "8")]).await;
    replica.set("k", "v").await;
    // The replica's own client uses one of the six connections that an address may have by default.
    let mut wires = Vec::new();
    for _ in 0..5 {
        let wire = Wire::connect_from(1, replica.address).await;
        assert!(get_on(&wire).await.unwrap().is("v"));
        wires.push(wire);
    }
    for _ in 0..4 {
        let mut refused = TcpStream::connect(replica.address).await.unwrap();
        assert_eq!(read_to_close(&mut refused).await, b"");
    }
    let other = Wire::connect_from(2, replica.address).await;
    assert!(get_on(&other).await.unwrap().is("v"));
    for wire in &wires {
        assert!(get_on(wire).await.unwrap().is("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_closed_for_active_ones() {
    let settings = [("server.max_connections", "8"), ("server.first_byte_timeout", "5m")];
    let replica = Replica::start(&settings).await;
    replica.set("k", "v").await;
    let mut silent = Vec::new();
    for n in 0..7 {
        silent.push(connect_from(2 + n / 4, replica.address).await);
    }
    eventually("the connections are counted", async || replica.stats().await.replica.unwrap().connections == 8).await;
    let mut wires = Vec::new();
    for _ in 0..5 {
        let wire = Wire::connect_from(1, replica.address).await;
        assert!(get_on(&wire).await.unwrap().is("v"));
        wires.push(wire);
    }
    // The connections of the peer with the most were closed first, and the oldest of them before
    // the others.
    assert_eq!(read_to_close(&mut silent[0]).await, b"");
    for wire in &wires {
        assert!(get_on(wire).await.unwrap().is("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_closed() {
    let replica = Replica::start(&[("server.first_byte_timeout", "300ms")]).await;
    let unhurried = Replica::start(&[("server.first_byte_timeout", "5m")]).await;
    let mut tolerated = TcpStream::connect(unhurried.address).await.unwrap();
    let begun = Instant::now();
    let mut silent = TcpStream::connect(replica.address).await.unwrap();
    let mut halting = TcpStream::connect(replica.address).await.unwrap();
    halting.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    assert_eq!(read_to_close(&mut silent).await, b"");
    assert!(begun.elapsed() > Duration::from_millis(250));
    assert_eq!(read_to_close(&mut halting).await, b"");
    // The same connection stays open at a server with a longer limit.
    let open = timeout(Duration::from_millis(10), tolerated.read(&mut [0])).await;
    assert!(open.is_err(), "{open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_client_gets_the_expected_protocol() {
    let replica = Replica::start(&[]).await;
    let mut stream = TcpStream::connect(replica.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: somebody\r\n\r\n").await.unwrap();
    let words = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    let (head, body) = words.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 426 "), "{words}");
    for header in ["upgrade: h2c", "connection: upgrade, close", &format!("content-length: {}", body.len())] {
        assert!(head.lines().any(|line| line == header), "{header} is missing: {words}");
    }
    assert!(body.contains("gRPC"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_one_connection_does_not_affect_others() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    for garbage in [&[0xff; 4096][..], &[0; 24], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaa"] {
        for preface in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut stream = TcpStream::connect(replica.address).await.unwrap();
            let _ = stream.write_all(preface).await;
            let _ = stream.write_all(garbage).await;
            read_to_close(&mut stream).await;
            assert!(replica.get("k").await.is("v"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_closed_without_losing_a_call() {
    let replica = Replica::start(&[("server.max_connection_age", "1s")]).await;
    replica.set("k", "v").await;
    let end = Instant::now() + Duration::from_millis(2500);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = replica.client.clone();
        calls.spawn(async move {
            while Instant::now() < end {
                let get = pb::GetRequest { key: "k".into(), ..Default::default() };
                match client.get(get).await {
                    Ok(answer) => assert!(answer.into_inner().is("v")),
                    // The client refuses a call itself if it learns of the end of the connection
                    // before it sends the call.
                    Err(refusal) => {
                        let words = format!("{refusal:?}");
                        let unsent = ["GoAway(b\"\", NO_ERROR", "hyper::Error(Canceled"];
                        assert!(unsent.iter().any(|unsent| words.contains(unsent)), "{words}");
                    }
                }
            }
        });
    }
    calls.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_outlives_the_age_of_its_connection() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let mut settings = LONG_TIMEOUTS.to_vec();
    settings.push(("server.max_connection_age", "1s"));
    let replica = Replica::connected_to(&proxy.url(), &settings).await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    let wire = Wire::connect(replica.address).await;
    let connected = Instant::now();
    wire.client().get(strong("k")).await.unwrap();
    proxy.stall(Class::Commands, Direction::ToClient);
    let mut client = wire.client();
    let slow = tokio::spawn(async move { client.get(strong("k")).await });
    eventually("the connection reached its age", async || connected.elapsed() > Duration::from_millis(1500)).await;
    assert!(!slow.is_finished());
    proxy.resume(Class::Commands, Direction::ToClient);
    assert!(within(Duration::from_secs(5), slow).await.unwrap().unwrap().into_inner().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_deadline_is_refused_without_effect() {
    let replica = Replica::start(&[]).await;
    replica.set("k", "v").await;
    let mut client = Wire::connect(replica.address).await.client();
    for malformed in ["1.5S", "10", "-1S", "123456789m", "1x"] {
        let refusal = client.set(timed(set_request("k", "new"), malformed)).await.unwrap_err();
        refusal.assert_violations(&[("grpc-timeout", &format!("was {malformed:?}"))]);
        let watch = client.watch(timed(pb::WatchRequest::default(), malformed)).await.unwrap_err();
        watch.assert_violations(&[("grpc-timeout", "eight digits and a unit")]);
    }
    assert!(replica.get("k").await.is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_message_is_a_client_error() {
    let replica = Replica::start(&[]).await;
    let mut wire = Wire::connect(replica.address).await;
    let headers = call(&mut wire, "/twintier.v1.CacheService/Get").await;
    let refusal = tonic::Status::from_header_map(&headers).unwrap();
    refusal.assert_violations(&[("request", "must be one")]);
    assert!(refusal.message().starts_with("invalid request: request must be one"), "{}", refusal.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_ends_at_its_limit() {
    use tower_service::Service as _;
    let replica = Replica::start(&[("server.max_metadata_size", "32KiB")]).await;
    let mut wire = Wire::connect(replica.address).await;
    for (size, status) in [(30 << 10, 200), (33 << 10, 431)] {
        std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
        let request = Request::post("/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
        let request = request.header("baggage", "x".repeat(size)).body(tonic::body::Body::empty()).unwrap();
        assert_eq!(wire.call(request).await.unwrap().status().as_u16(), status, "{size} bytes");
    }
}
