//! Settings of Redis: address, credentials, connections and timeouts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::config::reader::Reader;
use crate::config::redis_url::{RedisUrl, Topology};

/// Validity of entries after a failover or restart of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// Entries are valid again once every replica has invalidated what was lost.
    Repair,
    /// Entries are invalid.
    Cold,
}

/// Credentials for the sentinels.
#[derive(Clone, Debug, Default)]
pub struct Sentinel {
    /// User; `None` for the default user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Password>,
}

/// A password, or the file that contains it.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password as given.
    Text(SecretString),
    /// A file, whose content may change.
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// Path of the file.
        path: PathBuf,
    },
}

impl Password {
    /// Returns the current password, or why it cannot be read.
    pub fn read(&self) -> Result<SecretString, String> {
        match self {
            Password::Text(password) => Ok(password.clone()),
            Password::File { setting, path } => read_secret(path).map_err(|rule| format!("{setting}: {rule}")),
        }
    }
}

/// Settings of the connections to Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The URL, with the user of other settings.
    pub url: RedisUrl,
    /// The password: of its own setting, else that of the URL.
    pub password: Option<Password>,
    /// Credentials for the sentinels.
    pub sentinel: Sentinel,
    /// Validity of entries after a failover.
    pub failover: Failover,
    /// First part of every key and channel.
    pub prefix: String,
    /// Connections for commands.
    pub connections: usize,
    /// Timeout of connecting.
    pub connect_timeout: Duration,
    /// Timeout of a read.
    pub read_timeout: Duration,
    /// Timeout of a write.
    pub write_timeout: Duration,
    /// Most commands in flight at once.
    pub max_in_flight: usize,
    /// Time without an answer after which Redis counts as unavailable and commands fail at once.
    pub unresponsive_after: Duration,
    /// Time between two estimates of what namespaces hold in Redis; zero for no estimates.
    pub namespace_sampling: Duration,
    /// CA certificates of the server, PEM; `None` for those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// Certificate of this client, PEM; `None` unless the server requires one.
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key_file: Option<PathBuf>,
}

// === impl Redis ===

impl Redis {
    /// Reads the section; `None` without a URL.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.url(
            "redis.url",
            "redis://, redis-sentinel://, redis-cluster://, their rediss forms, or unix://",
            |text| text.parse::<RedisUrl>().map_err(|error| error.to_string()),
            "address of Redis; without it the service runs alone, on memory only",
        );
        let username = reader.optional_text("redis.username", "user of the ACL; wins over the one in redis.url");
        let password = read_password(
            reader,
            ("redis.password", "password; wins over the one in redis.url"),
            ("redis.password_file", "file the password is read from, on every new connection"),
        );
        let sentinel_username =
            reader.optional_text("redis.sentinel_username", "user of the ACL of the sentinels themselves");
        let sentinel_password = read_password(
            reader,
            ("redis.sentinel_password", "password of the sentinels themselves; if not set, none is sent"),
            ("redis.sentinel_password_file", "file that this password is read from, on every new connection"),
        );
        let failover = reader.choice(
            "redis.failover",
            Failover::Repair,
            &[("repair", Failover::Repair), ("cold", Failover::Cold)],
            "validity of entries after Redis fails over or restarts with its data: repair, they are valid again once every replica has \
             invalidated what was lost; cold, they are invalid",
        );
        let tls_ca_file =
            reader.path("redis.tls_ca_file", "CA certificates of the server, PEM; default those of the system");
        let [tls_cert_file, tls_key_file] = read_identity(reader);
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
        let [connect_timeout, read_timeout, write_timeout, unresponsive_after] = read_patience(reader);
        check(reader, url.as_ref());
        let mut url = url?;
        url.username = username.or(url.username);
        let password = password.or(url.password.clone().map(Password::Text));
        Some(Redis {
            url,
            password,
            sentinel: Sentinel { username: sentinel_username, password: sentinel_password },
            failover,
            prefix,
            connections,
            connect_timeout,
            read_timeout,
            write_timeout,
            max_in_flight,
            unresponsive_after,
            namespace_sampling,
            tls_ca_file,
            tls_cert_file,
            tls_key_file,
        })
    }
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
        && let Err(rule) = read_secret(path)
    {
        reader.refuse(file_setting, rule);
    }
    file.or(text)
}

/// Reads the certificate of this client and its key: both or neither.
fn read_identity(reader: &mut Reader) -> [Option<PathBuf>; 2] {
    let certificate = reader.path(
        "redis.tls_cert_file",
        "certificate of this client, PEM, for a server that requires one; read at the start",
    );
    let key = reader.path("redis.tls_key_file", "private key of redis.tls_cert_file, PEM");
    let (certificate_path, key_path) = ("redis.tls_cert_file", "redis.tls_key_file");
    if certificate.is_some() && key.is_none() {
        reader.contradict(certificate_path, key_path, "must be given together with redis.tls_key_file");
    } else if key.is_some() && certificate.is_none() {
        reader.contradict(key_path, certificate_path, "must be given together with redis.tls_cert_file");
    }
    [certificate, key]
}

/// Returns the content of a file without its last line break, which editors add and passwords do
/// not have.
fn read_secret(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("must be a readable file: {error}"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() { Err("must be a file that is not empty".into()) } else { Ok(secret.into()) }
}

fn read_patience(reader: &mut Reader) -> [Duration; 4] {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    [
        reader.duration("redis.connect_timeout", seconds(1), millis(10)..=seconds(30), "timeout of connecting"),
        reader.duration("redis.read_timeout", millis(200), millis(1)..=seconds(30), "timeout of a read"),
        reader.duration("redis.write_timeout", seconds(1), millis(1)..=seconds(30), "timeout of a write"),
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
    if !matches!(url.topology, Topology::Sentinel { .. }) {
        for path in ["redis.sentinel_username", "redis.sentinel_password", "redis.sentinel_password_file"] {
            if reader.is_given(path) {
                reader.contradict(path, "redis.url", "has no effect without redis-sentinel://");
            }
        }
    }
    if matches!(url.topology, Topology::Cluster { .. }) && url.database != 0 {
        reader.refuse("redis.url", "must not name a database: a Cluster has only one");
    }
    for path in ["redis.tls_ca_file", "redis.tls_cert_file", "redis.tls_key_file"] {
        if !url.tls && reader.is_given(path) {
            reader.contradict(path, "redis.url", "has no effect without rediss://");
        }
    }
}
