//! Settings of Redis: address, credentials, connections and timeouts.

use std::path::PathBuf;
use std::time::Duration;

use crate::backend::redis::{
    ClientIdentity, Credentials, Failover, Password, RedisConfig, RedisUrl, Servers, TlsFiles,
};
use crate::cache::coherence::safeguards::Safeguards;
use crate::cache::policy::Limits;
use crate::config::reader::Reader;
use crate::config::redis_url;
use crate::config::sections::redis_protection;

const CLIENT_CERT: &str = "redis.client_cert_file";
const CLIENT_KEY: &str = "redis.client_key_file";

/// Settings of Redis.
pub(crate) struct RedisSettings {
    /// Configuration; `None` without a URL.
    pub config: Option<RedisConfig>,
    /// Timeout of a read.
    pub read_timeout: Duration,
    /// Timeout of a write.
    pub write_timeout: Duration,
}

/// Reads the section. Without a URL nothing is read or written, so there is no timeout.
pub(crate) fn read(reader: &mut Reader, limits: &Limits, max_staleness: Duration) -> RedisSettings {
    let url = read_url(reader);
    let millis = Duration::from_millis;
    let longest = Duration::from_secs(30);
    let read_timeout = reader.duration("redis.read_timeout", millis(200), millis(1)..=longest, "timeout of a read");
    let write_timeout = reader.duration("redis.write_timeout", millis(1000), millis(1)..=longest, "timeout of a write");
    match read_config(reader, url, limits, max_staleness) {
        Some(config) => RedisSettings { config: Some(config), read_timeout, write_timeout },
        None => RedisSettings { config: None, read_timeout: Duration::MAX, write_timeout: Duration::MAX },
    }
}

fn read_config(
    reader: &mut Reader,
    url: Option<RedisUrl>,
    limits: &Limits,
    max_staleness: Duration,
) -> Option<RedisConfig> {
    let sentinel = read_sentinel(reader);
    let failover = reader.choice(
        "redis.failover",
        Failover::Repair,
        &[("repair", Failover::Repair), ("cold", Failover::Cold)],
        "validity of entries after Redis fails over or restarts with its data: repair, they are valid again once every replica has \
         invalidated what was lost; cold, they are invalid",
    );
    let tls = TlsFiles {
        ca: reader.path("redis.tls_ca_file", "CA certificates of the server, PEM; default those of the system"),
        identity: read_identity(reader),
    };
    let (max_in_flight, connections) = (
        reader.count("redis.max_in_flight", 2048, 1..=1_000_000, "most commands in flight at once"),
        reader.count("redis.connections", 2, 1..=64, "connections for commands"),
    );
    let prefix = reader.text(
        "redis.prefix",
        "twintier",
        "1 to 64 characters of [A-Za-z0-9._:-]",
        is_prefix,
        "first part of every key and channel; deployments that share a Redis have different ones, or different databases",
    );
    let namespace_sampling = read_namespace_sampling(reader);
    let protection = redis_protection::read(reader);
    let [connect_timeout, unresponsive_after] = read_connection_timeouts(reader);
    check(reader, url.as_ref());
    Some(RedisConfig {
        url: url?,
        sentinel,
        tls,
        prefix,
        connections,
        connect_timeout,
        unresponsive_after,
        max_in_flight,
        limits: limits.clone(),
        max_staleness,
        failover,
        namespace_sampling,
        protection,
        safeguards: Safeguards::default(),
    })
}

/// Reads the URL, with the user and the password of other settings.
fn read_url(reader: &mut Reader) -> Option<RedisUrl> {
    let url = reader.url(
        "redis.url",
        "redis://, redis-sentinel://, redis-cluster://, their rediss forms, or unix://",
        |text| redis_url::parse(text).map_err(|error| error.to_string()),
        "address of Redis; without it the service runs alone, on memory only",
    );
    let username = reader.optional_text("redis.username", "user of the ACL; wins over the one in redis.url");
    let password = read_password(
        reader,
        ("redis.password", "password; wins over the one in redis.url"),
        ("redis.password_file", "file the password is read from, on every new connection"),
    );
    let mut url = url?;
    url.credentials.username = username.or(url.credentials.username);
    url.credentials.password = password.or(url.credentials.password);
    Some(url)
}

/// Reads the credentials for the sentinels.
fn read_sentinel(reader: &mut Reader) -> Credentials {
    let username = reader.optional_text("redis.sentinel_username", "user of the ACL of the sentinels themselves");
    let password = read_password(
        reader,
        ("redis.sentinel_password", "password of the sentinels themselves; if not set, none is sent"),
        ("redis.sentinel_password_file", "file that this password is read from, on every new connection"),
    );
    Credentials { username, password }
}

