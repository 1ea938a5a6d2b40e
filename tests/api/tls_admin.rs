//! The admin port over TLS, and the address of probes alone.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Authority, Subject, TlsClient, TlsPair, TlsReplica, WAIT_TIMEOUT, eventually, free_port, within};

const ADMIN: [(&str, &str); 2] = [("admin.enabled", "true"), ("admin.listen", "127.0.0.1:0")];

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(WAIT_TIMEOUT, stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

fn browser(pair: &TlsPair) -> TlsClient {
    TlsClient::with(&pair.authority, None, &[b"h2", b"http/1.1"], rustls::ALL_VERSIONS)
}

async fn plain(address: SocketAddr, path: &str) -> String {
    ask(TcpStream::connect(address).await.unwrap(), path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_speaks_tls_and_nothing_else() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&ADMIN)).await;
    let admin = replica.admin_address();
    eventually("ready", async || {
        ask(browser(&pair).connect(admin).await.unwrap(), "/readyz").await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    for path in ["/", "/metrics", "/livez", "/page.js"] {
        let answer = ask(browser(&pair).connect(admin).await.unwrap(), path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let stream = browser(&pair).connect(admin).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = plain(admin, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("This port speaks TLS: use https\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_stays_plain_if_the_setting_says_so() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[&ADMIN[..], &[("tls.admin", "false")]].concat())).await;
    assert!(plain(replica.admin_address(), "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(plain(replica.address, "/").await.starts_with("HTTP/1.1 400 "), "gRPC speaks TLS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_requires_a_certificate_as_callers_do() {
    let (pair, clients) = (TlsPair::new(), Authority::named("authority of clients"));
    let ca = clients.file();
    let required = [("tls.client_ca_file", ca.as_str()), ("tls.client_auth", "required")];
    let replica = TlsReplica::start(&pair.settings(&[&ADMIN[..], &required].concat())).await;
    let files = clients.issue(Subject::client("scraper", "spiffe://prod/scraper", 1));
    let known = TlsClient::with(&pair.authority, Some(&files), &[b"http/1.1"], rustls::ALL_VERSIONS);
    let admin = replica.admin_address();
    assert!(ask(known.connect(admin).await.unwrap(), "/livez").await.starts_with("HTTP/1.1 200 "));
    let anonymous = TlsClient::with(&pair.authority, None, &[b"http/1.1"], &[&rustls::version::TLS12]);
    anonymous.connect(admin).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_have_an_address_and_places_of_their_own() {
    let pair = TlsPair::new();
    let probes = format!("127.0.0.1:{}", free_port());
    let settings = [&ADMIN[..], &[("admin.probes_listen", &probes)]].concat();
    let replica = TlsReplica::start(&pair.settings(&settings)).await;
    let address: SocketAddr = probes.parse().unwrap();
    assert!(plain(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    eventually("ready", async || plain(address, "/readyz").await.starts_with("HTTP/1.1 200 ")).await;
    for path in ["/metrics", "/", "/events"] {
        assert!(plain(address, path).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
    // The admin port is full of connections that wait.
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(replica.admin_address()).await.unwrap());
    }
    assert!(plain(address, "/livez").await.starts_with("HTTP/1.1 200 "));
}
