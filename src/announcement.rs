//! Log lines of a start: addresses, and settings that an operator has to know of.

use std::net::SocketAddr;

use tracing::field::display;

use crate::auth::AuthMode;
use crate::cache::fleet::replica::Replica;
use crate::cache::log_fields::millis;
use crate::config::Config;

/// Warns of settings that leave the service open.
pub fn warn_of_open_access(config: &Config) {
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

/// Logs where the service listens, and what it does not do.
pub fn announce(config: &Config, address: Option<SocketAddr>, admin: Option<SocketAddr>, replica: &Replica) {
    let version = env!("CARGO_PKG_VERSION");
    if let (Some(address), Some(admin)) = (admin, &config.admin) {
        let dashboard = if admin.page { format!("http://{address}/") } else { "off".to_owned() };
        tracing::info!(%dashboard, metrics = %format_args!("http://{address}/metrics"), "admin server listening");
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
