//! The serving loop: accepts connections and speaks HTTP/1.1 on each, within limits. The one place here that knows hyper.

mod places;
mod stalling;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use places::Places;
use stalling::Stalling;

/// Most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// Longest time for a request's head, and longest silence between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Age at which a connection, and a stream of events, ends. The page connects anew.
pub const AGE: Duration = Duration::from_secs(15 * 60);
/// Longest time from then, or from the end of the service, to the end of an answer under way.
const GRACE: Duration = Duration::from_millis(300);
/// Pause between two warnings that there is no room.
const QUIET: Duration = Duration::from_secs(60);

/// Where connections come in, as many as there is room for.
struct Door {
    router: Router,
    closing: CancellationToken,
    tasks: TaskTracker,
    places: Places,
    warned: Option<Instant>,
}

pub async fn accept(listener: TcpListener, router: Router, closing: CancellationToken, tasks: TaskTracker) {
    let mut door = Door { router, closing: closing.clone(), tasks, places: Places::default(), warned: None };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => door.admit(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin server could not be accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

// === impl Door ===

impl Door {
    /// Serves a connection, if there is room.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.places.take(peer.ip()) else { return self.warn(peer) };
        let (router, closing) = (self.router.clone(), self.closing.clone());
        self.tasks.spawn(async move {
            let _place = place;
            serve_connection(stream, router, &closing).await;
        });
    }

    fn warn(&mut self, peer: SocketAddr) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= QUIET) {
            self.warned = Some(Instant::now());
            let peer = peer.ip();
            tracing::warn!(%peer, "the admin server has no room for a connection of this peer; closing it and others");
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, closing: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How it ended is of interest to its peer only.
        _ = &mut connection => return,
        () = sleep(AGE) => {}
        () = closing.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
