//! Statistics of TLS and reloads: counters, and the ends of certificates.

use std::time::SystemTime;

use super::counters::SecurityCounters;
use crate::sync::Mutex;

/// Statistics of TLS and reloads.
#[derive(Default)]
pub struct SecurityStats {
    /// Counters.
    pub counters: SecurityCounters,
    ends: Mutex<CertificateEnds>,
}

/// The certificates whose end matters. All are `None` without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateEnds {
    /// The certificate of the server.
    pub server: Option<CertificateLife>,
    /// The authority of client certificates that ends first.
    pub client_ca: Option<CertificateLife>,
}

/// Begin and end of the validity of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateLife {
    /// Begin.
    pub not_before: SystemTime,
    /// End.
    pub not_after: SystemTime,
}

// === impl SecurityStats ===

impl SecurityStats {
    /// Sets the certificates that are in use from now on.
    pub fn set_ends(&self, ends: CertificateEnds) {
        *self.ends.lock() = ends;
    }

    /// Returns the certificates in use.
    pub fn ends(&self) -> CertificateEnds {
        *self.ends.lock()
    }
}
