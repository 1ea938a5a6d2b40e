//! Settings of the gRPC server: address, limits, timeouts and drain.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::log::{key_form, slow_request};
use crate::cache::admission::limits::AdmissionLimits;
use crate::cache::policy::Limits;
use crate::config::reader::Reader;
use crate::grpc::{Http2Config, ServerConfig, UnixSocketConfig};
use crate::net::connections::ConnectionLimits;
use crate::net::listener::DEFAULT_BACKLOG;
use crate::units::MIB;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const KIB: u64 = 1 << 10;
/// Most connections of one address when nothing is set.
const MAX_CONNECTIONS_PER_PEER: usize = 256;
const LISTEN_UNIX: &str = "server.listen_unix";
/// The setting of an address without TLS beside `server.listen`.
pub(crate) const LISTEN_PLAIN: &str = "server.listen_plain";
const LISTEN_PLAIN_DOC: &str =
    "address and port that serve without TLS beside server.listen with it, while callers change over";

/// Timing of the shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Time in which it still serves after it has reported not ready, so that balancers notice.
    pub delay: Duration,
    /// Time in which requests then have to finish.
    pub timeout: Duration,
}

/// Reads the server, and the form of requests in its log.
pub(crate) fn read(reader: &mut Reader) -> ServerConfig {
    let millis = Duration::from_millis;
    let unix = read_unix_socket(reader);
    ServerConfig {
        listen: read_tcp_address(reader, unix.is_some()),
        listen_plain: reader.optional_address(LISTEN_PLAIN, LISTEN_PLAIN_DOC),
        unix,
        connections: read_connection_limits(reader),
        backlog: reader.count(
            "server.backlog",
            DEFAULT_BACKLOG,
            1..=65_535,
            "most connections that wait to be accepted; the kernel has a limit of its own, net.core.somaxconn",
        ),
        http2: read_http2(reader),
        body_timeout: reader.duration(
            "server.body_timeout",
            5 * SECOND,
            millis(100)..=5 * MINUTE,
            "timeout of the body of a request, and the same again for every 64 KiB of it",
        ),
        max_deadline: reader.duration(
            "server.max_deadline",
            30 * SECOND,
            millis(10)..=10 * MINUTE,
            "longest deadline of a request, also of one without a deadline",
        ),
        compression: reader.boolean(
            "server.compression",
            false,
            "compress responses for callers that accept gzip or zstd; compressed requests are accepted in any case",
        ),
        reflection: reader.boolean("server.reflection", true, "describe the services to tools such as grpcurl"),
        admin: reader.boolean(
            "server.admin",
            true,
            "serve AdminService on the same port; with auth.mode enforce it needs the verb admin",
        ),
        slow_request: slow_request(reader),
        logged_keys: key_form(reader),
    }
}

/// Reads the TCP address; `None` if TCP is off, which needs a unix socket.
fn read_tcp_address(reader: &mut Reader, has_unix_socket: bool) -> Option<SocketAddr> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 50051));
    let address = reader.address("server.listen", default, "address and port of the gRPC service");
    let tcp = reader.boolean("server.tcp", true, "serve on server.listen; false: only on server.listen_unix");
    if !tcp && !has_unix_socket {
        reader.contradict("server.tcp", LISTEN_UNIX, "must be true without a unix socket");
    }
    tcp.then_some(address)
}

fn read_unix_socket(reader: &mut Reader) -> Option<UnixSocketConfig> {
    let doc =
        "unix socket to serve on beside server.listen, such as /run/twintier/grpc.sock, for callers of this machine";
    let path = reader.socket(LISTEN_UNIX, doc);
    let doc = "permissions of that socket: a caller needs the right to write";
    let mode = reader.file_mode("server.unix_mode", 0o660, doc);
    path.map(|path| UnixSocketConfig { path, mode })
}

fn read_connection_limits(reader: &mut Reader) -> ConnectionLimits {
    let connections = reader.count("server.max_connections", 4096, 1..=1_000_000, "most connections at once");
    let per_peer = reader.count(
        "server.max_connections_per_peer",
        // Leaves room for others.
        MAX_CONNECTIONS_PER_PEER.min(connections - connections / 4),
        1..=1_000_000,
        "most connections of one address (IPv6: of one /64) at once, for a proxy in front of all callers server.max_connections; when not set, 256, and at most three quarters of server.max_connections",
    );
    ConnectionLimits { connections, per_peer }
}

