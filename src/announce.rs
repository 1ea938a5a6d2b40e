//! Words about a start: its log lines, and the hint for peers that do not speak gRPC.

use std::net::SocketAddr;

use tracing::field::display;

use crate::auth::AuthMode;
use crate::cache::fleet::replica::Replica;
use crate::cache::log_fields::millis;
use crate::config::Config;
use crate::grpc::Hint;

/// Returns the hint for peers of the gRPC port that do not speak gRPC.
pub(crate) fn hint(config: &Config, admin: Option<SocketAddr>) -> Hint {
    let dashboard = admin.filter(|address| !address.ip().is_unspecified());
    let dashboard = dashboard.filter(|_| config.admin.as_ref().is_some_and(|admin| admin.page));
    Hint::new(dashboard.map(|address| admin_url(config, address)), config.tls.is_some())
}

/// Returns the URL of the admin server.
fn admin_url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls.as_ref().is_some_and(|tls| tls.admin) { "https" } else { "http" };
    format!("{scheme}://{address}/")
}

/// Warns of settings that leave the service open.
pub(crate) fn warn_of_open_access(config: &Config) {
    let auth = &config.auth;
    let identities = auth.identities.len();
    match auth.mode {
        AuthMode::Off if identities > 0 => {
            tracing::warn!(identities, "auth.mode is off: identities are configured, and nothing is denied")
        }
        AuthMode::Shadow => tracing::warn!("auth.mode is shadow: nothing is denied"),
        AuthMode::Enforce if identities == 0 && auth.anonymous.is_empty() => {
            tracing::warn!("auth.mode is enforce without identities: every request is denied")
        }
        AuthMode::Off | AuthMode::Enforce => {}
    }
    if auth.mode != AuthMode::Off && !auth.anonymous.is_empty() {
        tracing::warn!(grants = auth.anonymous.len(), "auth.anonymous grants access without a credential");
    }
}

/// Logs the addresses of a replica that starts.
pub(crate) fn announce(config: &Config, address: Option<SocketAddr>, admin: Option<SocketAddr>, replica: &Replica) {
    let version = env!("CARGO_PKG_VERSION");
    if let (Some(address), Some(admin)) = (admin, &config.admin) {
        let url = admin_url(config, address);
        let dashboard = if admin.page { url.as_str() } else { "off" };
        tracing::info!(dashboard, metrics = %format_args!("{url}metrics"), "admin server listening");
    }
    if let Some(address) = config.server.listen_plain {
        tracing::warn!(%address, "serving plain text, too (server.listen_plain): callers may still do without TLS");
    }
    let address = address.map(display);
    let socket = config.server.unix.as_ref().map(|unix| display(unix.path.display()));
    match &config.redis {
        Some(redis) => {
            let (url, max_staleness_ms) = (&redis.url, millis(config.coherence.max_staleness));
            tracing::info!(address, socket, version, replica = %replica.id, redis = %url, max_staleness_ms, "twintier serves");
        }
        None => {
            tracing::info!(address, socket, version, replica = %replica.id, "twintier serves");
            tracing::warn!(
                "no Redis is configured (redis.url): L1 only; entries live in this replica's memory and nowhere else"
            );
        }
    }
    if !config.cache.switches.enabled {
        tracing::warn!("the cache is switched off (cache.enabled): Gets miss and Sets store nothing");
    }
}
