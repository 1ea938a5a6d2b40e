//! Sockets that accept connections: TCP, and unix sockets with their files.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::peer::Peer;
use super::socket_file::SocketFile;
use super::stream::Stream;

/// Default of the maximum number of connections that wait to be accepted.
///
/// The kernel caps it at net.core.somaxconn.
pub const DEFAULT_BACKLOG: u32 = 1024;
/// Maximum number of connections that are accepted after the socket stopped to listen.
const MAX_COMPLETED: u32 = 65_536;

/// Error of an address that the process cannot listen on.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {address}: {cause}")]
pub struct ListenError {
    /// The setting that gives the address.
    pub setting: &'static str,
    /// The address, or the path of a unix socket.
    pub address: String,
    /// Error of the operating system, or of a file that is in the way.
    pub cause: io::Error,
}

/// A socket that accepts connections.
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A unix socket, and its file.
    Unix(UnixListener, SocketFile),
}

// === impl Listener ===

impl Listener {
    /// Listens on the TCP address that `setting` gives.
    ///
    /// `[::]` accepts IPv4, too, and means `0.0.0.0` on a system without IPv6.
    pub fn tcp(setting: &'static str, address: SocketAddr, backlog: u32) -> Result<Listener, ListenError> {
        let listener = bind_or_fall_back(address, |address| bind(address, backlog));
        let address = address.to_string();
        listener.map(Listener::Tcp).map_err(|cause| ListenError { setting, address, cause })
    }

    /// Listens on a unix socket at the path that `setting` gives, with a file of these permissions.
    ///
    /// Replaces a socket on which no process listens, and no other file.
    pub async fn unix(setting: &'static str, path: &Path, mode: u32, backlog: u32) -> Result<Listener, ListenError> {
        let bound = SocketFile::bind(path, mode).await;
        let listener = bound.and_then(|(socket, file)| Ok(Listener::Unix(socket.listen(backlog)?, file)));
        let address = path.display().to_string();
        listener.map_err(|cause| ListenError { setting, address, cause })
    }

    /// Returns the bound TCP address. `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Accepts a connection.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| (Either::Left(stream), Peer::Tcp(peer)))
            }
            Listener::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| (Either::Right(stream), Peer::Unix))
            }
        }
    }

    /// Closes the socket, and removes the file of a unix socket.
    ///
    /// Returns the connections that the kernel has completed by then.
    pub fn close(self) -> Vec<(Stream, Peer)> {
        match self {
            Listener::Tcp(listener) => completed(listener.into_std(), |listener| {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Either::Left(TcpStream::from_std(stream)?), Peer::Tcp(peer)))
            }),
            Listener::Unix(listener, file) => {
                drop(file);
                completed(listener.into_std(), |listener| {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok((Either::Right(UnixStream::from_std(stream)?), Peer::Unix))
                })
            }
        }
    }
}

/// Accepts without waiting, until there is no further connection.
fn completed<L>(listener: io::Result<L>, accept: impl Fn(&L) -> io::Result<(Stream, Peer)>) -> Vec<(Stream, Peer)> {
    let Ok(listener) = listener else { return Vec::new() };
    (0..MAX_COMPLETED).map_while(|_| accept(&listener).ok()).collect()
}

fn bind_or_fall_back<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match bind(address) {
        Err(error) if is_without_ipv6(&error) && address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
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

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart does not wait for connections of the previous process in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
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
}
