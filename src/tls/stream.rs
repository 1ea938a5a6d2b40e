//! A connection of a server, with TLS or without, and its halves.

use tokio::io;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::net::stream::{self, Stream};

/// A connection of a server: plain, or inside TLS.
pub type ServerStream = Either<Stream, Box<TlsStream<Stream>>>;

/// The half of a [`ServerStream`] that reads.
pub type ReadHalf<'a> = Either<stream::ReadHalf<'a>, io::ReadHalf<&'a mut TlsStream<Stream>>>;

/// The half of a [`ServerStream`] that writes.
pub type WriteHalf<'a> = Either<stream::WriteHalf<'a>, io::WriteHalf<&'a mut TlsStream<Stream>>>;

/// Splits a connection into its halves: a plain one without a lock.
pub fn split(connection: &mut ServerStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    match connection {
        Either::Left(plain) => {
            let (read, write) = stream::split(plain);
            (Either::Left(read), Either::Left(write))
        }
        Either::Right(tls) => {
            let (read, write) = io::split(&mut **tls);
            (Either::Right(read), Either::Right(write))
        }
    }
}
