//! Client certificates: optional, required, revoked, and what a resumed session is worth.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::HandshakeKind;
use tokio::io::AsyncReadExt as _;

use crate::harness::{Authority, Subject, TlsClient, TlsPair, TlsReplica, Wire, eventually, set_request};

const CHECKOUT: &str = "spiffe://prod/ns/shop/sa/checkout";

/// A server, and an authority of its clients.
struct Mutual {
    pair: TlsPair,
    clients: Authority,
    client_ca: String,
}

impl Mutual {
    fn new() -> Mutual {
        let clients = Authority::named("authority of clients");
        Mutual { pair: TlsPair::new(), client_ca: clients.file(), clients }
    }

    async fn start(&self, more: &[(&str, &str)]) -> TlsReplica {
        let ca = [("tls.client_ca_file", self.client_ca.as_str())];
        TlsReplica::start(&self.pair.settings(&[&ca, more].concat())).await
    }

    /// A client with a certificate of an authority.
    fn client(&self, authority: &Authority, subject: Subject<'_>) -> TlsClient {
        TlsClient::known(&self.pair.authority, &authority.issue(subject))
    }
}

/// True if a client can call. With TLS 1.3 its own handshake ends before the server has verified
/// its certificate.
async fn can_call(client: &TlsClient, replica: &TlsReplica) -> bool {
    let Ok(stream) = client.connect(replica.address).await else { return false };
    let Ok(wire) = Wire::over(replica.address, stream).await else { return false };
    wire.client().set(set_request("k", "v")).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optional_certificate_may_be_absent_but_not_wrong() {
    let mutual = Mutual::new();
    let replica = mutual.start(&[]).await;
    assert!(can_call(&mutual.pair.client(), &replica).await);
    assert!(can_call(&mutual.client(&mutual.clients, Subject::client("checkout", CHECKOUT, 1)), &replica).await);
    let stranger = Authority::named("another authority");
    assert!(!can_call(&mutual.client(&stranger, Subject::client("stranger", CHECKOUT, 1)), &replica).await);
    let expired = Subject { valid: [-7200, -3600], ..Subject::client("expired", CHECKOUT, 2) };
    assert!(!can_call(&mutual.client(&mutual.clients, expired), &replica).await);
    let early = Subject { valid: [3600, 7200], ..Subject::client("early", CHECKOUT, 3) };
    assert!(!can_call(&mutual.client(&mutual.clients, early), &replica).await);
    let purpose = Some(ExtendedKeyUsagePurpose::ServerAuth);
    let server = Subject { purpose, ..Subject::client("server", CHECKOUT, 4) };
    assert!(!can_call(&mutual.client(&mutual.clients, server), &replica).await);
    eventually("each refusal is counted", async || replica.handshakes("certificate") == 4.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_certificate_may_not_be_absent() {
    let mutual = Mutual::new();
    let replica = mutual.start(&[("tls.client_auth", "required")]).await;
    assert!(can_call(&mutual.client(&mutual.clients, Subject::client("checkout", CHECKOUT, 1)), &replica).await);
    assert!(!can_call(&mutual.pair.client(), &replica).await);
    assert!(!can_call(&TlsClient::tls12(&mutual.pair.authority), &replica).await);
    eventually("each refusal is counted", async || replica.handshakes("certificate") == 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_is_asked_for_if_it_is_off() {
    let mutual = Mutual::new();
    let replica = mutual.start(&[("tls.client_auth", "off")]).await;
    let stranger = Authority::named("another authority");
    assert!(can_call(&mutual.client(&stranger, Subject::client("stranger", CHECKOUT, 1)), &replica).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_is_refused() {
    let mutual = Mutual::new();
    let list = mutual.clients.revocation_list(&[7]);
    let replica = mutual.start(&[("tls.crl_file", &list)]).await;
    assert!(can_call(&mutual.client(&mutual.clients, Subject::client("valid", CHECKOUT, 6)), &replica).await);
    assert!(!can_call(&mutual.client(&mutual.clients, Subject::client("revoked", CHECKOUT, 7)), &replica).await);
    assert!(can_call(&mutual.pair.client(), &replica).await, "a caller without a certificate is not concerned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_closes_its_connection() {
    let mutual = Mutual::new();
    let replica = mutual.start(&[]).await;
    let short = Subject { valid: [-3600, 4], ..Subject::client("short", CHECKOUT, 1) };
    let client = mutual.client(&mutual.clients, short);
    let wire = client.wire(replica.address).await;
    eventually("GOAWAY", async || !wire.is_open()).await;
    // Neither a new handshake nor the session of the old one helps.
    assert!(!can_call(&client, &replica).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_resumed_until_trust_changes() {
    let mutual = Mutual::new();
    let list = mutual.clients.revocation_list(&[99]);
    let replica = mutual.start(&[("tls.crl_file", &list)]).await;
    let files = mutual.clients.issue(Subject::client("checkout", CHECKOUT, 1));
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let client = TlsClient::with(&mutual.pair.authority, Some(&files), &[b"h2"], versions);
        let kind = async |client: &TlsClient| {
            let mut stream = client.connect(replica.address).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            // The first record of the server, SETTINGS, is behind the tickets.
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap();
            kind
        };
        assert_eq!(kind(&client).await, HandshakeKind::Full);
        assert_eq!(kind(&client).await, HandshakeKind::Resumed);
        let reloads = replica.reloads("ok");
        let serial = 100 + reloads as u64;
        mutual.clients.revocation_list(&[99, serial]);
        replica.wait_for_reloads("ok", reloads + 1.0).await;
        assert_eq!(kind(&client).await, HandshakeKind::Full);
    }
    mutual.clients.revocation_list(&[1]);
    let before = replica.reloads("ok");
    replica.wait_for_reloads("ok", before + 1.0).await;
    let client = TlsClient::known(&mutual.pair.authority, &files);
    assert!(!can_call(&client, &replica).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_cannot_resume_its_session() {
    let mutual = Mutual::new();
    let list = mutual.clients.revocation_list(&[99]);
    let replica = mutual.start(&[("tls.crl_file", &list)]).await;
    let client = mutual.client(&mutual.clients, Subject::client("checkout", CHECKOUT, 1));
    assert!(can_call(&client, &replica).await && can_call(&client, &replica).await);
    mutual.clients.revocation_list(&[1]);
    replica.wait_for_reloads("ok", 1.0).await;
    assert!(!can_call(&client, &replica).await);
}
