//! TLS of the servers: certificates and trust from files, handshakes, and what a reload changes.
//!
//! Knows no protocol above it. A client's side is in `cli`, that of Redis in `backend`.

mod client_names;
mod config;
mod error;
mod expiry;
mod files;
mod handshake;
mod material;
mod server;
mod stream;
mod trust;
mod validity;

pub use config::{ClientAuth, MinVersion, TlsConfig};
pub use error::{TlsProblem, TlsProblems};
pub use expiry::warn_of_expiry;
pub use handshake::{HandshakeError, HandshakeFailure};
pub use material::{HttpVersion, TlsMaterial};
pub use server::{HandshakeObserver, Secured, TlsServer};
pub use stream::{ServerStream, split};
pub use trust::{Trust, lost};
pub use validity::{Urgency, Validity};
