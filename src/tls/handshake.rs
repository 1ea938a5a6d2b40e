//! Errors of handshakes, by cause.

use std::io;

use rustls::Error;

use super::material::reason;
use crate::net::stream::Stream;

/// The failure of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first byte is not that of TLS.
    #[error("the peer does not speak TLS")]
    PlainText,
    /// It did not end in time.
    #[error("the handshake timed out")]
    Timeout,
    /// The connection ended.
    #[error("the peer closed the connection during the handshake: {0}")]
    Closed(String),
    /// The certificate of the client does not verify, or is missing.
    #[error("the client certificate is refused: {0}")]
    Certificate(String),
    /// The client refuses the certificate of this server, or ended the handshake for another reason.
    #[error("the client ended the handshake: {0}")]
    Alert(String),
    /// There is no common version, cipher or protocol, or a message is invalid.
    #[error("no common way to speak TLS: {0}")]
    Protocol(String),
}

/// A handshake that has failed.
pub struct HandshakeFailure {
    /// The cause.
    pub error: HandshakeError,
    /// The connection, if the peer can still be told.
    pub stream: Option<Stream>,
}

// === impl HandshakeError ===

impl HandshakeError {
    pub(super) fn of(error: &io::Error) -> HandshakeError {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return HandshakeError::Closed(error.to_string());
        };
        match error {
            Error::NoCertificatesPresented => HandshakeError::Certificate("none was presented".to_owned()),
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                HandshakeError::Certificate(reason(error))
            }
            Error::AlertReceived(_) => HandshakeError::Alert(error.to_string()),
            error => HandshakeError::Protocol(error.to_string()),
        }
    }
}
