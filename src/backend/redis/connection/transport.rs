//! The byte stream between fred and a server: connects, terminates TLS, and relays.
//!
//! fred connects to addresses only. So it gets the name of a socket of this process, and the
//! server's bytes pass [`ReplyScanner`] on their way there. Trips of reads do not go through fred:
//! the relay sends them between fred's requests.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf, split};
use tokio::net::unix::ReadHalf;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::context::RedisContext;
use super::direct_trips::{DirectTrips, OwedReplies, ReplyRouter, SentTrip};
use super::large_values::Moved;
use super::reply_limits::ReplyLimits;
use super::reply_scanner::ReplyScanner;
use crate::backend::redis::config::{Address, RedisConfig};
use crate::units::format_duration;

/// Buffer for relayed requests, bytes.
const REQUESTS_BUFFER: usize = 16 * 1024;
/// Buffer for relayed replies, bytes.
const REPLIES_BUFFER: usize = 64 * 1024;

/// The reason when a server ends a connection.
pub const CLOSED: &str = "the server closed the connection";

/// The reason for which a connection ended, once it is known.
pub type EndCause = Arc<OnceLock<String>>;

/// The traffic of a connection beside fred's.
#[derive(Clone)]
pub struct Traffic {
    /// Bytes moved.
    pub moved: Arc<Moved>,
    /// Sends trips.
    pub trips: DirectTrips,
}

/// A connection to a server. It ends when dropped.
pub struct Relay {
    /// The socket that fred has to connect to.
    pub socket: PathBuf,
    /// The reason for which the server's side ended. It is set before fred's side ends.
    pub cause: EndCause,
    /// Bytes moved, and trips beside fred's requests.
    pub traffic: Traffic,
    /// Runs until either side ends.
    _task: AbortOnDropHandle<()>,
}

/// Connects to a server. The error is text.
pub async fn connect(shared: &RedisContext, address: &Address) -> Result<Relay, String> {
    let config = &shared.config;
    let limits = ReplyLimits::of(&config.limits);
    let (host, stream) = match address {
        Address::Unix { path } => {
            let stream = within(config, UnixStream::connect(path)).await?;
            return relay(stream, limits, false);
        }
        Address::Tcp { host, port } => (host, within(config, TcpStream::connect((host.as_str(), *port))).await?),
    };
    let _ = stream.set_nodelay(true);
    let Some(tls) = &shared.tls else { return relay(stream, limits, false) };
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("no certificate can name {host:?}"))?;
    let handshake = TlsConnector::from(tls.config(shared.clock.now())).connect(name, stream);
    match timeout(config.connect_timeout, handshake).await {
        Ok(stream) => relay(stream.map_err(|error| handshake_failure(&error))?, limits, true),
        Err(_) => {
            let limit = format_duration(config.connect_timeout);
            Err(format!("tls: no answer to the handshake within {limit}{PERHAPS_PLAIN}"))
        }
    }
}

async fn within<T>(config: &RedisConfig, connecting: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(config.connect_timeout, connecting).await {
        Ok(connected) => connected.map_err(|error| io_words(&error)),
        Err(_) => Err(format!("no connection within {}", format_duration(config.connect_timeout))),
    }
}

/// Offers a socket to fred and relays between the first connection of this process and the server.
fn relay<S>(server: S, limits: ReplyLimits, tls: bool) -> Result<Relay, String>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let socket = socket_name();
    let listener =
        UnixListener::bind(&socket).map_err(|error| format!("cannot create the relay socket: {}", io_words(&error)))?;
    let (cause, moved) = (EndCause::default(), Arc::<Moved>::default());
    let (trips, sent_trips) = DirectTrips::channel();
    let task = AbortOnDropHandle::new(tokio::spawn({
        let (cause, moved, socket) = (cause.clone(), moved.clone(), socket.clone());
        async move {
            let client = own_connection(&listener).await;
            drop(listener);
            // If the name is that of a file.
            let _ = std::fs::remove_file(socket);
            if let Ok(client) = client {
                let owed = OwedReplies::default();
                let relayed = Relayed { sent_trips, owed: &owed, limits, moved: &moved, tls };
                let why = carry(client, server, relayed).await;
                why.into_iter().for_each(|why| _ = cause.set(why));
            }
        }
    }));
    Ok(Relay { socket, cause, traffic: Traffic { moved, trips }, _task: task })
}

/// A unique name of a socket, without a file if the system supports that.
fn socket_name() -> PathBuf {
    let name = format!("twintier-{}-{:032x}", std::process::id(), rand::random::<u128>());
    if cfg!(any(target_os = "linux", target_os = "android")) {
        PathBuf::from(format!("\0{name}"))
    } else {
        std::env::temp_dir().join(name)
    }
}

/// Waits for a connection of this process. Rejects other processes, which may see the name.
async fn own_connection(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        let peer = stream.peer_cred()?;
        if peer.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            return Ok(stream);
        }
    }
}

