//! The HTTP server beside the gRPC service: metrics, probes and the dashboard.

use std::net::{Ipv4Addr, SocketAddr};

use crate::config::reader::Reader;

/// The admin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whether it is served.
    pub enabled: bool,
    /// Address and port.
    pub listen: SocketAddr,
    /// Whether the address was given: then no other will do.
    pub listen_is_given: bool,
    /// Whether it serves the dashboard.
    pub page: bool,
    /// How the dashboard names keys of entries.
    pub keys: PageKeys,
}

/// How the dashboard names keys of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKeys {
    /// By the hash that the log has, too.
    Hashed,
    /// As they are.
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
                "address and port of the HTTP server for metrics, probes and the dashboard, to whoever reaches it; when not set and taken, any free port of loopback",
            ),
            listen_is_given: reader.is_given(LISTEN),
            page: reader.boolean("admin.page", true, "serve the dashboard, and the events it is made of"),
            keys: reader.choice("admin.keys", PageKeys::Hashed, &KEYS, "how the dashboard names the keys read most"),
        }
    }
}
