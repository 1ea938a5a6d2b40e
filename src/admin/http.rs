//! `Admin`, the HTTP server: routes, security headers, shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::time::timeout;

use super::access::require_admin;
use super::host::AllowedHosts;
use super::recorder::Recorder;
use super::serve::{Accepting, Ends};
use super::sources::{AdminSources, MetricsText};
use crate::cache::key_form::KeyForm;
use crate::net::connections::ConnectionLimits;
use crate::net::listener::{DEFAULT_BACKLOG, ListenError, Listener};
use crate::tls::TlsServer;

/// Configuration of the admin server.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// True if the address is set explicitly: then do not fall back to another port.
    pub listen_is_given: bool,
    /// Address and port of probes alone. `None` if there is none.
    pub probes_listen: Option<SocketAddr>,
    /// Maximum number of connections of one address at once.
    pub max_connections_per_peer: usize,
    /// Names by which the server may be called.
    pub allowed_hosts: AllowedHosts,
    /// True if the dashboard is served.
    pub page: bool,
    /// Form of keys on the dashboard.
    pub keys: KeyForm,
}

/// A running admin server.
pub struct Admin {
    ends: Ends,
}

/// Sockets of the admin server.
pub struct AdminListeners {
    /// The socket of everything.
    pub main: Listener,
    /// Its address.
    pub address: SocketAddr,
    /// The socket of probes alone. `None` if there is none.
    pub probes: Option<Listener>,
}

/// Maximum number of connections at once. More than event streams, which are never evicted: probes
/// always get a connection.
const MAX_CONNECTIONS: usize = 64;

/// Content security policy: own origin only, no inline scripts or styles, no framing.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

// === impl AdminConfig ===

impl AdminConfig {
    /// Listens for the admin server. Falls back to any free port unless the address is set
    /// explicitly, so that several replicas run on one machine.
    pub fn bind(&self) -> Result<AdminListeners, ListenError> {
        let bind = |address| Listener::tcp("admin.listen", address, DEFAULT_BACKLOG);
        let main = match bind(self.listen) {
            Err(_) if !self.listen_is_given => bind(SocketAddr::new(self.listen.ip(), 0)),
            bound => bound,
        }?;
        let address = main.address().unwrap_or(self.listen);
        let probes = self.probes_listen.map(|address| Listener::tcp("admin.probes_listen", address, DEFAULT_BACKLOG));
        let probes = probes.transpose()?;
        Ok(AdminListeners { main, address, probes })
    }
}

// === impl Admin ===

impl Admin {
    /// Starts to serve on bound listeners, with TLS on all but that of probes.
    pub fn start(
        listeners: AdminListeners,
        tls: Option<Arc<TlsServer>>,
        config: AdminConfig,
        sources: AdminSources,
    ) -> Admin {
        let ends = Ends::default();
        let AdminListeners { main, probes, .. } = listeners;
        let AdminSources { observed, fleet, metrics, authority } = sources;
        let probe_routes = super::health::routes(observed.health.clone(), observed.l2.clone());
        let mut restricted = metrics.map_or_else(Router::new, scrape);
        if config.page {
            let recorder = Arc::new(Recorder::new(observed, fleet, config.keys));
            ends.tasks.spawn(ends.closing.clone().run_until_cancelled_owned(recorder.clone().run()));
            let events = super::events::routes(recorder, authority.changes(), ends.closing.clone());
            restricted = restricted.merge(super::page::routes()).merge(events);
        }
        let restricted = restricted.layer(middleware::from_fn_with_state(authority, require_admin));
        let hosts = Arc::new(config.allowed_hosts);
        let guarded = |router: Router| router.layer(middleware::from_fn_with_state(hosts.clone(), guard));
        let limits = ConnectionLimits { connections: MAX_CONNECTIONS, per_peer: config.max_connections_per_peer };
        let router = guarded(probe_routes.clone().merge(restricted));
        let accepting = Accepting { server: "admin", tls, limits, ends: ends.clone() };
        ends.tasks.spawn(super::serve::accept(main, router, accepting));
        if let Some(probes) = probes {
            let accepting = Accepting { server: "probes", tls: None, limits, ends: ends.clone() };
            ends.tasks.spawn(super::serve::accept(probes, guarded(probe_routes), accepting));
        }
        Admin { ends }
    }

    /// Stops accepting, ends the event streams, waits at most `timeout` for responses in progress
    /// and closes the remaining connections.
    pub async fn close(self, limit: Duration) {
        let Ends { closing, kill, tasks } = self.ends;
        closing.cancel();
        tasks.close();
        let _ = timeout(limit, tasks.wait()).await;
        kill.cancel();
        tasks.wait().await;
    }
}

fn scrape(metrics: MetricsText) -> Router {
    let handler = move || async move {
        // Takes milliseconds, and more with many namespaces: too long for a worker of the runtime.
        let text = tokio::task::spawn_blocking(move || metrics()).await;
        text.map(|text| ([(CONTENT_TYPE, PROMETHEUS)], text)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    };
    Router::new().route("/metrics", get(handler))
}

/// Adds the security headers to every response. Refuses requests of other hosts and sites.
async fn guard(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let mut response = match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let added = [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    let headers = response.headers_mut();
    added.into_iter().for_each(|(name, value)| _ = headers.insert(name, HeaderValue::from_static(value)));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::*;

    #[tokio::test]
    async fn metrics_are_those_of_the_moment_in_the_form_of_prometheus() {
        let mut router = scrape(Arc::new({
            let count = std::sync::atomic::AtomicUsize::new(0);
            move || format!("calls_total {}\n", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }));
        for calls in 0..2 {
            let request = Request::get("/metrics").body(Body::empty()).expect("a request");
            let response = router.call(request).await.expect("infallible");
            assert_eq!(response.headers()[CONTENT_TYPE], PROMETHEUS);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(body, format!("calls_total {calls}\n"));
        }
    }
}
