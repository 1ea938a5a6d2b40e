//! Reads a connection for HTTP/2, within the budget of its peer and in turns with other
//! connections.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::frame_meter::FrameMeter;

/// Bytes that are read before other connections have their turn.
const TURN_BYTES: usize = 32 << 10;

/// The reading half of a connection.
///
/// When the peer has sent too much that carries no request, HTTP/2 reads frames that end the
/// connection, and nothing of the peer any more.
pub(super) struct MeteredReader<R> {
    inner: R,
    meter: FrameMeter,
    /// Bytes of this turn.
    turn: usize,
    /// The frames that end the connection, as far as they were not read.
    ending: Option<Vec<u8>>,
    flooded: CancellationToken,
}

// === impl MeteredReader ===

impl<R> MeteredReader<R> {
    /// Wraps a connection. `flooded` is cancelled when its peer has sent too much.
    pub fn new(inner: R, meter: FrameMeter, flooded: CancellationToken) -> MeteredReader<R> {
        MeteredReader { inner, meter, turn: 0, ending: None, flooded }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for MeteredReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(ending) = &mut this.ending {
            let part = ending.split_off(buffer.remaining().min(ending.len()));
            buffer.put_slice(&std::mem::replace(ending, part));
            return Poll::Ready(Ok(()));
        }
        if this.turn >= TURN_BYTES {
            this.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(context, buffer) else {
            this.turn = 0;
            return Poll::Pending;
        };
        let bytes = &buffer.filled()[before..];
        this.turn += bytes.len();
        if let Some(end) = this.meter.read(bytes) {
            buffer.set_filled(before + end);
            // HTTP/2 would take a read of nothing for the end of the connection.
            let mut ending = this.meter.ending();
            let part = ending.split_off(buffer.remaining().min(ending.len()));
            buffer.put_slice(&ending);
            this.ending = Some(part);
            this.flooded.cancel();
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::cache::admission::limits::{Admission, AdmissionLimits};
    use crate::cache::admission::slot::Streams;
    use crate::grpc::tracked_body::WriteProgress;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn reader(bytes: Vec<u8>) -> (MeteredReader<std::io::Cursor<Vec<u8>>>, CancellationToken) {
        let limits = AdmissionLimits {
            requests: 8,
            bytes: 1 << 20,
            probes: 8,
            watches: 8,
            connections: 8,
            waiting: 8,
            peer_share: 0.8,
        };
        let (admission, flooded) = (Arc::new(Admission::new(limits)), CancellationToken::new());
        let (account, streams) = (admission.account([127, 0, 0, 1].into()), Streams::new(8, &admission));
        let meter = FrameMeter::new(Arc::new(WriteProgress::new(account, streams)), 0);
        (MeteredReader::new(std::io::Cursor::new(bytes), meter, flooded.clone()), flooded)
    }

    #[tokio::test]
    async fn a_flood_is_replaced_by_the_frames_that_end_the_connection() {
        let (mut reader, flooded) = reader(PING.repeat(100_000));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.expect("no error");
        let pings = read.chunks(PING.len()).take_while(|frame| **frame == PING).count();
        assert!((200..90_000).contains(&pings), "{pings}");
        assert_eq!(read[PING.len() * pings..][..9], [0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert!(flooded.is_cancelled());
    }

    #[tokio::test]
    async fn other_connections_have_their_turn() {
        // One DATA frame of the greatest length.
        let bytes = [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], &[7; 1 << 20]].concat();
        let ((mut reader, _), mut buffer) = (reader(bytes), vec![0; 8 << 10]);
        let mut turn = 0;
        while let Some(read) = reader.read(&mut buffer).now_or_never() {
            turn += read.expect("no error");
        }
        assert_eq!(turn, TURN_BYTES);
        assert!(reader.read(&mut buffer).now_or_never().is_some(), "the next turn");
    }
}
