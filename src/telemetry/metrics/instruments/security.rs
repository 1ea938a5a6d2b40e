//! Metrics of TLS and reloads.

use std::time::{SystemTime, UNIX_EPOCH};

use super::table::{each, instrument};
use crate::telemetry::metrics::instrument::Instrument;
use crate::telemetry::metrics::instrument::InstrumentSource::{Counter, Measure};

pub static INSTRUMENTS: &[Instrument] = &[
    instrument(
        "twintier.tls.handshakes",
        "",
        &["result"],
        "TLS handshakes of callers and of the admin port: `ok`; `plain_text`, a peer without TLS; `timeout`; `closed` by the peer; `certificate`, refused or missing; `alert` of the peer, which refuses the certificate of the service; `protocol`, no common version or protocol",
        Counter(|at, emit| {
            let security = &at.report.security;
            let results = [
                ("ok", security.handshakes),
                ("plain_text", security.handshakes_plain_text),
                ("timeout", security.handshakes_timed_out),
                ("closed", security.handshakes_closed),
                ("certificate", security.handshakes_certificate),
                ("alert", security.handshakes_alert),
                ("protocol", security.handshakes_protocol),
            ];
            each(emit, results);
        }),
    ),
    instrument(
        "twintier.tls.certificate.expiry",
        "s",
        &["certificate"],
        "When a certificate ends, in seconds since 1970: `server`, with those between it and its authority; `client_ca`, the authority of clients that ends first; absent without TLS",
        Measure(|at, emit| {
            let ends = at.report.certificates;
            for (certificate, life) in [("server", ends.server), ("client_ca", ends.client_ca)] {
                if let Some(life) = life {
                    emit(&[certificate], seconds(life.not_after));
                }
            }
        }),
    ),
    instrument(
        "twintier.reloads",
        "",
        &["result"],
        "Reloads of the configuration and its files: `ok`, or `failed` and without effect",
        Counter(|at, emit| {
            let security = &at.report.security;
            each(emit, [("ok", security.reloads), ("failed", security.reloads_failed)]);
        }),
    ),
];

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
