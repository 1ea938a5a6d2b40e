//! The peer of a connection, for logs, traces and limits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The address and port of a TCP peer.
    Tcp(SocketAddr),
    /// A process of this machine. Its end of a unix socket has no address.
    Unix,
}

// === impl Peer ===

impl Peer {
    /// Returns the address and port. `None` for a unix socket.
    pub fn socket_address(self) -> Option<SocketAddr> {
        match self {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        }
    }

    /// Returns the address by which limits count the peer.
    ///
    /// All peers of unix sockets count as one: as `0.0.0.0`, which no TCP peer has.
    pub fn ip(self) -> IpAddr {
        self.socket_address().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_peer_counts_as_an_address_that_no_tcp_peer_has() {
        let tcp = Peer::Tcp("[::1]:50051".parse().expect("an address"));
        assert_eq!((tcp.to_string(), tcp.ip().to_string()), ("[::1]:50051".to_owned(), "::1".to_owned()));
        assert_eq!((Peer::Unix.to_string(), Peer::Unix.ip().is_unspecified()), ("unix".to_owned(), true));
        assert_ne!(
            crate::net::connections::peer_address(Peer::Unix.ip()),
            crate::net::connections::peer_address(tcp.ip())
        );
    }
}
