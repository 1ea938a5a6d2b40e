//! The admin server over HTTP: probes, metrics, the dashboard and its events.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use twintier::app::App;
use twintier::config::{Config, Sources};
use twintier::shutdown::Stop;

use crate::harness::{Redis, Replica, WAIT_TIMEOUT, connect_from, eventually, free_port, within};

const ADMIN_ENABLED: &[(&str, &str)] = &[("admin.enabled", "true"), ("admin.listen", "127.0.0.1:0")];

/// A response: its head, in lower case, and its body.
struct HttpResponse {
    head: String,
    body: String,
}

impl HttpResponse {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{}", self.head))
    }

    #[track_caller]
    fn assert_header(&self, header: &str) {
        assert!(self.head.lines().any(|line| line == header), "{header}: {}", self.head);
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

async fn request_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> HttpResponse {
    request_on(TcpStream::connect(address).await.unwrap(), address, method, path, headers).await
}

async fn request_on(
    mut stream: TcpStream,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> HttpResponse {
    let host = if headers.contains("host:") { String::new() } else { format!("host: {address}\r\n") };
    let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(WAIT_TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    HttpResponse { head: head.to_lowercase(), body: body.to_owned() }
}

async fn http_get(address: SocketAddr, path: &str) -> HttpResponse {
    request_with(address, "GET", path, "").await
}

/// A stream of events.
struct Events {
    stream: TcpStream,
    read: String,
}

impl Events {
    async fn open(address: SocketAddr) -> Events {
        Events::on(TcpStream::connect(address).await.unwrap(), address).await
    }

    async fn on(mut stream: TcpStream, address: SocketAddr) -> Events {
        stream.write_all(format!("GET /events HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        let mut events = Events { stream, read: String::new() };
        let head = events.up_to("\r\n\r\n").await.expect("a head").to_lowercase();
        assert!(head.starts_with("http/1.0 200") && head.contains("content-type: text/event-stream"), "{head}");
        events
    }

    /// Reads up to `end`. `None` if the stream ended.
    async fn up_to(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((first, rest)) = self.read.split_once(end) {
                let (first, rest) = (first.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(first);
            }
            let mut buffer = [0; 65536];
            match within(WAIT_TIMEOUT, self.stream.read(&mut buffer)).await.ok()? {
                0 => return None,
                size => self.read += std::str::from_utf8(&buffer[..size]).unwrap(),
            }
        }
    }

    /// The next event: its name and its data.
    async fn next(&mut self) -> Option<(String, Value)> {
        let event = self.up_to("\n\n").await?;
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    }
}

async fn replica(settings: &[(&str, &str)]) -> (Replica, SocketAddr) {
    let replica = Replica::start(&[ADMIN_ENABLED, settings].concat()).await;
    let address = replica.admin_address();
    eventually("the replica is ready", async || http_get(address, "/readyz").await.status() == 200).await;
    (replica, address)
}

#[tokio::test]
async fn probes_succeed_on_a_ready_replica() {
    let (_replica, address) = replica(&[]).await;
    let live = http_get(address, "/livez").await;
    assert_eq!((live.status(), live.body.as_str()), (200, "ok\n"));
    let ready = http_get(address, "/readyz").await;
    assert_eq!((ready.status(), ready.body.as_str()), (200, "ready\nredis disabled\n"));
    ready.assert_header("content-type: text/plain; charset=utf-8");
    ready.assert_header("cache-control: no-store");
    let json = request_with(address, "GET", "/readyz", "accept: application/json\r\n").await;
    json.assert_header("content-type: application/json");
    assert_eq!(json.json()["ready"], true);
    assert_eq!(json.json()["redis"]["state"], "disabled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_redis_is_reported_and_leaves_replicas_ready() {
    let mut redis = Redis::start().await;
    let replica = Replica::on(&redis, ADMIN_ENABLED).await;
    let address = replica.admin_address();
    eventually("ready with Redis", async || http_get(address, "/readyz").await.body == "ready\nredis healthy\n").await;
    redis.kill9();
    eventually("the probe reports the outage", async || {
        http_get(address, "/readyz").await.body.contains("redis unavailable: ")
    })
    .await;
    assert_eq!(http_get(address, "/readyz").await.status(), 200);
    let mut events = Events::open(address).await;
    let (_, hello) = events.next().await.unwrap();
    assert_eq!(hello["now"]["redis"]["state"], "unavailable");
    eventually("the dashboard reports the outage", async || {
        let (_, tick) = events.next().await.unwrap();
        tick["findings"].as_array().unwrap().iter().any(|finding| finding["kind"] == "redis_gone")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_the_drain_until_the_replica_stops() {
    let (replica, address) = replica(&[("drain.delay", "5s")]).await;
    let mut events = Events::open(address).await;
    let draining = tokio::spawn(replica.drain());
    eventually("the replica is not ready", async || http_get(address, "/readyz").await.status() == 503).await;
    let ending = http_get(address, "/readyz").await;
    assert_eq!(ending.body, "ending: shutting down\nredis disabled\n");
    assert_eq!(http_get(address, "/livez").await.status(), 200);
    let response = request_with(address, "GET", "/readyz", "accept: application/json\r\n").await;
    assert_eq!((response.status(), response.json()["reasons"][0].as_str()), (503, Some("ending: shutting down")));
    assert!(within(WAIT_TIMEOUT, draining).await.unwrap());
    while events.next().await.is_some() {}
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_a_drain_by_command() {
    let (replica, address) = replica(&[]).await;
    let mut admin = twintier::pb::admin_service_client::AdminServiceClient::new(replica.channel.clone());
    admin.drain(twintier::pb::DrainRequest { draining: true }).await.unwrap();
    eventually("the probe names the drain", async || http_get(address, "/readyz").await.body.starts_with("drained"))
        .await;
    assert_eq!(http_get(address, "/readyz").await.status(), 503);
}

#[tokio::test]
async fn the_dashboard_is_self_contained_and_cached_by_etag() {
    let (_replica, address) = replica(&[]).await;
    let page = http_get(address, "/").await;
    assert_eq!(page.status(), 200);
    page.assert_header("content-type: text/html; charset=utf-8");
    page.assert_header("x-content-type-options: nosniff");
    page.assert_header("x-frame-options: deny");
    page.assert_header("referrer-policy: no-referrer");
    assert!(page.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{}", page.head);
    assert!(!page.head.contains("access-control-allow-origin"), "{}", page.head);
    let references =
        page.body.split("src=\"").chain(page.body.split("href=\"")).filter_map(|rest| rest.split_once('"'));
    for (reference, _) in references.filter(|(reference, _)| reference.ends_with(".js") || reference.ends_with(".css"))
    {
        assert_eq!(http_get(address, &format!("/{reference}")).await.status(), 200, "{reference}");
    }
    for path in ["/", "/page.js", "/page.css", "/charts.js", "/dom.js", "/fleet.js", "/numbers.js", "/icon.svg"] {
        let file = http_get(address, path).await;
        assert!(!file.body.contains("https://"), "{path}");
        let tag = file.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let again = request_with(address, "GET", path, &format!("if-none-match: {tag}\r\n")).await;
        assert_eq!((again.status(), again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn the_admin_server_is_read_only() {
    let (_replica, address) = replica(&[]).await;
    for path in ["/", "/livez", "/readyz", "/events"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(
                request_with(address, method, path, "content-length: 0\r\n").await.status(),
                405,
                "{method} {path}"
            );
        }
    }
    assert_eq!(request_with(address, "HEAD", "/readyz", "").await.status(), 200);
    assert_eq!(http_get(address, "/nothing").await.status(), 404);
}

#[tokio::test]
async fn a_request_with_a_foreign_host_header_is_refused_on_any_address() {
    let settings = [("admin.listen", "0.0.0.0:0"), ("admin.allowed_hosts", "[\"*.cache.svc\"]")];
    let (_replica, address) = replica(&settings).await;
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    for (host, status) in [
        ("replica.cache.svc:9090", 200),
        ("10.1.2.3:9090", 200),
        ("[::1].evil", 400),
        ("localhost\r\nhost: localhost", 400),
        ("evil.example", 421),
        ("localhost.evil.example:9090", 421),
        ("", 400),
        ("localhost:9090", 200),
        ("127.0.0.1", 200),
        ("[::1]:9090", 200),
    ] {
        let response = request_with(address, "GET", "/readyz", &format!("host: {host}\r\n")).await;
        assert_eq!(response.status(), status, "{host:?}");
    }
    for (origin, status) in [("http://evil.example", 403), ("http://replica.cache.svc", 200)] {
        let headers = format!("host: 127.0.0.1\r\norigin: {origin}\r\n");
        assert_eq!(request_with(address, "GET", "/readyz", &headers).await.status(), status, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_stream_starts_with_history_and_continues_live() {
    let (replica, address) = replica(&[]).await;
    replica.set_in("users", "k", "v").await;
    replica.get_from("users", "k").await;
    replica.get_from("users", "none").await;
    eventually("a point was recorded", async || {
        let (name, hello) = Events::open(address).await.next().await.unwrap();
        assert_eq!(name, "hello");
        let fields: Vec<_> = hello["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
        let place = |field: &str| fields.iter().position(|known| *known == field).unwrap();
        let points = hello["points"].as_array().unwrap();
        assert!(points.iter().all(|point| point.as_array().unwrap().len() == fields.len()));
        let seen = |field: &str| points.iter().any(|point| point[place(field)].as_f64() > Some(0.0));
        seen("l1") && seen("miss") && seen("sets") && !hello["namespaces"]["users"].as_array().unwrap().is_empty()
    })
    .await;
    let mut events = Events::open(address).await;
    events.next().await.unwrap();
    let (name, tick) = events.next().await.unwrap();
    assert_eq!(name, "tick");
    assert_eq!(tick["namespaces"][0]["name"], "users");
    assert_eq!(tick["redis"]["state"], "disabled");
    assert_eq!(
        (tick["l1"]["entries"].as_u64(), tick["findings"].as_array().map(Vec::len)),
        (Some(1), Some(0)),
        "{tick}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_keys_are_hashed_unless_clear_keys_are_allowed() {
    for (keys, expected) in [("hashed", None), ("clear", Some("who\\n"))] {
        let (replica, address) = replica(&[("admin.keys", keys)]).await;
        replica.set("who\n", "v").await;
        replica.get("who\n").await;
        let (_, hello) = Events::open(address).await.next().await.unwrap();
        let shown = hello["now"]["hot"][0]["key"].as_str().unwrap();
        match expected {
            Some(expected) => assert_eq!(shown, expected),
            None => {
                assert!(shown.starts_with('#') && shown.len() == 17 && !hello.to_string().contains("who"), "{shown}")
            }
        }
        assert_eq!(hello["keys"], keys);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_report_has_the_age_of_each_proof() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::on(&redis, ADMIN_ENABLED).await, Replica::on(&redis, &[]).await);
    let other_id = other.stats().await.replica.unwrap().id;
    let mut events = Events::open(one.admin_address()).await;
    eventually("both replicas are reported", async || {
        let (name, response) = events.next().await.unwrap();
        let fleet = if name == "hello" { &response["now"]["fleet"] } else { &response["fleet"] };
        let found = |own: bool| fleet.as_array().unwrap().iter().find(|replica| replica["own"] == own);
        found(true).is_some_and(|own| own["proof_age"].is_f64())
            && found(false).is_some_and(|other| other["id"] == other_id.as_str() && other["proof_age"].is_f64())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_heads_are_limited() {
    let (_replica, address) = replica(&[]).await;
    let mut streams = Vec::new();
    for n in 0..16 {
        streams.push(Events::on(connect_from(1 + n / 8, address).await, address).await);
        if n == 7 {
            let refused = http_get(address, "/events").await;
            assert_eq!((refused.status(), refused.body.as_str()), (503, "8 pages of this address watch already\n"));
            refused.assert_header("retry-after: 5");
        }
    }
    let refused = request_on(connect_from(3, address).await, address, "GET", "/events", "").await;
    assert_eq!((refused.status(), refused.body.as_str()), (503, "16 pages watch already\n"));
    refused.assert_header("retry-after: 5");
    streams.clear();
    eventually("streams are accepted again", async || accepts_stream(address).await).await;
    let long = format!("x: {}\r\n", "y".repeat(32 * 1024));
    assert_eq!(request_with(address, "GET", "/livez", &long).await.status(), 431);
}

/// Opens connections that have sent a part of a request head.
async fn unfinished_requests(peers: impl Iterator<Item = u8>, address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for n in peers {
        let mut stream = connect_from(n, address).await;
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        streams.push(stream);
    }
    streams
}

#[track_caller]
fn assert_live(response: &HttpResponse) {
    assert_eq!((response.status(), response.body.as_str()), (200, "ok\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_connections_do_not_block_probes() {
    let (_replica, address) = replica(&[]).await;
    let mut streams = Vec::new();
    for n in 0..16 {
        streams.push(Events::on(connect_from(1 + n / 8, address).await, address).await);
    }
    // Each address opens more connections than it may have.
    let mut slow = unfinished_requests((0..80).map(|n| 1 + n % 4), address).await;
    for path in ["/livez", "/readyz"] {
        for n in [5, 6, 5] {
            assert_eq!(request_on(connect_from(n, address).await, address, "GET", path, "").await.status(), 200);
        }
    }
    // An address that has used up its own connections is served too.
    assert_live(&request_on(connect_from(4, address).await, address, "GET", "/livez", "").await);
    // The first connection was closed, the last one was not.
    assert!(within(WAIT_TIMEOUT, slow[0].read(&mut [0])).await.is_ok_and(|size| size == 0));
    let mut last = slow.pop().unwrap();
    last.write_all(b"connection: close\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(WAIT_TIMEOUT, last.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Streams are never closed in favour of a new connection.
    for events in &mut streams {
        events.next().await.expect("hello");
        events.next().await.expect("a tick");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_for_probes_too() {
    let (_replica, address) = replica(&[]).await;
    let mut idle = Vec::new();
    for n in 0..64 {
        let mut stream = connect_from(1 + n % 4, address).await;
        stream.write_all(format!("GET /page.js HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        idle.push(stream);
    }
    assert_live(&request_on(connect_from(5, address).await, address, "GET", "/livez", "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_head_that_does_not_end_times_out() {
    let (_replica, address) = replica(&[]).await;
    let mut slow = unfinished_requests(std::iter::once(1), address).await;
    assert_eq!(within(WAIT_TIMEOUT, slow[0].read(&mut [0])).await.unwrap(), 0);
}

/// Starts to read a page through a small window.
async fn slow_reader(address: SocketAddr, headers: &str) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET /page.js HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begin = vec![0; 1024];
    within(WAIT_TIMEOUT, stream.read_exact(&mut begin)).await.unwrap();
    (stream, begin)
}

/// Reads the rest of a response, which must be complete.
async fn assert_complete((mut stream, mut answer): (TcpStream, Vec<u8>)) {
    within(WAIT_TIMEOUT, stream.read_to_end(&mut answer)).await.expect("no reset");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains(&format!("content-length: {}", body.len())), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_that_sends_too_much_gets_the_whole_answer() {
    let (_replica, address) = replica(&[]).await;
    let mut reader = slow_reader(address, "connection: close\r\n").await;
    reader.0.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    assert_complete(reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_the_whole_answer_when_the_replica_stops() {
    let (replica, address) = replica(&[]).await;
    let reader = slow_reader(address, "").await;
    let stopping = tokio::spawn(replica.stop());
    eventually("it stops", async || TcpStream::connect(address).await.is_err()).await;
    assert_complete(reader).await;
    within(WAIT_TIMEOUT, stopping).await.unwrap();
}

/// Returns true if the server accepts a stream of events.
async fn accepts_stream(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    head.ends_with(b"200")
}

#[tokio::test]
async fn only_probes_are_served_without_the_dashboard() {
    let (_replica, address) = replica(&[("admin.page", "false")]).await;
    for path in ["/", "/page.js", "/events"] {
        assert_eq!(http_get(address, path).await.status(), 404, "{path}");
    }
    assert_eq!(http_get(address, "/livez").await.status(), 200);
}

#[tokio::test]
async fn only_the_default_admin_address_has_a_fallback() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let load = |settings: &[(&str, &str)]| {
        let own = [("server.listen", "127.0.0.1:0"), ("drain.delay", "0s")];
        let overrides = own.iter().chain(settings).map(|(path, value)| ((*path).to_owned(), (*value).to_owned()));
        Config::load(&Sources { overrides: overrides.collect(), ..Sources::default() }).unwrap().config
    };
    let refused = App::start(load(&[("admin.listen", &address)])).await.err().expect("refused");
    assert!(refused.to_string().starts_with(&format!("admin.listen {address}: ")), "{refused}");
    let mut config = load(&[]);
    let admin = config.admin.as_mut().unwrap();
    assert!(!admin.listen_is_given);
    admin.listen = taken.local_addr().unwrap();
    let app = App::start(config).await.unwrap();
    let other = app.admin_address().unwrap();
    assert!(other.ip().is_loopback() && other != taken.local_addr().unwrap());
    assert_eq!(http_get(other, "/livez").await.status(), 200);
    app.stop(Stop::Now).await;
    let port = free_port();
    let app = App::start(load(&[("admin.listen", &format!("127.0.0.1:{port}"))])).await.unwrap();
    assert_eq!(app.admin_address().map(|address| address.port()), Some(port));
    app.stop(Stop::Now).await;
    let app = App::start(load(&[("admin.enabled", "false")])).await.unwrap();
    assert_eq!(app.admin_address(), None);
    app.stop(Stop::Now).await;
}

#[tokio::test]
async fn a_browser_on_the_grpc_port_gets_a_hint_to_the_dashboard() {
    let (replica, address) = replica(&[]).await;
    let response = http_get(replica.address, "/").await;
    assert_eq!(response.status(), 426);
    assert!(response.body.ends_with(&format!("The dashboard is at http://{address}/\n")), "{}", response.body);
}
