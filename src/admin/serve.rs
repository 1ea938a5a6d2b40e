//! The serving loop: accepts connections and speaks HTTP/1.1 on each, within limits. The one place here that knows hyper.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections at once; more are closed.
const CONNECTIONS: usize = 64;
/// Most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// Longest time for a request's head, and longest silence between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Age at which a connection, and a stream of events, ends: who does not read does not keep its place for ever. The page connects anew.
pub const AGE: Duration = Duration::from_secs(15 * 60);
/// Longest time from then, or from the end of the service, to the end of an answer under way.
const GRACE: Duration = Duration::from_millis(500);

pub async fn accept(listener: TcpListener, router: Router, closing: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closing.cancelled() => return,
        };
        let (stream, place) = match (accepted, places.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => (stream, place),
            (Ok(_), Err(_)) => continue,
            (Err(error), _) => {
                tracing::warn!(%error, "a connection to the admin server could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (router, closing) = (router.clone(), closing.clone());
        tasks.spawn(async move {
            let _place = place;
            serve_connection(stream, router, &closing).await;
        });
    }
}

async fn serve_connection(stream: TcpStream, router: Router, closing: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
