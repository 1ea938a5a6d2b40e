//! The time in which a certificate is valid, and how urgent its renewal is.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days before the end at which a renewal is due.
const THRESHOLDS: [u32; 3] = [1, 7, 30];

/// The time in which a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Begin.
    pub not_before: SystemTime,
    /// End.
    pub not_after: SystemTime,
}

/// How urgent the renewal of a certificate is. A later variant is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It ends within so many days.
    Within(std::cmp::Reverse<u32>),
    /// Its time has not come.
    NotYetValid,
    /// It has ended.
    Expired,
}

// === impl Validity ===

impl Validity {
    /// Reads the validity of a certificate. `None` if it cannot be parsed.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Validity { not_before: system_time(&validity.not_before), not_after: system_time(&validity.not_after) })
    }

    /// Returns the validity of all certificates together.
    pub(super) fn of_all(all: impl IntoIterator<Item = Validity>) -> Option<Validity> {
        all.into_iter().reduce(|one, other| Validity {
            not_before: one.not_before.max(other.not_before),
            not_after: one.not_after.min(other.not_after),
        })
    }

    /// Returns how urgent the renewal is. `None` if it is not.
    ///
    /// A threshold of more than half of the whole validity says nothing: a certificate that lives
    /// for a day is renewed by a program, within hours.
    pub fn urgency(&self, now: SystemTime) -> Option<Urgency> {
        let Ok(left) = self.not_after.duration_since(now) else { return Some(Urgency::Expired) };
        if now < self.not_before {
            return Some(Urgency::NotYetValid);
        }
        let whole = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let due = |days: &u32| left <= DAY * *days && whole >= DAY * *days * 2;
        THRESHOLDS.into_iter().find(due).map(|days| Urgency::Within(std::cmp::Reverse(days)))
    }

    /// Returns why the certificate does not verify now.
    pub fn fault(&self, now: SystemTime) -> Option<&'static str> {
        match self.urgency(now) {
            Some(Urgency::Expired) => Some("the certificate has expired"),
            Some(Urgency::NotYetValid) => Some("the certificate is not valid yet"),
            _ => None,
        }
    }
}

pub(super) fn system_time(time: &ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    fn urgency(lived_days: u32, left_days: i32) -> Option<Urgency> {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let end = if left_days < 0 { now - DAY * left_days.unsigned_abs() } else { now + DAY * left_days as u32 };
        Validity { not_before: now - DAY * lived_days, not_after: end }.urgency(now)
    }

    #[test]
    fn the_nearest_threshold_counts() {
        assert_eq!(urgency(300, 65), None);
        assert_eq!(urgency(335, 30), Some(Urgency::Within(Reverse(30))));
        assert_eq!(urgency(358, 7), Some(Urgency::Within(Reverse(7))));
        assert_eq!(urgency(364, 1), Some(Urgency::Within(Reverse(1))));
        assert_eq!(urgency(366, -1), Some(Urgency::Expired));
    }

    #[test]
    fn a_short_life_is_no_reason_to_warn() {
        assert_eq!(urgency(0, 1), None);
        assert_eq!(urgency(1, 1), Some(Urgency::Within(Reverse(1))));
        assert_eq!(urgency(10, 10), None);
        assert_eq!(urgency(60, 30), Some(Urgency::Within(Reverse(30))));
    }

    #[test]
    fn a_more_urgent_renewal_is_greater() {
        let order = [Urgency::Within(Reverse(30)), Urgency::Within(Reverse(1)), Urgency::NotYetValid, Urgency::Expired];
        assert!(order.is_sorted());
    }
}