/// Reads a password, or the file that contains it: the file has to hold one now, and may hold
/// another later.
fn read_password(
    reader: &mut Reader,
    (setting, doc): (&'static str, &'static str),
    (file_setting, file_doc): (&'static str, &'static str),
) -> Option<Password> {
    let text = reader.secret(setting, doc).map(Password::Text);
    let file = reader.path(file_setting, file_doc).map(|path| Password::File { setting: file_setting, path });
    if let (Some(_), Some(_)) = (&text, &file) {
        reader.contradict(file_setting, setting, &format!("must not be given together with {setting}"));
    } else if let Some(Password::File { path, .. }) = &file
        && let Err(rule) = Password::read_file(path)
    {
        reader.refuse(file_setting, rule);
    }
    file.or(text)
}

/// Reads the certificate of this client and its key: both or neither.
fn read_identity(reader: &mut Reader) -> Option<ClientIdentity> {
    let certificate = read_renamed(
        reader,
        (
            CLIENT_CERT,
            "certificate of this client, PEM, for a server that requires one; read again for new connections",
        ),
        ("redis.tls_cert_file", "earlier name of redis.client_cert_file"),
    );
    let key = read_renamed(
        reader,
        (CLIENT_KEY, "private key of redis.client_cert_file, PEM"),
        ("redis.tls_key_file", "earlier name of redis.client_key_file"),
    );
    match (certificate, key) {
        (Some((certificate, _)), Some((key, _))) => Some(ClientIdentity { certificate, key }),
        (Some((_, given)), None) => {
            reader.contradict(given, CLIENT_KEY, "must be given together with redis.client_key_file");
            None
        }
        (None, Some((_, given))) => {
            reader.contradict(given, CLIENT_CERT, "must be given together with redis.client_cert_file");
            None
        }
        (None, None) => None,
    }
}

/// Reads a path that has an earlier name. Returns it with the name that was given.
fn read_renamed(
    reader: &mut Reader,
    (name, doc): (&'static str, &'static str),
    (earlier, earlier_doc): (&'static str, &'static str),
) -> Option<(PathBuf, &'static str)> {
    let (path, earlier_path) = (reader.path(name, doc), reader.path(earlier, earlier_doc));
    if path.is_some() && earlier_path.is_some() {
        reader.contradict(
            earlier,
            name,
            &format!("is the earlier name of {name} and must not be given together with it"),
        );
    }
    path.map(|path| (path, name)).or(earlier_path.map(|path| (path, earlier)))
}

fn read_connection_timeouts(reader: &mut Reader) -> [Duration; 2] {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    [
        reader.duration("redis.connect_timeout", seconds(1), millis(10)..=seconds(30), "timeout of connecting"),
        reader.duration(
            "redis.unresponsive_after",
            millis(350),
            millis(100)..=seconds(30),
            "time without an answer after which Redis counts as unavailable and commands fail at once",
        ),
    ]
}

fn read_namespace_sampling(reader: &mut Reader) -> Duration {
    let path = "redis.namespace_sampling";
    let doc = "time between two estimates of the keys and the memory of each namespace in Redis, made for all replicas \
               by one of them; 0s: off, else at least 1s";
    let interval = reader.duration(path, Duration::from_secs(60), Duration::ZERO..=Duration::from_secs(3600), doc);
    if interval > Duration::ZERO && interval < Duration::from_secs(1) {
        reader.refuse(path, "must be 0s, or from 1s to 1h");
    }
    interval
}

fn is_prefix(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b':' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn check(reader: &mut Reader, url: Option<&RedisUrl>) {
    let Some(url) = url else {
        for path in reader.given_in("redis") {
            reader.contradict(&path, "redis.url", "has no effect without redis.url");
        }
        return;
    };
    if !matches!(url.servers, Servers::Sentinel { .. }) {
        for path in ["redis.sentinel_username", "redis.sentinel_password", "redis.sentinel_password_file"] {
            if reader.is_given(path) {
                reader.contradict(path, "redis.url", "has no effect without redis-sentinel://");
            }
        }
    }
    if url.servers.sharded() && url.database != 0 {
        reader.refuse("redis.url", "must not name a database: a Cluster has only one");
    }
    for path in ["redis.tls_ca_file", CLIENT_CERT, CLIENT_KEY, "redis.tls_cert_file", "redis.tls_key_file"] {
        if !url.tls && reader.is_given(path) {
            reader.contradict(path, "redis.url", "has no effect without rediss://");
        }
    }
}