fn read_http2(reader: &mut Reader) -> Http2Config {
    Http2Config {
        max_streams: reader.count(
            "server.max_streams_per_connection",
            256,
            1..=65_536,
            "most streams at once on one connection, beside those that wait for leases",
        ),
        max_in_flight: reader.count(
            "server.max_in_flight_per_connection",
            128,
            1..=65_536,
            "most requests of one connection that are served at once; its others wait, and Gets that wait for leases are not counted",
        ),
        max_metadata_size: reader.size(
            "server.max_metadata_size",
            16 * KIB,
            4 * KIB..=256 * KIB,
            "largest metadata of one request: names, values, and 32 bytes for each",
        ) as u32,
        first_byte_timeout: reader.duration(
            "server.first_byte_timeout",
            10 * SECOND,
            Duration::from_millis(100)..=5 * MINUTE,
            "timeout of the first byte of a new connection",
        ),
        keepalive_interval: reader.duration(
            "server.keepalive_interval",
            30 * SECOND,
            SECOND..=HOUR,
            "silence on a connection after which it is pinged",
        ),
        keepalive_timeout: reader.duration(
            "server.keepalive_timeout",
            20 * SECOND,
            SECOND..=5 * MINUTE,
            "timeout of the answer to such a ping",
        ),
        max_age: reader.duration(
            "server.max_connection_age",
            5 * MINUTE,
            SECOND..=24 * HOUR,
            "age at which a connection gets GOAWAY, so that clients spread over new replicas",
        ),
        max_age_grace: reader.duration(
            "server.max_connection_age_grace",
            30 * SECOND,
            Duration::ZERO..=HOUR,
            "time in which the requests of such a connection then have to finish",
        ),
    }
}

/// Reads the limits of requests in flight, for a server with at most this many connections.
pub(crate) fn read_admission(reader: &mut Reader, limits: &Limits, connections: usize) -> AdmissionLimits {
    AdmissionLimits {
        requests: reader.count(
            "server.max_in_flight",
            1024,
            1..=1_000_000,
            "most requests in flight at once, over all connections",
        ),
        bytes: bytes_in_flight(reader, limits),
        probes: reader.count(
            "server.max_uncounted",
            64,
            16..=1_000_000,
            "most calls of the health and reflection services at once, which max_in_flight does not count; streams that watch health are not among them: there are at most server.max_connections",
        ),
        connections,
        watches: limits.watches,
        waiting: reader.count(
            "server.max_waiting",
            4096,
            1..=1_000_000,
            "most Gets that wait at once for another caller to fill an entry, beside the requests in flight; one connection may have half of them",
        ),
        peer_share: reader.number(
            "server.max_share_per_peer",
            0.8,
            0.05..=1.0,
            "largest share that one address can have of max_in_flight, max_bytes_in_flight, max_waiting, max_uncounted, limits.watches and streams that watch health; 1: no limit for each address",
        ),
    }
}

fn bytes_in_flight(reader: &mut Reader, limits: &Limits) -> usize {
    let path = "server.max_bytes_in_flight";
    let doc = "most bytes of requests and responses in memory at once, over all connections";
    let bytes = reader.size(path, 256 * MIB, MIB..=MIB * MIB, doc);
    if limits.value_size as u64 > bytes / 4 {
        reader.contradict("limits.value_size", path, "must be at most a quarter of server.max_bytes_in_flight");
    }
    bytes as usize
}

// === impl Drain ===

impl Drain {
    pub(crate) fn read(reader: &mut Reader) -> Self {
        Drain {
            delay: reader.duration(
                "drain.delay",
                5 * SECOND,
                Duration::ZERO..=5 * MINUTE,
                "time to keep serving after reporting not ready, so that balancers notice",
            ),
            timeout: reader.duration(
                "drain.timeout",
                20 * SECOND,
                Duration::ZERO..=HOUR,
                "time in which requests then have to finish",
            ),
        }
    }
}
