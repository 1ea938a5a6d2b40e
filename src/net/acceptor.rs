//! The accept loop of a TCP server: listens, and admits connections within limits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{
    Activity, AdmittedConnection, ConnectionLimit, ConnectionLimits, ConnectionSlot, Connections,
};

/// Maximum number of connections that wait to be accepted.
///
/// The kernel caps it at net.core.somaxconn.
const BACKLOG: u32 = 1024;
/// Pause after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Minimum interval of warnings about the same cause.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Error of an address that the process cannot listen on.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {address}: {cause}")]
pub struct ListenError {
    /// The setting that gives the address.
    pub setting: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Error of the operating system.
    pub cause: io::Error,
}

/// Binds the address that `setting` gives, and listens on it. Returns the bound address, too.
///
/// `[::]` accepts IPv4, too, and means `0.0.0.0` on a system without IPv6.
pub fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let listener = bind_or_fall_back(address, bind);
    let listener = listener.map_err(|cause| ListenError { setting, address, cause })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

fn bind_or_fall_back<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match bind(address) {
        Err(error) if is_without_ipv6(&error) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
}

/// Returns true if a socket failed because the system has no IPv6 or it is disabled.
fn is_without_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|without| errno == Some(without.raw_os_error()))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart does not wait for connections of the previous process in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The accept loop of a server.
pub struct Acceptor {
    /// Name of the server in the log.
    pub server: &'static str,
    /// Connection limits.
    pub limits: ConnectionLimits,
    /// Bytes that are sent to a connection that is rejected.
    pub refusal: &'static [u8],
    /// Stops accepting when it is cancelled.
    pub stop: CancellationToken,
    /// Ends every connection when it is cancelled.
    pub kill: CancellationToken,
    /// Runs a task for each connection.
    pub tasks: TaskTracker,
}

/// An admitted connection.
pub struct AcceptedConnection {
    /// The stream.
    pub stream: TcpStream,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The slot of the connection. The task that serves it keeps it.
    pub slot: Arc<ConnectionSlot>,
}

/// Warnings about one cause, at most one in each [`WARNING_INTERVAL`].
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    count: u64,
}

// === impl Acceptor ===

impl Acceptor {
    /// Accepts connections until `stop` is cancelled, and serves each in a task of its own.
    ///
    /// Connections that the kernel has completed by then are served, too: their peers are connected
    /// and may have sent a request.
    pub async fn run<Serve, Work>(self, listener: TcpListener, serve: Serve)
    where
        Serve: Fn(AcceptedConnection) -> Work,
        Work: Future<Output = ()> + Send + 'static,
    {
        let connections = Connections::new(self.limits);
        let mut failed = Warnings::default();
        let mut reached = [Warnings::default(), Warnings::default()];
        let mut admit = |stream, peer: SocketAddr| {
            let AdmittedConnection { slot, reached: limit } = connections.admit(peer.ip(), Activity::Waiting);
            if let Some(limit) = limit {
                self.warn(&mut reached[limit as usize], limit, peer.ip());
            }
            match slot {
                Some(slot) => self.spawn(serve(AcceptedConnection { stream, peer, slot: Arc::new(slot) })),
                None => self.turn_away(stream, connections.clone()),
            }
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => admit(stream, peer),
                Err(error) => {
                    if let Some(count) = failed.due() {
                        tracing::warn!(server = self.server, %error, count, "a connection could not be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..=BACKLOG {
            let Ok((stream, peer)) = listener.accept() else { return };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                admit(stream, peer);
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.kill.clone().run_until_cancelled_owned(work));
    }

    fn turn_away(&self, mut stream: TcpStream, connections: Arc<Connections>) {
        let message = self.refusal;
        self.spawn(async move { connections.turn_away(&mut stream, message).await });
    }

    fn warn(&self, warnings: &mut Warnings, limit: ConnectionLimit, peer: IpAddr) {
        let Some(count) = warnings.due() else { return };
        let (server, ConnectionLimits { connections, per_peer }) = (self.server, self.limits);
        match limit {
            ConnectionLimit::All => {
                tracing::warn!(server, limit = connections, count, "connection limit reached; closing connections")
            }
            ConnectionLimit::Peer => {
                tracing::warn!(server, %peer, limit = per_peer, count, "connection limit of a peer reached; closing its connections");
            }
        }
    }
}

// === impl Warnings ===

impl Warnings {
    /// Counts an event. Returns the number of events since the last warning if another one is due.
    fn due(&mut self) -> Option<u64> {
        self.count += 1;
        if self.last.is_some_and(|last| last.elapsed() < WARNING_INTERVAL) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_falls_back_to_ipv4_without_ipv6() {
        let without = |address: SocketAddr| {
            if address.is_ipv4() { Ok(address) } else { Err(io::Error::from(Errno::AFNOSUPPORT)) }
        };
        let listened = |text: &str| bind_or_fall_back(text.parse().expect("an address"), without).ok();
        assert_eq!(listened("[::]:50051"), "0.0.0.0:50051".parse().ok());
        assert_eq!(listened("[::1]:50051"), None, "no other address stands for it");
        let taken = |_| Err::<(), _>(io::Error::from(Errno::ADDRINUSE));
        let error = bind_or_fall_back("[::]:1".parse().expect("an address"), taken).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_have_an_interval_and_a_count() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.due(), Some(1));
        assert_eq!((warnings.due(), warnings.due()), (None, None));
        tokio::time::advance(WARNING_INTERVAL).await;
        assert_eq!(warnings.due(), Some(3));
        assert_eq!(warnings.due(), None);
    }
}
