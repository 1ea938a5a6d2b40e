//! Certificates, key and trust, read from their files: built whole, and replaced whole.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::config::{ClientAuth, MinVersion, TlsConfig};
use super::error::{TlsProblem, TlsProblems};
use super::files;
use super::validity::{Validity, system_time};

const CERT_FILE: &str = "tls.cert_file";
const KEY_FILE: &str = "tls.key_file";
const CLIENT_CA_FILE: &str = "tls.client_ca_file";
const CRL_FILE: &str = "tls.crl_file";

/// The protocol that a server speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2, for gRPC.
    Http2,
    /// HTTP/1.1, for the admin server.
    Http1,
}

/// Certificates, key and trust of one time.
///
/// Sessions are resumed with the keys of their own material alone: after a change of any file a
/// client is verified again.
pub struct TlsMaterial {
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    client_auth: ClientAuth,
    /// `None` if no client is asked for a certificate.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Timeout of a handshake.
    pub handshake_timeout: Duration,
    /// Validity of the certificate of the server, with those between it and its authority.
    pub certificate: Validity,
    /// The file of that certificate.
    pub certificate_file: String,
    /// The file of the authorities of client certificates. `None` without them.
    pub client_ca_file: Option<String>,
    /// Validity of the authorities of client certificates that ends first. `None` without them.
    pub client_ca: Option<Validity>,
    /// Weaknesses that do not prevent a start, each with its setting and file.
    pub warnings: Vec<TlsProblem>,
}

/// Trust in client certificates.
#[derive(Default)]
struct ClientTrust {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    authorities: Option<Validity>,
    warnings: Vec<TlsProblem>,
}

// === impl TlsMaterial ===

impl TlsMaterial {
    /// Reads and checks all files. Takes some milliseconds, and may wait for a disk.
    pub fn load(config: &TlsConfig) -> Result<TlsMaterial, TlsProblems> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = files::certificates(CERT_FILE, &config.cert_file);
        let key = files::private_key(KEY_FILE, &config.key_file);
        let trust = client_trust(config, &provider);
        let mut problems = Vec::new();
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                problems.extend(chain.err());
                problems.extend(key.err());
                problems.extend(trust.err().into_iter().flat_map(|problems| problems.0));
                return Err(TlsProblems(problems));
            }
        };
        let mut trust = trust?;
        let certificate = server_validity(&chain, &config.cert_file)?;
        let client_verifier = trust.verifier.clone().unwrap_or_else(|| Arc::new(NoClientAuth));
        let versions: &[&SupportedProtocolVersion] = match config.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let base = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map(|builder| builder.with_client_cert_verifier(client_verifier))
            .and_then(|builder| builder.with_single_cert(chain, key))
            .map_err(|error| key_problem(config, &error))?;
        if files::is_open_to_others(&config.key_file) {
            let cause = "every user of the machine may read or write it: take those permissions away (chmod o= FILE)";
            trust.warnings.push(TlsProblem::new(KEY_FILE, &config.key_file, cause));
        }
        Ok(TlsMaterial {
            http2: with_protocol(base.clone(), b"h2", config)?,
            http1: with_protocol(base, b"http/1.1", config)?,
            client_auth: if trust.verifier.is_some() { config.client_auth } else { ClientAuth::Off },
            verifier: trust.verifier,
            handshake_timeout: config.handshake_timeout,
            certificate,
            certificate_file: config.cert_file.display().to_string(),
            client_ca_file: config.client_ca_file.as_ref().map(|file| file.display().to_string()),
            client_ca: trust.authorities,
            warnings: trust.warnings,
        })
    }

    /// Returns why the certificate of the server does not verify at this time.
    pub fn fault(&self, now: SystemTime) -> Option<TlsProblem> {
        let cause = self.certificate.fault(now)?;
        Some(TlsProblem { setting: CERT_FILE, file: self.certificate_file.clone(), cause: cause.to_owned() })
    }

    pub(super) fn server_config(&self, protocol: HttpVersion) -> Arc<ServerConfig> {
        match protocol {
            HttpVersion::Http2 => self.http2.clone(),
            HttpVersion::Http1 => self.http1.clone(),
        }
    }

    /// Verifies again the certificates that a client has presented; none is an empty chain.
    pub(super) fn check_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let Some((certificate, intermediates)) = chain.split_first() else {
            let is_required = self.client_auth == ClientAuth::Required;
            return if is_required { Err("a client certificate is required".to_owned()) } else { Ok(()) };
        };
        let Some(verifier) = &self.verifier else { return Err("no authority of clients is trusted".to_owned()) };
        verifier
            .verify_client_cert(certificate, intermediates, UnixTime::now())
            .map(drop)
            .map_err(|error| reason(&error))
    }
}

