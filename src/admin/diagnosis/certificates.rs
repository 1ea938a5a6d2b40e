//! Finding about certificates: one ends soon, or has ended.

use super::finding::{Finding, Level, Signs};
use crate::tls::{Urgency, Validity};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Returns the finding about the certificate whose renewal is most urgent.
pub(super) fn ending(signs: &Signs<'_>) -> Option<Finding> {
    let (ends, now) = (signs.now.certificates, signs.now.wall);
    let named = [("certificate of the service", ends.server), ("authority of client certificates", ends.client_ca)];
    let urgent = named.into_iter().filter_map(|(name, life)| {
        let life = life?;
        let validity = Validity { not_before: life.not_before, not_after: life.not_after };
        Some((validity.urgency(now)?, name, life.not_after))
    });
    let (urgency, name, end) = urgent.max_by_key(|(urgency, ..)| *urgency)?;
    let left = end.duration_since(now).unwrap_or_default().as_secs();
    let (title, level) = match urgency {
        Urgency::Expired => (format!("The {name} has expired"), Level::Critical),
        Urgency::NotYetValid => (format!("The {name} is not valid yet"), Level::Critical),
        Urgency::Within(_) => (format!("The {name} ends soon"), Level::Warning),
    };
    Some(Finding {
        level,
        kind: "certificate_ends",
        title,
        meaning: "Callers and this service refuse each other when it has ended.".to_owned(),
        evidence: match (left / DAY_SECONDS, left / 3600) {
            (0, 0) => format!("{} min left", left / 60),
            (0, hours) => format!("{hours} h left"),
            (days, _) => format!("{days} days left"),
        },
        action: "Replace the file: it takes effect within auth.reload_interval, or at once with SIGHUP.",
        runbook: "twintiercertificateends",
    })
}
