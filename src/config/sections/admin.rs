//! Settings of the admin server: metrics, probes and the dashboard over HTTP.

use std::net::{Ipv4Addr, SocketAddr};

use super::log::KEY_FORMS;
use crate::admin::{AdminConfig, AllowedHosts};
use crate::cache::key_form::KeyForm;
use crate::config::reader::Reader;

const LISTEN: &str = "admin.listen";
const PROBES_LISTEN: &str = "admin.probes_listen";
const ALLOWED_HOSTS: &str = "admin.allowed_hosts";

/// Reads the section; `None` if the server is off.
pub(crate) fn read(reader: &mut Reader) -> Option<AdminConfig> {
    let enabled = reader.boolean("admin.enabled", true, "serve metrics, probes and the dashboard by HTTP");
    let config = AdminConfig {
        listen: reader.address(
            LISTEN,
            SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            "address and port of the HTTP server for metrics, probes and the dashboard; with auth.mode enforce all but probes needs the verb admin; if not set and the port is taken, any free port of loopback",
        ),
        listen_is_given: reader.is_given(LISTEN),
        probes_listen: reader.optional_address(
            PROBES_LISTEN,
            "address and port for /livez and /readyz alone, without TLS and with connections of its own, for the probes of an orchestrator",
        ),
        max_connections_per_peer: reader.count(
            "admin.max_connections_per_peer",
            16,
            1..=64,
            "most connections of one address (IPv6: of one /64) to that server at once, of 64 in all",
        ),
        allowed_hosts: allowed_hosts(reader),
        page: reader.boolean("admin.page", true, "serve the dashboard and its event stream"),
        keys: reader.choice("admin.keys", KeyForm::Hashed, &KEY_FORMS, "form of hot keys on the dashboard: the hash as in the log, or plain text"),
    };
    if !enabled && config.probes_listen.is_some() {
        reader.contradict(PROBES_LISTEN, "admin.enabled", "has no effect without the admin server");
    }
    enabled.then_some(config)
}

fn allowed_hosts(reader: &mut Reader) -> AllowedHosts {
    let names = reader.texts(
        ALLOWED_HOSTS,
        "a list of host names",
        "names by which that server may be called, beside localhost and IP addresses; requests by other names are refused, so that no web page of another site reads it; *.cache.svc allows all names below",
    );
    AllowedHosts::new(names).unwrap_or_else(|wrong| {
        let rule = format!("must be a host name, which *. may begin; was {wrong:?}");
        reader.problem_of(ALLOWED_HOSTS, ALLOWED_HOSTS.to_owned(), rule);
        AllowedHosts::default()
    })
}
