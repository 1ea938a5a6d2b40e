//! The life of a server, read from INFO: a run with one history of its data.

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::InfoKind;

use super::redis_error::ConnectError;

/// The life of a primary.
pub struct Life {
    /// Identifies it among the lives of all servers: a server that becomes a primary after it was a
    /// replica has a new second replication id.
    ///
    /// One that was replaced and comes back before it became a replica has the same identity: see
    /// [`RedisContext::floor`](super::context::RedisContext::floor) and
    /// [`Primary::term`](super::primary::Primary::term).
    pub identity: String,
    /// Version of the server, with its name unless it is Redis itself.
    pub server_version: String,
    /// Number of replicas that follow closely, if some are needed to write.
    pub good_replicas: Option<u64>,
}

/// Reads the life of a server. Fails if it is not a primary, or too old.
pub async fn life(client: &Client) -> Result<Life, ConnectError> {
    let section = |section| client.info::<String>(Some(section));
    let (server, replication) = tokio::join!(section(InfoKind::Server), section(InfoKind::Replication));
    let (server, replication) = (server?, replication?);
    read_life(&server, &replication)
}

fn read_life(server: &str, replication: &str) -> Result<Life, ConnectError> {
    let compatible = field(server, "redis_version");
    if compatible.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0u32) < 7 {
        return Err(ConnectError::Failed(format!("redis 7 or newer is needed, this is {compatible:?}")));
    }
    if field(replication, "role") != "master" {
        return Err(ConnectError::Misplaced("this redis is a replica, not the primary".to_owned()));
    }
    let past = ["master_replid2", "second_repl_offset"].map(|name| field(replication, name));
    let identity = format!("{}:{}:{}", field(server, "run_id"), past[0], past[1]);
    // Valkey's `redis_version` is the one that it is compatible with.
    let server_version = match field(server, "valkey_version") {
        "" => compatible.to_owned(),
        version => format!("Valkey {version}"),
    };
    Ok(Life { identity, server_version, good_replicas: field(replication, "min_slaves_good_slaves").parse().ok() })
}

/// The value of a field of INFO, or an empty string.
pub fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_own_version() {
        let replication = "role:master\r\nmaster_replid2:00\r\nsecond_repl_offset:-1\r\n";
        let redis = read_life("redis_version:8.2.3\r\nrun_id:a\r\n", replication).expect("new enough");
        assert_eq!((redis.identity.as_str(), redis.server_version.as_str()), ("a:00:-1", "8.2.3"));
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nrun_id:b\r\n";
        assert_eq!(read_life(valkey, replication).expect("new enough").server_version, "Valkey 9.1.2");
        let old = read_life("redis_version:6.2.1\r\n", replication).err();
        assert_eq!(old, Some(ConnectError::Failed("redis 7 or newer is needed, this is \"6.2.1\"".to_owned())));
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_version_x:1\r\n";
        assert_eq!((field(info, "redis_version"), field(info, "redis")), ("7.0.15", ""));
    }
}