/// The parts of a relay beside its two sides.
struct Relayed<'a> {
    sent_trips: UnboundedReceiver<SentTrip>,
    owed: &'a OwedReplies,
    limits: ReplyLimits,
    moved: &'a Moved,
    tls: bool,
}

/// Relays until either side ends. Returns the cause if the server's side did.
async fn carry<S: AsyncRead + AsyncWrite>(mut client: UnixStream, server: S, relayed: Relayed<'_>) -> Option<String> {
    let Relayed { sent_trips, owed, limits, moved, tls } = relayed;
    let (from_client, mut to_client) = client.split();
    let (mut from_server, to_server) = split(server);
    let replies = async {
        let mut router = ReplyRouter::new(ReplyScanner::new(limits), owed);
        let mut buffer = vec![0; REPLIES_BUFFER];
        let mut answered = false;
        loop {
            let size = match from_server.read(&mut buffer).await {
                Ok(0) => return ended(CLOSED.to_owned(), answered, tls),
                Ok(size) => size,
                Err(error) => return ended(tls_failure(&error).unwrap_or_else(|| io_words(&error)), answered, tls),
            };
            answered = true;
            moved.receive(size);
            let mut rest = &buffer[..size];
            while !rest.is_empty() {
                let (run, is_freds) = match router.run(rest) {
                    Ok(run) => run,
                    Err(violation) => return violation.to_string(),
                };
                if is_freds && to_client.write_all(&rest[..run]).await.is_err() {
                    // The other direction ends.
                    return std::future::pending().await;
                }
                rest = &rest[run..];
            }
        }
    };
    tokio::select! {
        () = carry_requests(from_client, to_server, (sent_trips, limits.reply), owed, moved) => None,
        why = replies => Some(why),
    }
}

/// Relays requests of fred, and sends trips between them, until fred's side ends.
async fn carry_requests<S: AsyncWrite>(
    mut from_client: ReadHalf<'_>,
    mut to_server: WriteHalf<S>,
    (mut sent_trips, max_reply): (UnboundedReceiver<SentTrip>, usize),
    owed: &OwedReplies,
    moved: &Moved,
) {
    let mut scanner = ReplyScanner::of_requests();
    let mut buffer = vec![0; REQUESTS_BUFFER];
    let mut trips = Vec::new();
    loop {
        let bytes = tokio::select! {
            Some(trip) = sent_trips.recv(), if scanner.is_between() => {
                trips.clear();
                owed.owe_trip(trip, max_reply, &mut trips);
                while let Ok(trip) = sent_trips.try_recv() {
                    owed.owe_trip(trip, max_reply, &mut trips);
                }
                &trips[..]
            }
            read = from_client.read(&mut buffer) => match read {
                Ok(size @ 1..) => {
                    let Ok(requests) = scanner.scan(&buffer[..size]) else { return };
                    owed.owe_fred(requests);
                    &buffer[..size]
                }
                Ok(0) | Err(_) => return,
            },
        };
        let sent = async {
            to_server.write_all(bytes).await?;
            to_server.flush().await
        };
        if sent.await.is_err() {
            // The other direction has the cause.
            return std::future::pending().await;
        }
        moved.send(bytes.len());
    }
}

/// The likely cause if a server does not take part in a handshake.
const PERHAPS_PLAIN: &str = "; if the server does not speak TLS, redis.url has to begin with redis instead of rediss";
/// The likely cause if a server closes a connection without an answer.
const PERHAPS_TLS: &str = " before its first answer; if it speaks TLS, redis.url has to begin with rediss";
/// The likely cause after a TLS handshake.
const PERHAPS_CERTIFICATE: &str = " before its first answer; if it asks for a certificate of this client, set redis.client_cert_file and redis.client_key_file";

/// The cause of the end of a connection, with a hint if the server has sent nothing at all.
fn ended(why: String, answered: bool, tls: bool) -> String {
    match (answered || why.contains("; "), tls) {
        (true, _) => why,
        (false, true) => why + PERHAPS_CERTIFICATE,
        (false, false) => why + PERHAPS_TLS,
    }
}

fn handshake_failure(error: &io::Error) -> String {
    tls_failure(error).unwrap_or_else(|| format!("tls: {}{PERHAPS_PLAIN}", io_words(error)))
}

/// The text of a TLS error, with the setting to change.
///
/// `None` for an error of the connection below.
fn tls_failure(error: &io::Error) -> Option<String> {
    use rustls::{AlertDescription, Error};
    let cause = error.get_ref()?.downcast_ref::<Error>()?;
    let setting = match cause {
        Error::InvalidMessage(_) => PERHAPS_PLAIN,
        Error::InvalidCertificate(_) => "; redis.tls_ca_file names the authorities that are trusted",
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired,
        ) => "; redis.client_cert_file and redis.client_key_file name the certificate of this client",
        _ => "",
    };
    Some(format!("tls: {cause}{setting}"))
}

/// The text of an error of the system, without its number.
fn io_words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return CLOSED.to_owned();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