/// Returns a configuration that speaks one protocol, with keys of its own for resumed sessions.
fn with_protocol(
    mut config: ServerConfig,
    protocol: &[u8],
    settings: &TlsConfig,
) -> Result<Arc<ServerConfig>, TlsProblem> {
    config.alpn_protocols = vec![protocol.to_vec()];
    let ticketer = aws_lc_rs::Ticketer::new();
    config.ticketer = ticketer.map_err(|error| TlsProblem::new(CERT_FILE, &settings.cert_file, error.to_string()))?;
    // A clone shares the cache of sessions.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

/// Sessions of TLS 1.2 clients without tickets that can be resumed.
const SESSIONS: usize = 256;

fn server_validity(chain: &[CertificateDer<'_>], file: &Path) -> Result<Validity, TlsProblem> {
    let parsed: Option<Vec<_>> = chain.iter().map(Validity::of).collect();
    let validity = parsed.and_then(Validity::of_all);
    validity.ok_or_else(|| TlsProblem::new(CERT_FILE, file, "a certificate of it cannot be parsed (X.509)"))
}

/// Names the file that the library's error is about.
fn key_problem(config: &TlsConfig, error: &Error) -> TlsProblem {
    match error {
        Error::InconsistentKeys(_) => {
            let cause =
                format!("the key does not belong to the certificate of {CERT_FILE} {}", config.cert_file.display());
            TlsProblem::new(KEY_FILE, &config.key_file, cause)
        }
        Error::InvalidCertificate(error) => TlsProblem::new(CERT_FILE, &config.cert_file, certificate_reason(error)),
        error => TlsProblem::new(KEY_FILE, &config.key_file, error.to_string()),
    }
}

// === trust in clients ===

fn client_trust(config: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<ClientTrust, TlsProblems> {
    let Some(file) = config.client_ca_file.as_deref().filter(|_| config.client_auth != ClientAuth::Off) else {
        return Ok(ClientTrust::default());
    };
    let mut trust = ClientTrust::default();
    let authorities = files::certificates(CLIENT_CA_FILE, file);
    let lists = config.crl_file.as_deref().map(|path| files::revocation_lists(CRL_FILE, path)).transpose();
    let (authorities, lists) = match (authorities, lists) {
        (Ok(authorities), Ok(lists)) => (authorities, lists.unwrap_or_default()),
        (authorities, lists) => return Err(TlsProblems(authorities.err().into_iter().chain(lists.err()).collect())),
    };
    let roots = trusted(authorities, file, &mut trust)?;
    if let Some(path) = &config.crl_file {
        trust.warnings.extend(outdated(&lists, path)?);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).with_crls(lists);
    let builder = if config.client_auth == ClientAuth::Required { builder } else { builder.allow_unauthenticated() };
    trust.verifier = Some(builder.build().map_err(|error| match (&error, &config.crl_file) {
        (VerifierBuilderError::InvalidCrl(_), Some(path)) => TlsProblem::new(CRL_FILE, path, error.to_string()),
        (error, _) => TlsProblem::new(CLIENT_CA_FILE, file, error.to_string()),
    })?);
    Ok(trust)
}

/// Returns the authorities that are valid now. Others are warned of: the library does not look at
/// the validity of an authority.
fn trusted(
    authorities: Vec<CertificateDer<'static>>,
    file: &Path,
    trust: &mut ClientTrust,
) -> Result<RootCertStore, TlsProblem> {
    let (mut roots, now) = (RootCertStore::empty(), SystemTime::now());
    for (index, authority) in authorities.into_iter().enumerate() {
        let unusable =
            |cause: &str| TlsProblem::new(CLIENT_CA_FILE, file, format!("certificate {}: {cause}", index + 1));
        let validity = Validity::of(&authority).ok_or_else(|| unusable("cannot be parsed (X.509)"))?;
        if let Some(fault) = validity.fault(now) {
            trust.warnings.push(unusable(&format!("{fault}: it is not trusted")));
            continue;
        }
        roots.add(authority).map_err(|error| unusable(&error.to_string()))?;
        trust.authorities = Validity::of_all(trust.authorities.into_iter().chain([validity]));
    }
    if roots.is_empty() {
        Err(TlsProblem::new(CLIENT_CA_FILE, file, "no certificate of it is valid now"))
    } else {
        Ok(roots)
    }
}

/// Returns a warning if a list should have been replaced by now. It is used nevertheless.
fn outdated(lists: &[CertificateRevocationListDer<'_>], file: &Path) -> Result<Option<TlsProblem>, TlsProblem> {
    let mut is_outdated = false;
    for list in lists {
        let parsed = x509_parser::parse_x509_crl(list);
        let (_, list) = parsed.map_err(|_| TlsProblem::new(CRL_FILE, file, "a list of it cannot be parsed (X.509)"))?;
        is_outdated |= list.next_update().is_some_and(|next| system_time(&next) < SystemTime::now());
    }
    Ok(is_outdated.then(|| TlsProblem::new(CRL_FILE, file, "the list should have been replaced by now (nextUpdate)")))
}

/// Returns why a certificate does not verify, in words.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_reason(error),
        error => error.to_string(),
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "unknown authority".to_owned(),
        CertificateError::Revoked => "revoked".to_owned(),
        CertificateError::UnknownRevocationStatus => "no list of revoked certificates of its authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not valid yet".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not for clients".to_owned()
        }
        CertificateError::BadEncoding => "cannot be parsed (X.509)".to_owned(),
        error => error.to_string(),
    }
}
