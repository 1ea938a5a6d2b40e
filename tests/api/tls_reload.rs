//! A reload: new files take effect without a restart, bad ones have no effect, and clients that are
//! not trusted any more receive GOAWAY.

use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use twintier::pb;

use crate::harness::{
    Answer as _, Authority, Replica, Subject, TlsClient, TlsPair, TlsReplica, Wire, eventually, set_request,
};

const CHECKOUT: &str = "spiffe://prod/ns/shop/sa/checkout";

fn get(key: &str) -> pb::GetRequest {
    pb::GetRequest { key: key.into(), ..Default::default() }
}

/// The certificate that the server presents to a new connection.
async fn presented(client: &TlsClient, address: std::net::SocketAddr) -> Vec<u8> {
    let stream = client.connect(address).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn content(file: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file).unwrap().to_vec()
}

/// Replaces a certificate and its key by others of the same authority.
fn renew(pair: &TlsPair, name: &str) {
    let (cert, key) = pair.authority.issue(Subject::server(name, "127.0.0.1"));
    std::fs::copy(cert, &pair.cert_file).unwrap();
    std::fs::copy(key, &pair.key_file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_presented_and_open_streams_stay() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let (client, old) = (pair.client(), content(&pair.cert_file));
    assert_eq!(presented(&client, replica.address).await, old);
    let wire = client.wire(replica.address).await;
    let mut watch = wire.client().watch(pb::WatchRequest::default()).await.unwrap().into_inner();
    renew(&pair, "renewed");
    let new = content(&pair.cert_file);
    eventually("the new certificate", async || presented(&client, replica.address).await == new).await;
    assert_ne!(old, new);
    wire.client().set(set_request("k", "v")).await.unwrap();
    loop {
        let event = watch.message().await.unwrap().expect("an open stream");
        if matches!(event.event, Some(pb::watch_response::Event::Change(_))) {
            break;
        }
    }
    assert_eq!((replica.reloads("ok"), replica.reloads("failed")), (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_swaps_a_link_is_noticed() {
    let pair = TlsPair::new();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let fill = |version: &str, cert: &str, key: &str| {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::copy(cert, at(version).join("tls.crt")).unwrap();
        std::fs::copy(key, at(version).join("tls.key")).unwrap();
    };
    fill("..1", &pair.cert_file, &pair.key_file);
    symlink("..1", at("..data")).unwrap();
    ["tls.crt", "tls.key"].iter().for_each(|name| symlink(format!("..data/{name}"), at(name)).unwrap());
    let (cert, key) = (at("tls.crt").display().to_string(), at("tls.key").display().to_string());
    let replica = TlsReplica::start(&[("tls.cert_file", &cert), ("tls.key_file", &key)]).await;
    let (new_cert, new_key) = pair.authority.issue(Subject::server("renewed", "127.0.0.1"));
    fill("..2", &new_cert, &new_key);
    symlink("..2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    let (client, new) = (pair.client(), content(&new_cert));
    eventually("the new certificate", async || presented(&client, replica.address).await == new).await;
    assert_eq!(replica.reloads("failed"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_reload_changes_nothing() {
    let (pair, other) = (TlsPair::new(), TlsPair::new());
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let (client, old) = (pair.client(), content(&pair.cert_file));
    let saved = std::fs::read(&pair.key_file).unwrap();
    std::fs::copy(&other.key_file, &pair.key_file).unwrap();
    replica.wait_for_reloads("failed", 1.0).await;
    assert_eq!(presented(&client, replica.address).await, old);
    std::fs::write(&pair.cert_file, "nothing").unwrap();
    replica.wait_for_reloads("failed", 2.0).await;
    assert_eq!(presented(&client, replica.address).await, old);
    // An expired certificate does not replace one that is valid.
    let expired = Subject { valid: [-7200, -3600], ..Subject::server("expired", "127.0.0.1") };
    let (cert, key) = pair.authority.issue(expired);
    std::fs::copy(key, &pair.key_file).unwrap();
    std::fs::copy(cert, &pair.cert_file).unwrap();
    replica.wait_for_reloads("failed", 3.0).await;
    assert_eq!(presented(&client, replica.address).await, old);
    assert_eq!(replica.reloads("ok"), 0.0);
    std::fs::write(&pair.key_file, saved).unwrap();
    renew(&pair, "renewed");
    let new = content(&pair.cert_file);
    eventually("the new certificate", async || presented(&client, replica.address).await == new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_trusted_any_more_gets_goaway() {
    let (pair, clients) = (TlsPair::new(), Authority::named("authority of clients"));
    let (ca, list) = (clients.file(), clients.revocation_list(&[99]));
    let replica = TlsReplica::start(&pair.settings(&[("tls.client_ca_file", &ca), ("tls.crl_file", &list)])).await;
    let known = |name: &str, serial: u64| {
        TlsClient::known(&pair.authority, &clients.issue(Subject::client(name, CHECKOUT, serial)))
    };
    let [revoked, valid] =
        [known("revoked", 1).wire(replica.address).await, known("valid", 2).wire(replica.address).await];
    let anonymous = pair.client().wire(replica.address).await;
    for wire in [&revoked, &valid, &anonymous] {
        wire.client().set(set_request("k", "v")).await.unwrap();
    }
    let mut watch = revoked.client().watch(pb::WatchRequest::default()).await.unwrap().into_inner();
    clients.revocation_list(&[1]);
    eventually("GOAWAY", async || !revoked.is_open()).await;
    while watch.message().await.is_ok_and(|event| event.is_some()) {}
    for wire in [&valid, &anonymous] {
        assert!(wire.client().get(get("k")).await.unwrap().into_inner().is("v"));
    }
    // The whole authority goes.
    let next = Authority::named("next authority of clients");
    std::fs::copy(next.file(), &ca).unwrap();
    std::fs::copy(next.revocation_list(&[]), &list).unwrap();
    eventually("GOAWAY", async || !valid.is_open()).await;
    assert!(anonymous.client().get(get("k")).await.unwrap().into_inner().is("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_file_is_read_again() {
    let (pair, clients) = (TlsPair::new(), Authority::named("authority of clients"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twintier.toml");
    let write = |more: &str| {
        let (cert, key) = (&pair.cert_file, &pair.key_file);
        std::fs::write(&file, format!("[tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{more}")).unwrap();
    };
    write("");
    let replica = TlsReplica::with_file(&file, &[]).await;
    let anonymous = pair.client().wire(replica.address).await;
    anonymous.client().set(set_request("k", "v")).await.unwrap();
    write("min_version = \"1.4\"\n");
    replica.wait_for_reloads("failed", 1.0).await;
    assert!(TlsClient::tls12(&pair.authority).connect(replica.address).await.is_ok());
    write("min_version = \"1.3\"\n");
    replica.wait_for_reloads("ok", 1.0).await;
    assert!(TlsClient::tls12(&pair.authority).connect(replica.address).await.is_err());
    assert!(anonymous.is_open(), "an open connection stays");
    // A file that a failed reload named is looked at, too.
    let later = folder.path().join("later.pem");
    write(&format!("client_ca_file = {later:?}\nclient_auth = \"required\"\n"));
    replica.wait_for_reloads("failed", 2.0).await;
    std::fs::copy(clients.file(), &later).unwrap();
    replica.wait_for_reloads("ok", 2.0).await;
    eventually("GOAWAY for who has no certificate", async || !anonymous.is_open()).await;
    let known = TlsClient::known(&pair.authority, &clients.issue(Subject::client("checkout", CHECKOUT, 1)));
    known.wire(replica.address).await.client().get(get("k")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reloads_at_once_and_does_not_end_the_process() {
    let pair = TlsPair::new();
    let settings = pair.settings(&[("auth.reload_interval", "1h")]);
    let replica = Replica::process_with(&settings, &[]).await;
    let (client, old) = (pair.client(), content(&pair.cert_file));
    assert_eq!(presented(&client, replica.address).await, old);
    let wire = client.wire(replica.address).await;
    renew(&pair, "renewed");
    let new = content(&pair.cert_file);
    kill_process(Pid::from_raw(replica.process_id() as i32).unwrap(), Signal::HUP).unwrap();
    eventually("the new certificate", async || presented(&client, replica.address).await == new).await;
    wire.client().set(set_request("k", "v")).await.unwrap();
    assert!(replica.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_do_not_fail_while_certificates_change() {
    let pair = TlsPair::new();
    let replica = TlsReplica::start(&pair.settings(&[])).await;
    let client = pair.client();
    let address = replica.address;
    let calling = tokio::spawn(async move {
        let mut calls = 0;
        let until = tokio::time::Instant::now() + Duration::from_secs(3);
        while tokio::time::Instant::now() < until {
            let stream = client.connect(address).await.unwrap();
            let wire = Wire::over(address, stream).await.unwrap();
            wire.client().set(set_request("k", "v")).await.unwrap();
            calls += 1;
        }
        calls
    });
    let mut renewals = 0;
    while !calling.is_finished() {
        renewals += 1;
        renew(&pair, &format!("renewed{renewals}"));
        replica.wait_for_reloads("ok", f64::from(renewals)).await;
    }
    assert!(calling.await.unwrap() > 0 && renewals > 1);
}
