//! Trust in the client of an open connection, after each change of the material.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::sleep;

use super::material::TlsMaterial;

/// Longest wait for the end of a certificate: the clock may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Trust in the client of an open connection.
pub struct Trust {
    changes: watch::Receiver<Arc<TlsMaterial>>,
    /// The certificates that it has presented; none without a certificate.
    chain: Vec<CertificateDer<'static>>,
    /// End of its certificate.
    expires_at: Option<SystemTime>,
}

/// Completes when the client of a connection is not trusted any more, with the reason. Never without
/// TLS.
pub async fn lost(trust: Option<Trust>) -> String {
    match trust {
        Some(mut trust) => trust.lost().await,
        None => pending().await,
    }
}

// === impl Trust ===

impl Trust {
    pub(super) fn new(
        changes: watch::Receiver<Arc<TlsMaterial>>,
        chain: Vec<CertificateDer<'static>>,
        expires_at: Option<SystemTime>,
    ) -> Trust {
        Trust { changes, chain, expires_at }
    }

    /// Checks a client whose handshake has ended: the library verifies nothing when a session is
    /// resumed, and the material may have changed meanwhile.
    pub(super) fn check_begin(&mut self) -> Result<(), String> {
        self.check_expiry()?;
        if self.changes.has_changed().unwrap_or(false) { self.check() } else { Ok(()) }
    }

    /// Completes when the client is not trusted any more, with the reason.
    async fn lost(&mut self) -> String {
        loop {
            let left = self.expires_at.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
            let expiry = async {
                match left {
                    Some(left) => sleep(left.min(LONGEST_WAIT)).await,
                    None => pending().await,
                }
            };
            let checked = tokio::select! {
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.check(),
                    Err(_) => pending().await,
                },
                () = expiry => self.check_expiry(),
            };
            if let Err(reason) = checked {
                return reason;
            }
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let material = self.changes.borrow_and_update().clone();
        material.check_client(&self.chain)
    }

    fn check_expiry(&self) -> Result<(), String> {
        if self.expires_at.is_some_and(|end| end <= SystemTime::now()) { Err("expired".to_owned()) } else { Ok(()) }
    }
}
