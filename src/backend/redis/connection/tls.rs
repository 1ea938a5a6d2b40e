//! TLS for connections to Redis: trusted authorities, and a client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::backend::redis::config::{ClientIdentity, RedisConfig, TlsFiles};
use crate::backend::redis::schema::log_interval::LogInterval;
use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// The failure of setting up TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{setting} {path}: {cause}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// Cause.
        cause: String,
    },
    /// No trusted authority.
    #[error("no certificate authorities: the system has none, and redis.tls_ca_file is not set")]
    NoRoots,
    /// An error of the TLS library.
    #[error("tls: {0}")]
    Library(#[from] rustls::Error),
}

/// TLS of new connections. It follows changes of its files.
pub struct CurrentTls {
    files: TlsFiles,
    current: Mutex<(Option<Contents>, Arc<ClientConfig>)>,
    log: LogInterval,
}

/// The contents of the files, in the order of their settings. `None` if a file cannot be read.
type Contents = Vec<Option<Vec<u8>>>;

// === impl CurrentTls ===

impl CurrentTls {
    /// Creates it from the files as they were read at the start.
    pub fn new(files: TlsFiles, config: ClientConfig) -> CurrentTls {
        CurrentTls { files, current: Mutex::new((None, Arc::new(config))), log: LogInterval::default() }
    }

    /// Returns the configuration for a new connection. Files that have changed are read again; if
    /// that fails, those from before are used.
    pub fn config(&self, now: Moment) -> Arc<ClientConfig> {
        let contents = Some(contents(&self.files));
        let mut current = self.current.lock();
        if current.0 == contents {
            return current.1.clone();
        }
        match client(&self.files) {
            Ok(config) => {
                if current.0.is_some() {
                    tracing::info!("redis: read the changed files of TLS");
                }
                *current = (contents, Arc::new(config));
            }
            Err(error) => {
                if self.log.add(1, now).is_some() {
                    tracing::warn!(%error, "redis: cannot read the files of TLS again; using those from before");
                }
            }
        }
        current.1.clone()
    }
}

fn contents(files: &TlsFiles) -> Contents {
    let identity = files.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
    files.ca.iter().chain(identity).map(|path| std::fs::read(path).ok()).collect()
}

/// Reads the files of TLS, if `config` selects it.
pub fn client_of(config: &RedisConfig) -> Result<Option<ClientConfig>, TlsError> {
    config.url.tls.then(|| client(&config.tls)).transpose()
}

/// Reads the files of TLS: the authorities that are trusted, and the certificate for a server that
/// requests one.
fn client(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates("redis.tls_ca_file", path)? {
                roots.add(certificate).map_err(|error| failed("redis.tls_ca_file", path, error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let Some(ClientIdentity { certificate, key }) = &files.identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates("redis.client_cert_file", certificate)?;
    let setting = "redis.client_key_file";
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(setting, key, pem_words(error)))?;
    config.with_client_auth_cert(chain, private).map_err(|error| failed(setting, key, error.to_string()))
}

/// The certificates of a file, at least one.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(failed(setting, path, "holds no certificate".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(failed(setting, path, pem_words(error))),
    }
}

fn failed(setting: &'static str, path: &Path, cause: String) -> TlsError {
    TlsError::File { setting, path: path.display().to_string(), cause }
}

/// The text of an error of reading a file. The library shows the system's in Rust's debugging form.
fn pem_words(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "holds no private key".to_owned(),
        error => error.to_string(),
    }
}
