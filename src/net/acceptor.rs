//! The accept loop of a server: admits connections within limits, and serves each in a task.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{
    Activity, AdmittedConnection, ConnectionLimit, ConnectionLimits, ConnectionSlot, Connections,
};
use super::listener::Listener;
use super::peer::Peer;
use super::stream::Stream;

/// Pause after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Minimum interval of warnings about the same cause.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The accept loop of a server. Clones, one for each listener, share the limits.
#[derive(Clone)]
pub struct Acceptor {
    /// Name of the server in the log.
    pub server: &'static str,
    /// The open connections, and their limits.
    pub connections: Arc<Connections>,
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
    pub stream: Stream,
    /// The peer.
    pub peer: Peer,
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
    pub async fn run<Serve, Work>(self, listener: Listener, serve: Serve)
    where
        Serve: Fn(AcceptedConnection) -> Work,
        Work: Future<Output = ()> + Send + 'static,
    {
        let mut failed = Warnings::default();
        let mut reached = [Warnings::default(), Warnings::default()];
        let mut admit = |stream, peer: Peer| {
            let AdmittedConnection { slot, reached: limit } = self.connections.admit(peer.ip(), Activity::Waiting);
            if let Some(limit) = limit {
                self.warn(&mut reached[limit as usize], limit, peer);
            }
            match slot {
                Some(slot) => self.spawn(serve(AcceptedConnection { stream, peer, slot: Arc::new(slot) })),
                None => self.turn_away(stream),
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
        for (stream, peer) in listener.close() {
            admit(stream, peer);
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.kill.clone().run_until_cancelled_owned(work));
    }

    fn turn_away(&self, mut stream: Stream) {
        let (connections, message) = (self.connections.clone(), self.refusal);
        self.spawn(async move { connections.turn_away(&mut stream, message).await });
    }

    fn warn(&self, warnings: &mut Warnings, limit: ConnectionLimit, peer: Peer) {
        let Some(count) = warnings.due() else { return };
        let (server, ConnectionLimits { connections, per_peer }) = (self.server, self.connections.limits());
        match limit {
            ConnectionLimit::All => {
                tracing::warn!(server, limit = connections, count, "connection limit reached; closing connections")
            }
            ConnectionLimit::Peer => {
                let peer = peer.socket_address().map_or_else(|| peer.to_string(), |address| address.ip().to_string());
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
