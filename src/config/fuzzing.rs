//! Target of fuzzing: the text of a configuration.

use super::{Config, Sources};
use crate::config::redis_url;
use crate::units;

/// Settings as `path=value`, one in a line; a value is also read as a unit and as a URL of Redis.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let setting = |line: &str| line.split_once('=').map(|(path, value)| (path.to_owned(), value.to_owned()));
    let overrides: Vec<(String, String)> = text.lines().filter_map(setting).collect();
    for (_, value) in &overrides {
        if let Ok(duration) = units::parse_duration(value) {
            let again = units::parse_duration(&units::format_duration(duration));
            assert_eq!(again.ok(), Some(duration), "{value}");
        }
        if let Ok(size) = units::parse_size(value) {
            assert_eq!(units::parse_size(&units::format_size(size)).ok(), Some(size), "{value}");
        }
        let _ = units::parse_share(value);
        let _ = redis_url::parse(value);
    }
    match Config::load(&Sources { overrides, ..Sources::default() }) {
        Ok(loaded) => drop(super::show(&loaded.settings, true)),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// Seeds of `configuration`.
pub fn configuration_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |name, text: &str| (name, text.as_bytes().to_vec());
    vec![
        seed("server", "server.listen=127.0.0.1:50051\nserver.max_deadline=30s\nserver.tcp=true"),
        seed("memory", "l1.size=64MiB\nlimits.value_size=1MiB\nlimits.keys=100"),
        seed("redis", "redis.url=redis-sentinel://user:word@[::1]:26379,h:1/main?db=3\nredis.connections=2"),
        seed("cluster", "redis.url=rediss-cluster://a:1,b:2\nredis.prefix=a:b\ncoherence.partitions=64"),
        seed("socket", "redis.url=unix:///run/redis.sock\nredis.read_timeout=1m 30s\ncoherence.max_staleness=0.5"),
        seed("namespace", "namespaces.cart.ttl=5m\nnamespaces.cart.max_bytes=64MiB\nnamespaces.cart.jitter=0.1"),
        seed("event", "events.user-changed=[{\"namespace\": \"user\", \"prefix\": \"u:{id}:\"}]"),
        seed("unknown", "server.lisen=x\nredis.url=http://h"),
    ]
}
