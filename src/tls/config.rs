//! Configuration of TLS for the servers.

use std::path::PathBuf;
use std::time::Duration;

/// Configuration of TLS for the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate of the server and those between it and its authority, in PEM.
    pub cert_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
    /// Authorities of client certificates, in PEM. `None` if no client is asked for a certificate.
    pub client_ca_file: Option<PathBuf>,
    /// The demand for client certificates.
    pub client_auth: ClientAuth,
    /// Revoked client certificates, in PEM.
    pub crl_file: Option<PathBuf>,
    /// Oldest version of TLS.
    pub min_version: MinVersion,
    /// Timeout of a handshake.
    pub handshake_timeout: Duration,
    /// True if the admin server speaks TLS, too.
    pub admin: bool,
}

/// The demand for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is not asked for one.
    Off,
    /// It may. One that does not verify ends the handshake.
    Optional,
    /// It must.
    Required,
}

/// Oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}
