//! Settings of the admin server: metrics, probes and the dashboard over HTTP.

use std::net::{Ipv4Addr, SocketAddr};

use crate::config::reader::Reader;

/// The admin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// True if it is served.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// True if set explicitly: then do not fall back to another port.
    pub listen_is_given: bool,
    /// True if it serves the dashboard.
    pub page: bool,
    /// Form of keys on the dashboard.
    pub keys: PageKeys,
}

/// Form of keys on the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKeys {
    /// Hash of the key, as in the log.
    Hashed,
    /// Plain text.
    Clear,
}

const LISTEN: &str = "admin.listen";
const KEYS: [(&str, PageKeys); 2] = [("hashed", PageKeys::Hashed), ("clear", PageKeys::Clear)];

// === impl Admin ===

impl Admin {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9090));
        Admin {
            enabled: reader.boolean("admin.enabled", true, "serve metrics, probes and the dashboard by HTTP"),
            listen: reader.address(
                LISTEN,
                listen,
                "address and port of the HTTP server for metrics, probes and the dashboard, without authentication; if not set and the port is taken, any free port of loopback",
            ),
            listen_is_given: reader.is_given(LISTEN),
            page: reader.boolean("admin.page", true, "serve the dashboard and its event stream"),
            keys: reader.choice("admin.keys", PageKeys::Hashed, &KEYS, "form of hot keys on the dashboard: the hash as in the log, or plain text"),
        }
    }
}
