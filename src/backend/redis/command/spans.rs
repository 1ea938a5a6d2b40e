//! Spans of calls to Redis and of bus messages, by OpenTelemetry's conventions.
//!
//! They hold commands and names of scripts, never an argument.

use std::net::IpAddr;

use tracing::Span;
use tracing::field::Empty;

use crate::backend::redis::config::{Address, Servers};
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::primary::Primary;
use crate::cache::spans::{APPLY, NAMESPACE, OUTCOME, TARGET};
use crate::cache::tier::bus::Message;

const SYSTEM: &str = "db.system.name";
const OPERATION: &str = "db.operation.name";
const PROCEDURE: &str = "db.stored_procedure.name";
const DATABASE: &str = "db.namespace";
const BATCH_SIZE: &str = "db.operation.batch.size";
const STATUS: &str = "db.response.status_code";
const ERROR_TYPE: &str = "error.type";
const SERVER: &str = "server.address";
const SERVER_PORT: &str = "server.port";
const PEER: &str = "network.peer.address";
const PEER_PORT: &str = "network.peer.port";
const MESSAGING_SYSTEM: &str = "messaging.system";
const MESSAGING_OPERATION: &str = "messaging.operation.name";
const MESSAGING_TYPE: &str = "messaging.operation.type";
const PARTITION: &str = "messaging.destination.partition.id";

/// The span of a call to a primary, in the trace of its caller.
pub fn call(command: CommandKind, primary: &Primary) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "twintier.l2",
        otel.kind = "client",
        otel.name = Empty,
        otel.status_code = Empty,
        { SYSTEM } = "redis",
        { OPERATION } = command.operation(),
        { PROCEDURE } = command.script(),
        { DATABASE } = Empty,
        { BATCH_SIZE } = command.batch_size(),
        { STATUS } = Empty,
        { ERROR_TYPE } = Empty,
        { SERVER } = Empty,
        { SERVER_PORT } = Empty,
        { PEER } = Empty,
        { PEER_PORT } = Empty,
    );
    if !span.is_disabled() {
        say_where(&span, command, primary);
    }
    span
}

fn say_where(span: &Span, command: CommandKind, primary: &Primary) {
    let config = &primary.context.config;
    span.record(DATABASE, config.url.database.to_string().as_str());
    let (server, port) = configured(&config.url.servers);
    let target = match (command.script(), port) {
        (Some(script), _) => script.to_owned(),
        (None, Some(port)) => format!("{server}:{port}"),
        (None, None) => server.clone(),
    };
    span.record("otel.name", format!("{} {target}", command.operation()).as_str());
    span.record(SERVER, server.as_str());
    span.record(SERVER_PORT, port);
    match &primary.address {
        Address::Tcp { host, port } if host.parse::<IpAddr>().is_ok() => {
            span.record(PEER, host.as_str()).record(PEER_PORT, port);
        }
        // The address behind a host name is not known here.
        Address::Tcp { .. } => {}
        Address::Unix { path } => _ = span.record(PEER, path.display().to_string().as_str()),
    }
}

/// The configured address and port of Redis; for several servers, all of them without a port.
fn configured(servers: &Servers) -> (String, Option<u64>) {
    if let Servers::Standalone(Address::Tcp { host, port }) = servers {
        return (host.clone(), Some(u64::from(*port)));
    }
    (servers.addresses().iter().map(Address::to_string).collect::<Vec<_>>().join(","), None)
}

/// Records the failure of a call; `refused` if Redis gave the reason.
pub fn failed(span: &Span, reason: &str, refused: bool) {
    span.record("otel.status_code", "error").record(ERROR_TYPE, reason);
    if refused {
        span.record(STATUS, reason);
    }
}

/// The span of applying a bus message. A trace of its own: messages carry no trace context.
pub fn apply(message: &Message) -> Span {
    let namespace = || std::str::from_utf8(&message.change.namespace).unwrap_or_default();
    tracing::info_span!(
        target: TARGET,
        parent: None,
        APPLY,
        otel.kind = "consumer",
        otel.name = "process bus",
        { MESSAGING_SYSTEM } = "redis",
        { MESSAGING_OPERATION } = "process",
        { MESSAGING_TYPE } = "process",
        { PARTITION } = message.partition.to_string().as_str(),
        { NAMESPACE } = namespace(),
        { OUTCOME } = if message.own { "own" } else { "applied" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_as_they_are_configured() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        assert_eq!(configured(&Servers::Standalone(tcp("redis", 6379))), ("redis".into(), Some(6379)));
        let path = Address::Unix { path: "/run/redis.sock".into() };
        assert_eq!(configured(&Servers::Standalone(path)), ("/run/redis.sock".into(), None));
        let seeds = vec![tcp("a", 1), tcp("::1", 2)];
        assert_eq!(configured(&Servers::Cluster { seeds }), ("a:1,[::1]:2".into(), None));
    }
}
