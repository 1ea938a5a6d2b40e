//! TLS of the servers: accepts handshakes with the material of the moment.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::client_names::client_certificate;
use super::handshake::{HandshakeError, HandshakeFailure};
use super::material::{HttpVersion, TlsMaterial};
use super::stream::ServerStream;
use super::trust::Trust;
use crate::net::certificate::ClientCertificate;
use crate::net::stream::Stream;

/// First byte of a TLS connection: a record of a handshake.
const HANDSHAKE_RECORD: u8 = 22;

/// TLS of the servers, with material that can be replaced.
pub struct TlsServer {
    material: watch::Sender<Arc<TlsMaterial>>,
    observe: HandshakeObserver,
}

/// Called after each handshake, with the error if it failed.
pub type HandshakeObserver = Box<dyn Fn(Option<&HandshakeError>) + Send + Sync>;

/// A connection that is ready for its protocol.
pub struct Secured {
    /// The connection.
    pub stream: ServerStream,
    /// The verified certificate of the client. `None` without one.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Trust in the client. `None` without TLS.
    pub trust: Option<Trust>,
}

// === impl Secured ===

impl Secured {
    /// A connection without TLS.
    pub fn plain(stream: Stream) -> Secured {
        Secured { stream: Either::Left(stream), certificate: None, trust: None }
    }
}

// === impl TlsServer ===

impl TlsServer {
    /// Creates a server with this material.
    pub fn new(material: TlsMaterial, observe: HandshakeObserver) -> Arc<TlsServer> {
        Arc::new(TlsServer { material: watch::Sender::new(Arc::new(material)), observe })
    }

    /// Returns the material of the moment.
    pub fn material(&self) -> Arc<TlsMaterial> {
        self.material.borrow().clone()
    }

    /// Replaces the material. Open connections verify their clients again, and new handshakes use
    /// it.
    pub fn replace(&self, material: TlsMaterial) {
        self.material.send_replace(Arc::new(material));
    }

    /// Returns the material, and a notice of each later one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<TlsMaterial>> {
        self.material.subscribe()
    }

    /// Accepts a handshake, within its timeout.
    pub async fn accept(&self, stream: Stream, protocol: HttpVersion) -> Result<Secured, HandshakeFailure> {
        let accepted = self.try_accept(stream, protocol).await;
        (self.observe)(accepted.as_ref().err().map(|failure| &failure.error));
        accepted
    }

    async fn try_accept(&self, stream: Stream, protocol: HttpVersion) -> Result<Secured, HandshakeFailure> {
        let mut changes = self.material.subscribe();
        let material = changes.borrow_and_update().clone();
        let accepted = timeout(material.handshake_timeout, shake_hands(&material, stream, protocol));
        let stream = match accepted.await {
            Ok(accepted) => accepted?,
            Err(_) => return Err(HandshakeFailure { error: HandshakeError::Timeout, stream: None }),
        };
        let refused = |cause: String| HandshakeFailure { error: HandshakeError::Certificate(cause), stream: None };
        let chain: Vec<CertificateDer<'static>> = match stream.get_ref().1.peer_certificates() {
            Some(chain) => chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            None => Vec::new(),
        };
        let certificate = match chain.first() {
            Some(first) => Some(client_certificate(first).ok_or_else(|| refused("cannot be parsed".to_owned()))?),
            None => None,
        };
        let expires_at = certificate.as_ref().map(|certificate| certificate.expires_at);
        let mut trust = Trust::new(changes, chain, expires_at);
        trust.check_begin().map_err(refused)?;
        let stream = Either::Right(Box::new(stream));
        Ok(Secured { stream, certificate: certificate.map(Arc::new), trust: Some(trust) })
    }
}

async fn shake_hands(
    material: &TlsMaterial,
    stream: Stream,
    protocol: HttpVersion,
) -> Result<TlsStream<Stream>, HandshakeFailure> {
    match speaks_tls(&stream).await {
        Ok(true) => {}
        Ok(false) => return Err(HandshakeFailure { error: HandshakeError::PlainText, stream: Some(stream) }),
        Err(error) => return Err(HandshakeFailure { error: HandshakeError::Closed(error.to_string()), stream: None }),
    }
    let acceptor = TlsAcceptor::from(material.server_config(protocol));
    let accepted = acceptor.accept(stream).into_fallible().await;
    // The alert is written already. The peer reads it if the connection is closed in order.
    accepted.map_err(|(error, stream)| HandshakeFailure { error: HandshakeError::of(&error), stream: Some(stream) })
}

/// Waits for the first byte, and returns true if it can be that of TLS.
async fn speaks_tls(stream: &Stream) -> io::Result<bool> {
    let Either::Left(tcp) = stream else { return Ok(true) };
    let mut first = [0];
    match tcp.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE_RECORD),
    }
}
