//! TLS of the gRPC port: versions, protocols, peers without TLS, and what prevents a start.

use std::os::unix::fs::PermissionsExt as _;

use rustls::version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

use crate::harness::{
    Answer as _, Authority, Replica, Subject, TlsClient, TlsPair, TlsReplica, WAIT_TIMEOUT, Wire, eventually,
    set_request, within,
};

fn get(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_usual_client_calls_over_tls() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let ca = Certificate::from_pem(std::fs::read(pair.authority.file()).unwrap());
    let endpoint: Endpoint = Channel::from_shared(format!("https://{}", replica.address)).unwrap();
    let channel = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).unwrap().connect().await.unwrap();
    let mut client = CacheServiceClient::new(channel);
    client.set(set_request("k", "v")).await.unwrap();
    assert!(client.get(get("k")).await.unwrap().into_inner().is("v"));
    // Larger than a record of TLS, and than what the connection collects.
    let large = "x".repeat(900_000);
    client.set(set_request("large", &large)).await.unwrap();
    assert!(client.get(get("large")).await.unwrap().into_inner().is(&large));
    assert!(replica.handshakes("ok") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_a_connection_in_both_versions() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    for (client, expected) in [
        (pair.client(), rustls::ProtocolVersion::TLSv1_3),
        (TlsClient::tls12(&pair.authority), rustls::ProtocolVersion::TLSv1_2),
    ] {
        let stream = client.connect(replica.address).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        let wire = Wire::over(replica.address, stream).await.unwrap();
        wire.client().set(set_request("k", "v")).await.unwrap();
        let gets = (0..64).map(|_| {
            let mut client = wire.client();
            tokio::spawn(async move { client.get(get("k")).await.unwrap().into_inner().is("v") })
        });
        for answered in gets.collect::<Vec<_>>() {
            assert!(answered.await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_is_refused() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[("tls.min_version", "1.3")])).await;
    TlsClient::tls12(&pair.authority).connect(replica.address).await.unwrap_err();
    eventually("each is counted", async || replica.handshakes("protocol") == 1.0).await;
    let only13 = TlsClient::with(&pair.authority, None, &[b"h2"], &[&version::TLS13]);
    only13.wire(replica.address).await.client().get(get("k")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_the_only_protocol() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let http1 = TlsClient::with(&pair.authority, None, &[b"http/1.1"], rustls::ALL_VERSIONS);
    let refused = http1.connect(replica.address).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let both = TlsClient::with(&pair.authority, None, &[b"http/1.1", b"h2"], rustls::ALL_VERSIONS);
    let stream = both.connect(replica.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // A client that names none has to speak HTTP/2, and receives an explanation otherwise.
    let none = TlsClient::with(&pair.authority, None, &[], rustls::ALL_VERSIONS);
    let mut stream = none.connect(replica.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: cache\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("This port speaks gRPC (HTTP/2)."), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_tls_is_counted_and_told() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let mut browser = TcpStream::connect(replica.address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nhost: cache\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(WAIT_TIMEOUT, browser.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This port speaks TLS"), "{answer}");
    eventually("each is counted", async || replica.handshakes("plain_text") == 1.0).await;
    // A gRPC client must see a failed attempt, and not an established connection.
    let mut plain = TcpStream::connect(replica.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = Vec::new();
    within(WAIT_TIMEOUT, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    eventually("each is counted", async || replica.handshakes("plain_text") == 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_does_not_trust_the_certificate_ends_the_handshake() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let stranger = Authority::named("another authority");
    let refused = TlsClient::new(&stranger).connect(replica.address).await.unwrap_err();
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    eventually("the alert is counted", async || replica.handshakes("alert") == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_address_serves_beside_tls() {
    let pair = TlsPair::new();
    let port = crate::harness::free_port();
    let plain = format!("127.0.0.1:{port}");
    let replica = TlsReplica::start(&pair.settings(&[("server.listen_plain", &plain)])).await;
    Wire::connect(plain.parse().unwrap()).await.client().set(set_request("k", "v")).await.unwrap();
    let answer = pair.client().wire(replica.address).await.client().get(get("k")).await.unwrap();
    assert!(answer.into_inner().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_stays_plain() {
    let pair = TlsPair::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grpc.sock");
    let replica = TlsReplica::start(&pair.settings(&[("server.listen_unix", path.to_str().unwrap())])).await;
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    CacheServiceClient::new(endpoint.connect().await.unwrap()).set(set_request("k", "v")).await.unwrap();
    assert!(pair.client().wire(replica.address).await.client().get(get("k")).await.unwrap().into_inner().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_client_on_a_plain_port_is_answered() {
    let replica = Replica::start(&[]).await;
    let pair = TlsPair::new();
    let refused = pair.client().connect(replica.address).await.unwrap_err();
    assert!(refused.to_string().contains("InvalidContentType"), "{refused}");
    replica.set("k", "v").await;
}

/// Why a replica with these settings does not start.
async fn refusal(settings: &[(&str, &str)]) -> String {
    match TlsReplica::try_start(settings).await {
        Ok(_) => panic!("started with {settings:?}"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_names_setting_file_and_cause() {
    let (pair, other) = (TlsPair::new(), TlsPair::new());
    let absent = pair.authority.path("absent.pem");
    let empty = pair.authority.path("empty.pem");
    std::fs::write(&empty, "no certificate here\n").unwrap();
    let with = |path: &'static str, value: &str| {
        let mut settings: Vec<(String, String)> =
            pair.settings(&[]).iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        settings.retain(|(set, _)| set != path);
        settings.push((path.to_owned(), value.to_owned()));
        settings
    };
    for (settings, file, cause) in [
        (with("tls.cert_file", &absent), &absent, "No such file"),
        (with("tls.cert_file", &empty), &empty, "no certificate in PEM"),
        (with("tls.key_file", &absent), &absent, "No such file"),
        (with("tls.key_file", &pair.cert_file), &pair.cert_file, "no private key in PEM"),
        (with("tls.key_file", &other.key_file), &other.key_file, "does not belong to the certificate"),
        (with("tls.client_ca_file", &absent), &absent, "No such file"),
        (with("tls.client_ca_file", &empty), &empty, "no certificate in PEM"),
    ] {
        let settings: Vec<_> = settings.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
        let error = refusal(&settings).await;
        let setting = settings.last().unwrap().0;
        assert!(error.contains(setting) && error.contains(file.as_str()) && error.contains(cause), "{error}");
    }
    let ca = pair.authority.file();
    let error = refusal(&pair.settings(&[("tls.client_ca_file", &ca), ("tls.crl_file", &ca)])).await;
    assert!(error.contains("tls.crl_file") && error.contains("no list of revoked certificates"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_contradict_each_other_prevent_a_start() {
    let pair = TlsPair::new();
    for (settings, path) in [
        (vec![("tls.cert_file", pair.cert_file.as_str())], "tls.cert_file"),
        (vec![("tls.key_file", pair.key_file.as_str())], "tls.key_file"),
        (vec![("tls.client_ca_file", "/ca")], "tls.client_ca_file"),
        (vec![("tls.min_version", "1.3")], "tls.min_version"),
        (vec![("server.listen_plain", "127.0.0.1:1")], "server.listen_plain"),
        (pair.settings(&[("tls.client_auth", "required")]), "tls.client_auth"),
        (pair.settings(&[("tls.client_auth", "optional")]), "tls.client_auth"),
        (pair.settings(&[("tls.crl_file", "/crl")]), "tls.crl_file"),
        (pair.settings(&[("tls.min_version", "1.1")]), "tls.min_version"),
        (vec![("admin.probes_listen", "127.0.0.1:0")], "admin.probes_listen"),
    ] {
        let error = refusal(&settings).await;
        assert!(error.contains(path), "{path}: {error}");
    }
    // Empty text is no file.
    let none = [("tls.client_ca_file", ""), ("tls.crl_file", ""), ("tls.client_auth", "off")];
    TlsReplica::start(&pair.settings(&none)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_does_not_prevent_a_start() {
    let pair = TlsPair::new();
    let expired = Subject { valid: [-7200, -3600], ..Subject::server("expired", "127.0.0.1") };
    let (cert, key) = pair.authority.issue(expired);
    let replica = TlsReplica::start(&[("tls.cert_file", &cert), ("tls.key_file", &key)]).await;
    let refused = pair.client().connect(replica.address).await.unwrap_err();
    assert!(refused.to_string().contains("xpired"), "{refused}");
    let end = replica.scrape().get("twintier_tls_certificate_expiry_seconds", &[("certificate", "server")]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 4000.0..now - 3500.0).contains(&end), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_may_read_does_not_prevent_a_start() {
    let pair = TlsPair::new();
    std::fs::set_permissions(&pair.key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    pair.client().wire(replica.address).await.client().get(get("k")).await.unwrap();
}
