//! Closes a connection so that the peer receives everything that was written.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Maximum number of bytes that are read and discarded.
///
/// A peer within its flow-control windows sends less.
const MAX_DISCARDED_BYTES: u64 = 4 * 1024 * 1024;

/// Shuts down writing, then reads and discards until the peer closes, for at most `limit`.
///
/// The caller drops the stream afterwards.
///
/// A socket that is closed with unread input, or that receives input after it was closed, answers
/// with a reset. The reset discards what is still in the send buffer, so that the peer loses the
/// end of the last answer.
pub async fn orderly<S>(stream: &mut S, limit: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A failure means that the peer has disconnected.
    let _ = timeout(limit, finish(stream)).await;
}

async fn finish<S>(stream: &mut S) -> io::Result<u64>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    copy(&mut stream.take(MAX_DISCARDED_BYTES), &mut sink()).await
}

/// Completes `time` after `token` was cancelled.
pub async fn cancelled_for(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    sleep(time).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_close_ends_when_the_peer_closes() {
        let (mut here, mut peer) = duplex(64);
        here.write_all(b"last words").await.expect("written");
        let reading = async {
            peer.write_all(&[7; 500]).await.expect("taken");
            let mut read = Vec::new();
            peer.read_to_end(&mut read).await.expect("read");
            drop(peer);
            read
        };
        let began = Instant::now();
        let ((), read) = tokio::join!(orderly(&mut here, LIMIT), reading);
        assert_eq!((read, began.elapsed()), (b"last words".to_vec(), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_dropped_after_the_limit() {
        let (mut here, _peer) = duplex(64);
        let began = Instant::now();
        orderly(&mut here, LIMIT).await;
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_keeps_sending_is_dropped_after_a_byte_limit() {
        let (mut here, mut peer) = duplex(64 * 1024);
        let sending = async { while peer.write_all(&[7; 4096]).await.is_ok() {} };
        let closing = async {
            orderly(&mut here, Duration::MAX).await;
            drop(here);
        };
        tokio::join!(sending, closing);
    }
}
