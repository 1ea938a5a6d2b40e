//! TLS of the servers: its start, its part of a reload, and its statistics.

use std::sync::Arc;
use std::time::SystemTime;

use super::part::{Commit, Part};
use crate::cache::stats::{CertificateEnds, CertificateLife, SecurityStats};
use crate::config::{Config, Origin, Problem, Problems};
use crate::tls::{HandshakeError, TlsMaterial, TlsProblem, TlsProblems, TlsServer, Validity};

/// TLS of the servers of a replica.
pub type ServerTls = Option<Arc<TlsServer>>;

/// Reads the files of TLS, if the configuration names them.
///
/// A certificate that has expired does not prevent a start: callers see why they are refused, and
/// a renewed one takes effect without another start.
pub fn start(config: &Config, stats: &Arc<SecurityStats>) -> Result<ServerTls, TlsProblems> {
    let Some(config) = &config.tls else { return Ok(None) };
    let material = TlsMaterial::load(config)?;
    take_effect(&material, stats);
    let stats = stats.clone();
    Ok(Some(TlsServer::new(material, Box::new(move |error| count(&stats, error)))))
}

/// Returns the part of a reload that replaces certificates, key and trust.
pub(super) fn part(tls: Arc<TlsServer>, stats: Arc<SecurityStats>) -> Part {
    Box::new(move |config| {
        // To switch TLS off needs a restart, which is logged.
        let Some(config) = &config.tls else { return Ok(Box::new(|| ())) };
        let material = TlsMaterial::load(config).map_err(problems)?;
        if let Some(fault) = material.fault(SystemTime::now()) {
            return Err(problems(fault.into()));
        }
        let (tls, stats) = (tls.clone(), stats.clone());
        let commit: Commit = Box::new(move || {
            take_effect(&material, &stats);
            tls.replace(material);
        });
        Ok(commit)
    })
}

fn take_effect(material: &TlsMaterial, stats: &SecurityStats) {
    for TlsProblem { setting, file, cause } in &material.warnings {
        tracing::warn!(setting, file, cause, "tls: weak setting");
    }
    let life = |validity: Validity| CertificateLife { not_before: validity.not_before, not_after: validity.not_after };
    stats.set_ends(CertificateEnds {
        server: Some(life(material.certificate)),
        client_ca: material.client_ca.map(life),
    });
}

fn count(stats: &SecurityStats, error: Option<&HandshakeError>) {
    let counters = &stats.counters;
    let counter = match error {
        None => &counters.handshakes,
        Some(HandshakeError::PlainText) => &counters.handshakes_plain_text,
        Some(HandshakeError::Timeout) => &counters.handshakes_timed_out,
        Some(HandshakeError::Closed(_)) => &counters.handshakes_closed,
        Some(HandshakeError::Certificate(_)) => &counters.handshakes_certificate,
        Some(HandshakeError::Alert(_)) => &counters.handshakes_alert,
        Some(HandshakeError::Protocol(_)) => &counters.handshakes_protocol,
    };
    counter.inc();
}

/// Converts problems of files of TLS.
pub fn problems(problems: TlsProblems) -> Problems {
    let problem = |TlsProblem { setting, file, cause }| Problem {
        path: setting.to_owned(),
        rule: cause,
        value: None,
        origin: Origin::File(file.into()),
    };
    Problems(problems.0.into_iter().map(problem).collect())
}
