//! Collects what HTTP/2 writes, so that the responses of one turn reach the socket in one call.

use std::cell::Cell;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::sync::Mutex;

/// Bytes that are collected before the socket has to take them.
const CAPACITY: usize = 64 << 10;
/// Minimum size of a write that is not copied.
const LARGE_WRITE_BYTES: usize = 8 << 10;

thread_local! {
    /// The memory of the buffer that was emptied last. An idle connection has none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The writing half of a connection. Clones share it.
///
/// To HTTP/2 a flush is always done. The task of the connection calls `poll_write_out` at the end of
/// each of its turns.
pub(super) struct WriteBuffer<W>(Arc<Mutex<SocketOutput<W>>>);

struct SocketOutput<W> {
    socket: W,
    buffer: Vec<u8>,
    /// Bytes of the buffer that the socket has taken.
    taken: usize,
    failed: Option<ErrorKind>,
    /// True if the socket may hold bytes back until a flush, as TLS does.
    is_unflushed: bool,
}

// === impl WriteBuffer ===

impl<W> Clone for WriteBuffer<W> {
    fn clone(&self) -> Self {
        WriteBuffer(self.0.clone())
    }
}

impl<W: AsyncWrite + Unpin> WriteBuffer<W> {
    /// Creates an empty buffer in front of a socket.
    pub fn new(socket: W) -> WriteBuffer<W> {
        WriteBuffer(Arc::new(Mutex::new(SocketOutput {
            socket,
            buffer: Vec::new(),
            taken: 0,
            failed: None,
            is_unflushed: false,
        })))
    }

    /// Writes to the socket as much as it takes. A failure is that of the next write.
    pub fn poll_write_out(&self, context: &mut Context<'_>) {
        let _ = self.output().poll_write_out(context);
    }

    fn output(&self) -> MutexGuard<'_, SocketOutput<W>> {
        self.0.lock()
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for WriteBuffer<W> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let output = &mut *self.output();
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        let is_large = size >= LARGE_WRITE_BYTES;
        if is_large || output.buffer.len() + size > CAPACITY {
            ready!(output.poll_write_out(context))?;
        }
        match output.failed {
            Some(failed) => Poll::Ready(Err(failed.into())),
            None if is_large => {
                output.is_unflushed = true;
                Pin::new(&mut output.socket).poll_write_vectored(context, slices)
            }
            None => {
                output.collect(slices);
                Poll::Ready(Ok(size))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let output = &mut *self.output();
        ready!(output.poll_write_out(context))?;
        Pin::new(&mut output.socket).poll_shutdown(context)
    }
}

// === impl SocketOutput ===

impl<W: AsyncWrite + Unpin> SocketOutput<W> {
    fn collect(&mut self, slices: &[IoSlice<'_>]) {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
            self.buffer.reserve_exact(CAPACITY);
        }
        slices.iter().for_each(|slice| self.buffer.extend_from_slice(slice));
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.taken < self.buffer.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(context, &self.buffer[self.taken..])) {
                Ok(taken) if taken > 0 => {
                    self.taken += taken;
                    self.is_unflushed = true;
                }
                failed => return self.fail(failed.err().unwrap_or_else(|| Error::from(ErrorKind::WriteZero))),
            }
        }
        self.release();
        if self.is_unflushed {
            if let Err(error) = ready!(Pin::new(&mut self.socket).poll_flush(context)) {
                return self.fail(error);
            }
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn fail(&mut self, error: Error) -> Poll<Result<()>> {
        self.failed = Some(error.kind());
        self.release();
        Poll::Ready(Err(error))
    }

    /// Empties the buffer, and leaves its memory to the next one.
    fn release(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.taken = 0;
        buffer.clear();
        if buffer.capacity() > 0 {
            SPARE.set(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::task::noop_waker_ref;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn write_out(buffer: &WriteBuffer<impl AsyncWrite + Unpin>) -> Poll<Result<()>> {
        buffer.output().poll_write_out(&mut Context::from_waker(noop_waker_ref()))
    }

    #[tokio::test]
    async fn writes_are_collected_until_the_end_of_the_turn() {
        let (mut peer, socket) = duplex(1024);
        let mut buffer = WriteBuffer::new(socket);
        buffer.write_all(b"one, ").await.expect("collected");
        buffer.flush().await.expect("nothing to wait for");
        buffer.write_all(b"two").await.expect("collected");
        let mut read = [0; 8];
        assert!(peer.read_u8().now_or_never().is_none());
        assert!(write_out(&buffer).is_ready());
        peer.read_exact(&mut read).await.expect("written");
        assert_eq!(&read, b"one, two");
        assert_eq!(buffer.output().buffer.capacity(), 0, "an idle connection keeps no memory");
    }

    #[tokio::test]
    async fn a_socket_that_holds_bytes_back_is_flushed_at_the_end_of_the_turn() {
        let (mut peer, socket) = duplex(1024);
        let mut buffer = WriteBuffer::new(tokio::io::BufWriter::with_capacity(512, socket));
        let mut read = [0; 3];
        for bytes in [b"one", b"two"] {
            buffer.write_all(bytes).await.expect("collected");
            assert!(write_out(&buffer).is_ready());
            assert!(!buffer.output().is_unflushed);
            peer.read_exact(&mut read).await.expect("flushed");
            assert_eq!(&read, bytes);
        }
    }

    #[tokio::test]
    async fn order_is_kept_across_large_writes_and_a_slow_peer() {
        let (mut peer, socket) = duplex(1000);
        let mut buffer = WriteBuffer::new(socket);
        let writes: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 499]).collect();
        let expected = writes.concat();
        let writing = async move {
            for bytes in &writes {
                buffer.write_all(bytes).await.expect("a peer that reads");
            }
            buffer.shutdown().await.expect("a peer that reads");
        };
        let reading = async {
            let mut read = Vec::new();
            peer.read_to_end(&mut read).await.expect("an open connection");
            read
        };
        let ((), read) = tokio::join!(writing, reading);
        assert!(read == expected);
    }

    #[tokio::test]
    async fn what_a_peer_does_not_read_is_bounded_and_its_end_is_an_error() {
        let (peer, socket) = duplex(1);
        let mut buffer = WriteBuffer::new(socket);
        let mut written = 0;
        while let Some(result) = buffer.write(&[7; 1000]).now_or_never() {
            written += result.expect("room");
        }
        assert!(written <= CAPACITY, "{written}");
        drop(peer);
        assert!(matches!(write_out(&buffer), Poll::Ready(Err(_))));
        assert!(buffer.write(b"more").await.is_err());
    }
}
