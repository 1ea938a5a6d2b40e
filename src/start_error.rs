//! Errors that prevent a start.

use crate::backend::redis::tls::TlsError;
use crate::config::Problems;
use crate::net::listener::ListenError;
use crate::tls::TlsProblems;

/// Error that prevents a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process cannot listen on an address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS towards Redis cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS for callers cannot be set up.
    #[error(transparent)]
    ServerTls(#[from] TlsProblems),
    /// A file of the configuration cannot be used.
    #[error(transparent)]
    Config(#[from] Problems),
}
