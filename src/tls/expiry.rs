//! Warnings of certificates that end soon: at each threshold, and then once a day.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::material::TlsMaterial;
use super::server::TlsServer;
use super::validity::{Urgency, Validity};

/// Interval at which certificates are looked at.
const INTERVAL: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The last warning of one certificate.
#[derive(Default)]
struct Told {
    urgency: Option<Urgency>,
    at: Option<SystemTime>,
}

/// Warns of certificates that end soon, until it is dropped.
pub async fn warn_of_expiry(tls: Arc<TlsServer>) {
    let mut changes = tls.subscribe();
    drop(tls);
    let mut told = [Told::default(), Told::default()];
    loop {
        let material = changes.borrow_and_update().clone();
        let [server, client_ca] = &mut told;
        let file = material.certificate_file.as_str();
        server.warn("server", file, Some(material.certificate), SystemTime::now());
        client_ca.warn("client_ca", authority_file(&material), material.client_ca, SystemTime::now());
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => told = [Told::default(), Told::default()],
                Err(_) => return,
            },
            () = sleep(INTERVAL) => {}
        }
    }
}

fn authority_file(material: &TlsMaterial) -> &str {
    material.client_ca_file.as_deref().unwrap_or_default()
}

// === impl Told ===

impl Told {
    /// Logs how urgent the renewal is, if it was not told within a day.
    fn warn(&mut self, certificate: &str, file: &str, validity: Option<Validity>, now: SystemTime) {
        let Some(validity) = validity else { return };
        let Some(urgency) = self.due(validity.urgency(now), now) else { return };
        match urgency {
            Urgency::Within(Reverse(days)) => {
                tracing::warn!(certificate, file, days, "tls: a certificate ends within days: renew it");
            }
            Urgency::NotYetValid => tracing::error!(certificate, file, "tls: a certificate is not valid yet"),
            Urgency::Expired => tracing::error!(certificate, file, "tls: a certificate has expired"),
        }
    }

    /// Returns the urgency if it has to be told.
    fn due(&mut self, urgency: Option<Urgency>, now: SystemTime) -> Option<Urgency> {
        let is_old = self.at.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age >= DAY));
        if urgency == self.urgency && !is_old {
            return None;
        }
        (self.urgency, self.at) = (urgency, Some(now));
        urgency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_is_told_once_and_then_daily() {
        let (mut told, start) = (Told::default(), SystemTime::UNIX_EPOCH);
        let (far, near) = (Some(Urgency::Within(Reverse(30))), Some(Urgency::Within(Reverse(7))));
        assert_eq!(told.due(None, start), None);
        assert_eq!(told.due(far, start + INTERVAL), far);
        assert_eq!(told.due(far, start + INTERVAL * 2), None);
        assert_eq!(told.due(far, start + INTERVAL + DAY), far);
        assert_eq!(told.due(near, start + INTERVAL * 2 + DAY), near);
        assert_eq!(told.due(None, start + INTERVAL * 3 + DAY), None);
        assert_eq!(told.due(near, start + INTERVAL * 4 + DAY), near);
    }
}
