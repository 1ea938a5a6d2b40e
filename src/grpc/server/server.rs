//! A running gRPC server: accepts connections, and drains them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{GrpcListener, ServerConfig};
use super::connection::{ConnectionContext, serve_connection};
use super::services::{ServerParts, Services};
use crate::net::acceptor::Acceptor;
use crate::net::connections::Connections;
use crate::tls::TlsServer;

/// A running server.
pub struct ServerHandle {
    stop_accepting: CancellationToken,
    close: CancellationToken,
    tasks: TaskTracker,
}

// === impl ServerHandle ===

impl ServerHandle {
    /// Starts a server on bound listeners. They share the limits of connections.
    ///
    /// With `tls` those that are not plain speak TLS.
    pub fn start(
        listeners: Vec<GrpcListener>,
        tls: Option<Arc<TlsServer>>,
        config: ServerConfig,
        parts: ServerParts,
    ) -> ServerHandle {
        let (stop_accepting, close, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let acceptor = Acceptor {
            server: "grpc",
            connections: Connections::new(config.connections),
            // No GOAWAY: a gRPC client that has received SETTINGS counts the connection as
            // established and reconnects without backoff. A close before SETTINGS is a failed
            // attempt: the client backs off and tries its other addresses.
            refusal: b"",
            stop: stop_accepting.clone(),
            kill: close.clone(),
            tasks: tasks.clone(),
        };
        let shared = Arc::new(ConnectionContext {
            load: parts.admission.clone(),
            http2: config.http2.clone(),
            max_deadline: config.max_deadline,
            hint: parts.hint.clone(),
            authority: parts.authority.clone(),
            services: Services::new(&config, parts),
            proxy_warnings: Default::default(),
            stop_accepting: stop_accepting.clone(),
        });
        for GrpcListener { listener, is_plain } in listeners {
            let (shared, tls) = (shared.clone(), tls.clone().filter(|_| !is_plain));
            let serve = move |connection| {
                let (shared, tls) = (shared.clone(), tls.clone());
                async move {
                    let _counted = shared.load.track_connection();
                    serve_connection(connection, tls.as_deref(), &shared).await;
                }
            };
            tasks.spawn(acceptor.clone().run(listener, serve));
        }
        ServerHandle { stop_accepting, close, tasks }
    }

    /// Drains the server: stops accepting, shuts down every connection gracefully, and waits at
    /// most `drain_timeout` for the last RPCs.
    ///
    /// Then closes the remaining connections. Returns true if none remained.
    pub async fn drain(&self, drain_timeout: Duration) -> bool {
        self.stop_accepting.cancel();
        self.tasks.close();
        let graceful = timeout(drain_timeout, self.tasks.wait()).await.is_ok();
        self.close.cancel();
        self.tasks.wait().await;
        graceful
    }
}
