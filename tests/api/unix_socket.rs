//! A unix socket beside TCP: the same server, limits and shutdown.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use crate::harness::{Answer as _, Replica, WAIT_TIMEOUT, Wire, eventually, set_request, within};

/// A preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GOAWAY: u8 = 7;

/// A folder for the socket of one replica.
struct Socket {
    _folder: TempDir,
    path: PathBuf,
}

impl Socket {
    fn new() -> Socket {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grpc.sock");
        Socket { _folder: folder, path }
    }

    /// The setting, and `more` of them.
    fn settings<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [&[("server.listen_unix", self.path.to_str().unwrap())], more].concat()
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    async fn client(&self) -> CacheServiceClient<Channel> {
        client(&self.path).await
    }

    fn mode(&self) -> u32 {
        std::fs::metadata(&self.path).unwrap().permissions().mode() & 0o7777
    }
}

async fn client(path: &Path) -> CacheServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    CacheServiceClient::new(endpoint.connect().await.unwrap())
}

fn get(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), ..Default::default() }
}

async fn open_connections(replica: &Replica) -> u64 {
    replica.stats().await.replica.unwrap().connections
}

/// Reads to the orderly end of a connection. Returns the kinds of its frames.
async fn kinds_until_the_end(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("no reset");
    let mut kinds = Vec::new();
    let mut rest = &bytes[..];
    while let [a, b, c, kind, ..] = *rest {
        kinds.push(kind);
        rest = &rest[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
    }
    kinds
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sockets_serve_the_same_cache() {
    let socket = Socket::new();
    let replica = Replica::start(&socket.settings(&[])).await;
    let mut local = socket.client().await;
    local.set(set_request("k", "by unix")).await.unwrap();
    assert!(replica.get("k").await.is("by unix"));
    replica.set("k", "by tcp").await;
    assert!(local.get(get("k")).await.unwrap().into_inner().is("by tcp"));
    let large = "v".repeat(1 << 20);
    local.set(set_request("large", &large)).await.unwrap();
    assert!(local.get(get("large")).await.unwrap().into_inner().is(&large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_has_its_permissions_and_is_removed_at_a_stop() {
    for (settings, mode) in [(&[][..], 0o660), (&[("server.unix_mode", "0600")], 0o600)] {
        let socket = Socket::new();
        let replica = Replica::start(&socket.settings(settings)).await;
        assert_eq!(socket.mode(), mode);
        assert!(replica.stop().await);
        assert!(!socket.path.exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_of_a_killed_process_is_replaced() {
    let socket = Socket::new();
    let mut replica = Replica::process_with(&socket.settings(&[]), &[]).await;
    socket.client().await.set(set_request("k", "v")).await.unwrap();
    replica.restart().await;
    let answer = socket.client().await.get(get("k")).await.unwrap().into_inner();
    assert_eq!(answer.miss(), Some(pb::MissReason::Absent), "another process answers");
    assert!(replica.stop().await);
    assert!(!socket.path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_the_calls_of_both_sockets() {
    let socket = Socket::new();
    let replica = Replica::start(&socket.settings(&[("drain.timeout", "2m")])).await;
    let (path, address) = (socket.path.clone(), replica.address);
    let (served, mut callers) = ([(); 2].map(|()| Arc::new(AtomicUsize::new(0))), JoinSet::new());
    for (number, key) in (0..16).map(|number| (number, format!("k{number}"))) {
        let (path, served) = (path.clone(), served[number % 2].clone());
        callers.spawn(async move {
            let channel = Endpoint::from_shared(match number % 2 {
                0 => format!("unix://{}", path.display()),
                _ => format!("http://{address}"),
            });
            let mut client = CacheServiceClient::new(channel.unwrap().connect().await.unwrap());
            loop {
                let set = client.set(set_request(&key, &key)).await.map(|_| ());
                let get = client.get(get(&key)).await.map(|answer| assert!(answer.into_inner().is(&key)));
                if let Some(refusal) = set.err().or(get.err()) {
                    return refusal;
                }
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for served in &served {
        eventually("there is load", async || served.load(Ordering::Relaxed) > 200).await;
    }
    assert!(within(Duration::from_secs(3), replica.stop()).await);
    assert!(UnixStream::connect(&path).await.is_err() && !path.exists());
    for refusal in within(Duration::from_secs(5), callers.join_all()).await {
        // The client returned these errors itself: the connection closed before it sent the call.
        let words = format!("{refusal:?}");
        let unsent = ["NO_ERROR", "Canceled", "not ready", "Connect"];
        assert!(unsent.iter().any(|unsent| words.contains(unsent)), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_gets_goaway_at_a_stop_and_at_its_age() {
    let socket = Socket::new();
    let replica = Replica::start(&socket.settings(&[("drain.timeout", "2s")])).await;
    let mut idle = socket.connect().await;
    idle.write_all(HELLO).await.unwrap();
    eventually("the connection is counted", async || open_connections(&replica).await == 2).await;
    let stopping = tokio::spawn(replica.stop());
    assert!(kinds_until_the_end(&mut idle).await.contains(&GOAWAY));
    drop(idle);
    within(WAIT_TIMEOUT, stopping).await.unwrap();

    let settings = [("server.max_connection_age", "1s"), ("server.max_connection_age_grace", "0s")];
    let _replica = Replica::start(&socket.settings(&settings)).await;
    let mut old = socket.connect().await;
    old.write_all(HELLO).await.unwrap();
    assert!(kinds_until_the_end(&mut old).await.contains(&GOAWAY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_the_socket_share_one_limit_and_leave_room_for_others() {
    let socket = Socket::new();
    // One address may have six of the eight connections by default.
    let replica = Replica::start(&socket.settings(&[("server.max_connections", "8")])).await;
    replica.set("k", "v").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = socket.client().await;
        assert!(client.get(get("k")).await.unwrap().into_inner().is("v"));
        clients.push(client);
    }
    for _ in 0..4 {
        let mut refused = socket.connect().await;
        assert_eq!(kinds_until_the_end(&mut refused).await, [0u8; 0]);
    }
    let other = Wire::connect(replica.address).await;
    assert!(other.client().get(get("k")).await.unwrap().into_inner().is("v"));
    for client in &mut clients {
        assert!(client.get(get("k")).await.unwrap().into_inner().is("v"));
    }
    clients.pop();
    eventually("the slot is free", async || {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.path.display())).unwrap();
        let Ok(channel) = endpoint.connect().await else { return false };
        CacheServiceClient::new(channel).get(get("k")).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_answered_and_a_silent_connection_is_closed() {
    let socket = Socket::new();
    let _replica = Replica::start(&socket.settings(&[("server.first_byte_timeout", "300ms")])).await;
    let mut browser = socket.connect().await;
    browser.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: somebody\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(WAIT_TIMEOUT, browser.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("gRPC"), "{answer}");
    let mut silent = socket.connect().await;
    assert_eq!(kinds_until_the_end(&mut silent).await, [0u8; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_callers_over_both_sockets_are_served() {
    let socket = Socket::new();
    let replica = Replica::start(&socket.settings(&[])).await;
    assert!(std::fs::metadata(&socket.path).unwrap().file_type().is_socket());
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let (path, address, key) = (socket.path.clone(), replica.address, format!("k{number}"));
        callers.spawn(async move {
            let by_tcp = Wire::connect(address).await;
            let mut by_unix = client(&path).await;
            by_unix.set(set_request(&key, &key)).await.unwrap();
            assert!(by_tcp.client().get(get(&key)).await.unwrap().into_inner().is(&key));
            assert!(by_unix.get(get(&key)).await.unwrap().into_inner().is(&key));
        });
    }
    callers.join_all().await;
    eventually("all connections have ended", async || open_connections(&replica).await == 1).await;
}
