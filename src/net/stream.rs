//! A connection over TCP or a unix socket.

use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_util::either::Either;

/// A connection over TCP or a unix socket.
pub type Stream = Either<TcpStream, UnixStream>;

/// The half of a [`Stream`] that reads.
pub type ReadHalf<'a> = Either<tcp::ReadHalf<'a>, unix::ReadHalf<'a>>;

/// The half of a [`Stream`] that writes.
pub type WriteHalf<'a> = Either<tcp::WriteHalf<'a>, unix::WriteHalf<'a>>;

/// Sends small writes at once. A unix socket always does.
pub fn disable_delay(stream: &Stream) {
    if let Either::Left(stream) = stream {
        // A failure means that the peer has disconnected.
        let _ = stream.set_nodelay(true);
    }
}

/// Splits a connection into its halves, without a lock.
pub fn split(stream: &mut Stream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    match stream {
        Either::Left(stream) => {
            let (read, write) = stream.split();
            (Either::Left(read), Either::Left(write))
        }
        Either::Right(stream) => {
            let (read, write) = stream.split();
            (Either::Right(read), Either::Right(write))
        }
    }
}
