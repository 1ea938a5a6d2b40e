//! Settings of TLS for callers and for the admin server.

use std::time::Duration;

use crate::config::reader::Reader;
use crate::tls::{ClientAuth, MinVersion, TlsConfig};

const SECOND: Duration = Duration::from_secs(1);
const CERT_FILE: &str = "tls.cert_file";
const KEY_FILE: &str = "tls.key_file";
const CLIENT_CA_FILE: &str = "tls.client_ca_file";
const CLIENT_AUTH: &str = "tls.client_auth";
const CRL_FILE: &str = "tls.crl_file";

const CLIENT_AUTHS: [(&str, ClientAuth); 3] =
    [("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
const VERSIONS: [(&str, MinVersion); 2] = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

/// Reads the section; `None` if the servers speak plain text. `plain` is the setting of an address
/// without TLS beside it, if there is one.
pub(crate) fn read(reader: &mut Reader, plain: Option<&str>) -> Option<TlsConfig> {
    let doc = "certificate of the service in PEM, followed by those between it and its authority; with it server.listen speaks TLS, and no plain text";
    let cert_file = reader.file(CERT_FILE, doc);
    let key_file = reader.file(KEY_FILE, "private key of that certificate, in PEM");
    let doc = "certificates in PEM of the authorities whose client certificates are accepted; if not set, no caller is asked for one";
    let client_ca_file = reader.file(CLIENT_CA_FILE, doc);
    let doc = "whether a caller presents a certificate of tls.client_ca_file; one that does not verify is refused in any case";
    let client_auth = reader.choice(CLIENT_AUTH, ClientAuth::Optional, &CLIENT_AUTHS, doc);
    let doc = "lists of revoked client certificates in PEM, one of each authority that issues them: without its list a certificate is refused";
    let crl_file = reader.file(CRL_FILE, doc);
    let min_version = reader.choice("tls.min_version", MinVersion::Tls12, &VERSIONS, "oldest version of TLS");
    let timeout = SECOND / 10..=60 * SECOND;
    let handshake_timeout = reader.duration("tls.handshake_timeout", 5 * SECOND, timeout, "timeout of a TLS handshake");
    let admin = reader.boolean("tls.admin", true, "TLS for admin.listen, too");
    if client_ca_file.is_none() {
        let is_asked = client_auth != ClientAuth::Off && reader.is_given(CLIENT_AUTH);
        if is_asked {
            reader.contradict(CLIENT_AUTH, CLIENT_CA_FILE, "needs the authorities of client certificates");
        }
        if crl_file.is_some() {
            reader.contradict(CRL_FILE, CLIENT_CA_FILE, "has no effect without the authorities of client certificates");
        }
    }
    let files = [CERT_FILE, KEY_FILE, CLIENT_CA_FILE, CRL_FILE];
    match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(TlsConfig {
            cert_file,
            key_file,
            client_ca_file,
            client_auth,
            crl_file,
            min_version,
            handshake_timeout,
            admin,
        }),
        (None, Some(_)) => {
            reader.contradict(KEY_FILE, CERT_FILE, "must be given together with tls.cert_file");
            None
        }
        (Some(_), None) => {
            reader.contradict(CERT_FILE, KEY_FILE, "must be given together with tls.key_file");
            None
        }
        (None, None) => {
            let given = reader.given_in("tls").into_iter().filter(|path| !files.contains(&path.as_str()));
            let named = [client_ca_file.map(|_| CLIENT_CA_FILE), crl_file.map(|_| CRL_FILE), plain];
            let named = named.into_iter().flatten().map(str::to_owned);
            for path in given.chain(named).collect::<Vec<_>>() {
                reader.contradict(&path, CERT_FILE, "has no effect without tls.cert_file");
            }
            None
        }
    }
}
