//! The shared tier: where Redis is, and how long to wait for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;
use super::redis_url::{RedisUrl, Topology};

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The URL, with the user and password that other settings give.
    pub url: RedisUrl,
    /// First part of every key and channel.
    pub prefix: String,
    /// Connections for commands.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the answer to a read may take.
    pub read_timeout: Duration,
    /// How long the answer to a write may take.
    pub write_timeout: Duration,
    /// Most commands in flight at once.
    pub max_in_flight: usize,
    /// Time without an answer after which Redis counts as unavailable and commands fail at once.
    pub unresponsive_after: Duration,
    /// Certificates that vouch for the server, PEM; none for the system's.
    pub tls_ca_file: Option<PathBuf>,
}

// === impl Redis ===

impl Redis {
    /// Reads the section; none when no URL is given.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.url(
            "redis.url",
            "redis://, rediss:// or unix://",
            |text| supported(text.parse().map_err(|error| format!("{error}"))?),
            "where Redis is; without it the service runs alone, on memory only",
        );
        let username = reader.optional_text("redis.username", "user of the ACL; wins over the one in redis.url");
        let password = read_password(reader);
        let tls_ca_file =
            reader.path("redis.tls_ca_file", "certificates that vouch for the server, PEM; without it the system's");
        let (max_in_flight, connections) = (
            reader.count("redis.max_in_flight", 2048, 1..=1_000_000, "most commands in flight at once"),
            reader.count("redis.connections", 2, 1..=64, "connections for commands"),
        );
        let prefix = reader.text(
            "redis.prefix",
            "twintier",
            "1 to 64 characters of [A-Za-z0-9._:-]",
            is_prefix,
            "first part of every key and channel; deployments that share a Redis have different ones",
        );
        let [connect_timeout, read_timeout, write_timeout, unresponsive_after] = read_patience(reader);
        check(reader, url.as_ref());
        let mut url = url?;
        url.username = username.or(url.username);
        url.password = password.or(url.password);
        Some(Redis {
            url,
            prefix,
            connections,
            connect_timeout,
            read_timeout,
            write_timeout,
            max_in_flight,
            unresponsive_after,
            tls_ca_file,
        })
    }
}

fn supported(url: RedisUrl) -> Result<RedisUrl, String> {
    match url.topology {
        Topology::Standalone { .. } => Ok(url),
        Topology::Sentinel { .. } | Topology::Cluster { .. } => {
            Err(format!("{}:// is not supported by this version yet; use redis://, rediss:// or unix://", url.scheme()))
        }
    }
}

fn read_password(reader: &mut Reader) -> Option<SecretString> {
    let password = reader.secret("redis.password", "password; wins over the one in redis.url");
    let file = reader.path("redis.password_file", "file to read the password from, instead of redis.password");
    let Some(file) = file else { return password };
    if password.is_some() {
        reader.contradict("redis.password_file", "redis.password", "must not be given together with redis.password");
        return password;
    }
    read_secret(&file).map_err(|rule| reader.refuse("redis.password_file", rule)).ok()
}

/// The content of a file without its last line break, which editors add and passwords do not have.
fn read_secret(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("must be a readable file: {error}"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    match secret.is_empty() {
        true => Err("must be a file that is not empty".into()),
        false => Ok(secret.into()),
    }
}

fn read_patience(reader: &mut Reader) -> [Duration; 4] {
    let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
    [
        reader.duration("redis.connect_timeout", seconds(1), millis(10)..=seconds(30), "how long connecting may take"),
        reader.duration(
            "redis.read_timeout",
            millis(200),
            millis(1)..=seconds(30),
            "how long the answer to a read may take",
        ),
        reader.duration(
            "redis.write_timeout",
            seconds(1),
            millis(1)..=seconds(30),
            "how long the answer to a write may take",
        ),
        reader.duration(
            "redis.unresponsive_after",
            millis(350),
            millis(100)..=seconds(30),
            "time without an answer after which Redis counts as unavailable and commands fail at once",
        ),
    ]
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
    if !url.tls && reader.is_given("redis.tls_ca_file") {
        reader.contradict("redis.tls_ca_file", "redis.url", "has no effect without rediss://");
    }
}
