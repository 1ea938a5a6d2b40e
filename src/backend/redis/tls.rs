//! TLS towards Redis: the system's roots, or the authorities of one file.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read.
    #[error("redis.tls_ca_file {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// There is nobody to trust.
    #[error("no certificate authorities: the system has none, and redis.tls_ca_file is not set")]
    NoRoots,
    /// The TLS library refuses.
    #[error("tls: {0}")]
    Library(#[from] rustls::Error),
}

/// TLS that trusts the authorities in `ca_file`, or the system's.
pub fn client(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let failed = |cause: String| TlsError::File { path: path.display().to_string(), cause };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                roots
                    .add(certificate.map_err(|error| failed(error.to_string()))?)
                    .map_err(|e| failed(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("holds no certificate".to_owned()));
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
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
