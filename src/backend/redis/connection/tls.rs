//! TLS for connections to Redis: trusted authorities, and a client certificate.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

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

/// The files of a certificate and its key, PEM.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate, and the chain up to its authority.
    pub certificate: &'a Path,
    /// Its private key.
    pub key: &'a Path,
}

/// Builds a configuration that trusts the authorities in `ca_file`, or the system's, and presents
/// `identity` to a server that requests it.
pub fn client(ca_file: Option<&Path>, identity: Option<Identity<'_>>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
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
    let provider = rustls::crypto::ring::default_provider().into();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let Some(Identity { certificate, key }) = identity else { return Ok(config.with_no_client_auth()) };
    let chain = certificates("redis.tls_cert_file", certificate)?;
    let setting = "redis.tls_key_file";
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
