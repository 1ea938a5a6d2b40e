//! Flags of TLS and credentials, which all client commands have.

use std::path::PathBuf;

use clap::Args;

/// TLS and credentials of a client command.
#[derive(Args, Clone, Debug, Default)]
pub struct CredentialArgs {
    /// Call with TLS, as with https:// in --server; a unix socket has none
    #[arg(long, env = "TWINTIER_TLS")]
    pub tls: bool,
    /// Certificates of the authorities to trust, in PEM; default: those of the system
    #[arg(long, value_name = "FILE", env = "TWINTIER_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Certificate to present to the service, in PEM
    #[arg(long, value_name = "FILE", env = "TWINTIER_CERT_FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "TWINTIER_KEY_FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// File with a token to present to the service, as authorization: Bearer
    #[arg(long, value_name = "FILE", env = "TWINTIER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token to another machine without TLS, though others may read it on its way
    #[arg(long, env = "TWINTIER_PLAIN_TEXT_TOKEN")]
    pub plain_text_token: bool,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// Plain text.
    Plain,
    /// TLS without a certificate of the client.
    Tls,
    /// TLS with a certificate of the client.
    MutualTls,
}
