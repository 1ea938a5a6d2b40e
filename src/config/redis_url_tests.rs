//! Redis URLs: their parts, their problems, and what is shown of them.

#![allow(clippy::unwrap_used)]

use secrecy::ExposeSecret;

use super::*;

fn url(text: &str) -> RedisUrl {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn password(url: &RedisUrl) -> String {
    url.credentials.password.as_ref().unwrap().read().unwrap().expose_secret().to_owned()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.into(), port }
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_standalone_url_has_defaults() {
    let parsed = url("redis://cache.local");
    assert_eq!(parsed.servers, Servers::Standalone(tcp("cache.local", 6379)));
    assert!(!parsed.tls && parsed.credentials.username.is_none() && parsed.credentials.password.is_none());
    assert_eq!(parsed.database, 0);
}

#[test]
fn user_password_port_and_database_are_read() {
    let parsed = url("rediss://app:p%40ss%2Fword%25@cache.local:7000/3");
    assert_eq!(parsed.servers.addresses(), [tcp("cache.local", 7000)]);
    assert!(parsed.tls);
    assert_eq!(parsed.credentials.username.as_deref(), Some("app"));
    assert_eq!(password(&parsed), "p@ss/word%");
    assert_eq!(parsed.database, 3);
}

#[test]
fn a_password_may_stand_alone_and_hold_any_character() {
    for (text, expected) in [
        ("redis://:p@ss@h", "p@ss"),
        ("redis://:a:b@h", "a:b"),
        ("redis://:%C3%A9é@h", "éé"),
        ("redis://:a+b@h", "a+b"),
    ] {
        let parsed = url(text);
        assert_eq!(password(&parsed), expected, "{text}");
        assert_eq!(parsed.credentials.username, None);
    }
}

#[test]
fn an_ipv6_host_loses_its_brackets() {
    let parsed = url("redis://[::1]:6380");
    assert_eq!(parsed.servers.addresses(), [tcp("::1", 6380)]);
    assert_eq!(parsed.to_string(), "redis://[::1]:6380/0");
}

#[test]
fn a_unix_url_names_a_socket() {
    for text in [
        "unix:///run/redis%20a.sock?db=1",
        "redis+unix:///run/redis%20a.sock?db=1",
        "unix://u:p@/run/redis%20a.sock?db=1",
    ] {
        let parsed = url(text);
        assert_eq!(parsed.servers.addresses(), [Address::Unix { path: "/run/redis a.sock".into() }]);
        assert_eq!(parsed.database, 1);
    }
}

#[test]
fn sentinel_and_cluster_urls_name_several_servers() {
    let parsed = url("redis-sentinel://:secret@a,b:5,[::1]:6/2?sentinelServiceName=main");
    let sentinels = vec![tcp("a", 26379), tcp("b", 5), tcp("::1", 6)];
    assert_eq!(parsed.servers, Servers::Sentinel { sentinels, service: "main".into() });
    assert_eq!(parsed.to_string(), "redis-sentinel://***@a:26379,b:5,[::1]:6/2?service=main");

    let parsed = url("rediss-cluster://a:1,b");
    assert_eq!(parsed.servers, Servers::Cluster { seeds: vec![tcp("a", 1), tcp("b", 6379)] });
    assert!(parsed.tls);
}

#[test]
fn a_wrong_url_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "must begin with redis://"),
        ("cache.local:6379", "must begin with redis://"),
        ("http://cache.local", "must begin with redis://"),
        ("redis://", "must name a host"),
        ("redis://:6379", "must name a host"),
        ("redis://a,b", "one server only"),
        ("redis://a:99999", "port from 1 to 65535"),
        ("redis://a:0", "port from 1 to 65535"),
        ("redis://a:b:c", "host or host:port"),
        ("redis://a/x", "database"),
        ("redis://a/256", "database"),
        ("redis://a/+1", "database"),
        ("redis://a?timeout=1", "unknown query parameter timeout"),
        ("unix:///run/a.sock?password=1", "unknown query parameter password"),
        ("unix:///run/a.sock?db=1&db=2", "db more than once"),
        ("unix://run/a.sock", "unix:///path"),
        ("unix://", "the path of the socket"),
        ("redis-sentinel://a", "must name the service"),
        ("redis-cluster://a,,b", "must name a host"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
    }
}

#[test]
fn no_refusal_and_no_rendering_shows_the_password() {
    for text in [
        "redis://user:hunter2#@host",
        "redis://:hunter2/hunter2@host",
        "redis://:hunter2?hunter2=1@host",
        "redis://:hunter2%zz@host",
        "redis://:hunter2 @host",
        "redis://:hunter2@host:hunter2",
        "hunter2://:hunter2@host",
        "redis://hunter2:hunter2",
    ] {
        assert!(!refusal(text).contains("hunter2"), "{text}: {}", refusal(text));
    }
    let parsed = url("redis://hunter2:hunter2@host/1");
    assert_eq!(parsed.to_string(), "redis://***@host:6379/1");
    assert!(!format!("{parsed:?}").contains("hunter2"));
}
