//! The verified certificate of a TLS client: what an identity may be known by.

use std::time::SystemTime;

/// The verified certificate of a TLS client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject alternative names, whole: a URI as it stands (`spiffe://prod/ns/shop`), others
    /// with their kind before them (`dns:checkout.shop.svc`, `ip:10.0.0.1`, `email:a@b.example`).
    pub names: Vec<String>,
    /// End of its validity.
    pub expires_at: SystemTime,
}
