//! Configuration as a deployer sees it: precedence, problems, secrets.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

use super::*;
use crate::cache::key_form::KeyForm;
use crate::cache::policy::Compression;
use crate::config::*;

fn sources(environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Sources { environment, ..Sources::default() }
}

fn flags(overrides: &[(&str, &str)]) -> Sources {
    let overrides = overrides.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect();
    Sources { overrides, ..Sources::default() }
}

fn file(extension: &str, text: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load_file(extension: &str, text: &str) -> Result<Loaded, Problems> {
    let file = file(extension, text);
    Config::load(&Sources { file: Some(file.path().into()), ..Sources::default() })
}

fn config(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// Formats the problems, one line each.
fn problems(sources: &Sources) -> Vec<String> {
    Config::load(sources).map(|_| ()).unwrap_err().0.iter().map(Problem::to_string).collect()
}

fn setting(loaded: &Loaded, path: &str) -> Setting {
    loaded.settings.iter().find(|setting| setting.path == path).unwrap().clone()
}

#[test]
fn nothing_given_is_the_default_configuration() {
    let loaded = Config::load(&Sources::default()).unwrap();
    let config = &loaded.config;
    assert_eq!((config.server.listen, config.server.unix.as_ref()), ("127.0.0.1:50051".parse().ok(), None));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.namespaces.default_policy, NamespacePolicy::default());
    assert_eq!(config.l1.size, 256 << 20);
    assert_eq!(config.coherence.max_staleness, Duration::from_secs(2));
    assert!(config.redis.is_none() && config.cache.switches.enabled && !config.namespaces.strict);
    for setting in loaded.settings {
        assert_eq!((&setting.value, &setting.origin), (&setting.default, &Origin::Default), "{}", setting.path);
    }
}

#[test]
fn a_unix_socket_has_a_path_and_permissions() {
    let server = |overrides: &[(&str, &str)]| config(&flags(overrides)).server;
    let path = ("server.listen_unix", "/run/twintier/grpc.sock");
    for (mode, expected) in [("0660", 0o660), ("600", 0o600), ("0777", 0o777), ("000", 0)] {
        let unix = server(&[path, ("server.unix_mode", mode)]).unix.unwrap();
        assert_eq!((unix.path.to_str(), unix.mode), (Some(path.1), expected));
    }
    let both = server(&[path]);
    assert!(both.listen.is_some() && both.unix.is_some_and(|unix| unix.mode == 0o660));
    let only = server(&[path, ("server.tcp", "false")]);
    assert!(only.listen.is_none() && only.unix.is_some());
    let refused = |overrides: &[(&str, &str)]| problems(&flags(overrides)).join("\n");
    for mode in ["0o660", "rw-rw----", "8", "0860", "1777", "77777"] {
        let problem = refused(&[path, ("server.unix_mode", mode)]);
        assert!(problem.contains("server.unix_mode: must be permissions in octal, from 0000 to 0777"), "{problem}");
        assert!(problem.contains(&format!("{mode:?}")), "{problem}");
    }
    let long = "/".repeat(108);
    let problem = refused(&[("server.listen_unix", &long)]);
    assert!(problem.contains("server.listen_unix: must be the path of a socket, 1 to 107 bytes"), "{problem}");
    let problem = refused(&[("server.tcp", "false")]);
    assert!(problem.contains("server.tcp: must be true without a unix socket"), "{problem}");
    assert!(problem.contains("server.listen_unix is not set"), "{problem}");
}

#[test]
fn one_peer_may_have_256_connections_but_no_more_than_three_quarters() {
    let limits = |overrides: &[(&str, &str)]| {
        let server = config(&flags(overrides)).server;
        (server.connections.connections, server.connections.per_peer)
    };
    assert_eq!(limits(&[]), (4096, 256));
    for (all, one) in [("1", 1), ("2", 2), ("3", 3), ("4", 3), ("300", 225), ("1000", 256)] {
        assert_eq!(limits(&[("server.max_connections", all)]).1, one, "{all}");
    }
    assert_eq!(limits(&[("server.max_connections_per_peer", "7")]), (4096, 7));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = file(".toml", "[l1]\nsize = '1MiB'\n[limits]\nvalue_size = 1024\nkeys = 1\ntokens = 1\n");
    let mut sources = sources(&[("TWINTIER_LIMITS_KEYS", "2"), ("TWINTIER_LIMITS_TOKENS", "2")]);
    sources.file = Some(file.path().into());
    sources.overrides = vec![("limits.tokens".into(), "3".into()), ("limits.tokens".into(), "4".into())];
    let loaded = Config::load(&sources).unwrap();
    let Limits { value_size, keys, tokens, .. } = loaded.config.limits;
    assert_eq!((value_size, keys, tokens), (1024, 2, 4));
    let origin = |path| setting(&loaded, path).origin.to_string();
    assert_eq!(origin("limits.value_size"), format!("file {}", file.path().display()));
    assert_eq!(origin("limits.keys"), "environment TWINTIER_LIMITS_KEYS");
    assert_eq!(origin("limits.tokens"), "flag --set limits.tokens");
    assert_eq!(origin("limits.namespaces"), "default");
}

#[test]
fn the_environment_names_the_file_unless_a_flag_does() {
    let (one, two) = (file(".toml", "limits.keys = 1"), file(".yaml", "limits: {keys: 2}"));
    let mut sources = sources(&[("TWINTIER_CONFIG", one.path().to_str().unwrap())]);
    assert_eq!(config(&sources).limits.keys, 1);
    sources.file = Some(two.path().into());
    assert_eq!(config(&sources).limits.keys, 2);
}

#[test]
fn customary_variables_count_below_our_own() {
    let mut sources =
        sources(&[("REDIS_URL", "redis://a"), ("REDIS_PASSWORD", "a"), ("RUST_LOG", "warn"), ("LOG_LEVEL", "error")]);
    let read = config(&sources);
    let redis = read.redis.unwrap();
    assert_eq!(redis.url.servers.addresses()[0].to_string(), "a:6379");
    assert_eq!(redis.url.credentials.password.unwrap().read().unwrap().expose_secret(), "a");
    assert_eq!(read.log.level, "warn");
    for (name, value) in
        [("TWINTIER_REDIS_URL", "redis://b"), ("TWINTIER_REDIS_PASSWORD", "b"), ("TWINTIER_LOG_LEVEL", "debug")]
    {
        sources.environment.insert(name.into(), value.into());
    }
    let read = config(&sources);
    let redis = read.redis.unwrap();
    assert_eq!(redis.url.servers.addresses()[0].to_string(), "b:6379");
    assert_eq!(redis.url.credentials.password.unwrap().read().unwrap().expose_secret(), "b");
    assert_eq!(read.log.level, "debug");
}

#[test]
fn an_empty_variable_is_not_set() {
    let sources = sources(&[
        ("TWINTIER_REDIS_URL", ""),
        ("REDIS_URL", "redis://a"),
        ("TWINTIER_LIMITS_KEYS", ""),
        ("TWINTIER_CONFIG", ""),
    ]);
    let config = config(&sources);
    assert_eq!(config.limits.keys, 1000);
    assert!(config.redis.is_some());
}

#[test]
fn every_problem_is_reported_with_path_value_limit_and_origin() {
    let mut sources = sources(&[
        ("TWINTIER_L1_SIZE", "5"),
        ("TWINTIER_COHERENCE_MAX_STALENESS", "2"),
        ("TWINTIER_L1_EVICTION", "fifo"),
    ]);
    sources.overrides = vec![("server.listen".into(), "localhost".into()), ("cache.enabled".into(), "yes".into())];
    assert_eq!(
        problems(&sources),
        [
            "cache.enabled: must be true or false; was \"yes\" (flag --set cache.enabled)",
            "coherence.max_staleness: must have a unit, such as 250ms, 2s or 5m; was \"2\" (environment TWINTIER_COHERENCE_MAX_STALENESS)",
            "l1.eviction: must be one of auto, lru, tiny_lfu; was \"fifo\" (environment TWINTIER_L1_EVICTION)",
            "l1.size: must be from 1MiB to 1TiB; was \"5\" (environment TWINTIER_L1_SIZE)",
            "server.listen: must be an IP address and port, such as 127.0.0.1:50051 or [::]:50051; was \"localhost\" (flag --set server.listen)",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let problems = load_file(".yaml", "l1: {sizes: 1}\nredis: redis://a\nother: {}\nlimits: null\n").unwrap_err();
    let rules: Vec<_> = problems.0.iter().map(|problem| (problem.path.as_str(), problem.rule.as_str())).collect();
    assert_eq!(
        rules,
        [
            ("l1.sizes", "unknown key; did you mean l1.size?"),
            ("other", "unknown key"),
            ("redis", "must be a section, with settings such as redis.url"),
        ]
    );
}

#[test]
fn an_unknown_variable_is_refused_and_service_links_are_not() {
    let sources = sources(&[
        ("TWINTIER_L1_SISE", "1MiB"),
        ("TWINTIER_SERVICE_HOST", "10.0.0.1"),
        ("TWINTIER_PORT", "tcp://10.0.0.1:50051"),
        ("TWINTIER_REDIS_SERVICE_PORT_REDIS", "6379"),
        ("HOME", "/root"),
    ]);
    assert_eq!(
        problems(&sources),
        ["TWINTIER_L1_SISE: unknown variable; did you mean TWINTIER_L1_SIZE? (environment TWINTIER_L1_SISE)"]
    );
}

#[test]
fn contradictions_name_both_settings() {
    let sources =
        flags(&[("l1.size", "4MiB"), ("cache.default_ttl", "1h"), ("cache.max_ttl", "30m"), ("redis.prefix", "app")]);
    assert_eq!(
        problems(&sources),
        [
            "cache.default_ttl: must be at most cache.max_ttl, and cache.max_ttl is 30m (flag --set cache.max_ttl); \
             was 1h (flag --set cache.default_ttl)",
            "limits.value_size: must be at most an eighth of l1.size, and l1.size is 4MiB (flag --set l1.size); was 1MiB (default)",
            "redis.prefix: has no effect without redis.url, and redis.url is not set; was app (flag --set redis.prefix)",
        ]
    );
    let sources = flags(&[("redis.url", "redis://a"), ("redis.tls_ca_file", "/ca.pem")]);
    assert!(problems(&sources)[0].starts_with("redis.tls_ca_file: has no effect without rediss://"));
}

#[test]
fn a_certificate_towards_redis_comes_with_its_key() {
    let given = |path: &'static str| problems(&flags(&[("redis.url", "rediss://a"), (path, "/file.pem")]));
    let [without_key, without_certificate] = ["redis.tls_cert_file", "redis.tls_key_file"].map(given);
    assert!(without_key[0].starts_with("redis.tls_cert_file: must be given together with redis.client_key_file"));
    assert!(
        without_certificate[0].starts_with("redis.tls_key_file: must be given together with redis.client_cert_file")
    );
    let [without_key, without_certificate] = ["redis.client_cert_file", "redis.client_key_file"].map(given);
    assert!(without_key[0].starts_with("redis.client_cert_file: must be given together with redis.client_key_file"));
    assert!(
        without_certificate[0].starts_with("redis.client_key_file: must be given together with redis.client_cert_file")
    );
    let both = [("redis.url", "rediss://a"), ("redis.client_cert_file", "/a"), ("redis.tls_cert_file", "/b")];
    let both = problems(&flags(&[&both[..], &[("redis.client_key_file", "/k")]].concat()));
    assert!(both[0].starts_with("redis.tls_cert_file: is the earlier name of redis.client_cert_file"), "{both:?}");
}

#[test]
fn what_cannot_be_read_contradicts_nothing() {
    assert_eq!(problems(&flags(&[("redis.url", "nonsense"), ("redis.prefix", "app")])).len(), 1);
    assert_eq!(problems(&flags(&[("l1.size", "1MiB"), ("limits.value_size", "much")])).len(), 1);
    let mut sources = sources(&[("REDIS_PASSWORD", "hunter2")]);
    sources.file = Some("/does/not/exist.toml".into());
    let problems = problems(&sources);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("config: must be a readable file"), "{problems:?}");
}

#[test]
fn a_namespace_inherits_what_it_leaves_open() {
    let loaded = load_file(
        ".toml",
        "cache.default_ttl = '1m'\ncache.stale_window = '2m'\n[namespaces.'user.profiles']\nmax_ttl = '10m'\n[namespaces.bare]\n",
    )
    .unwrap();
    let rules = &loaded.config.namespaces;
    let expected = NamespacePolicy { max_ttl: Duration::from_secs(600), ..rules.default_policy.clone() };
    assert_eq!(rules.configured["user.profiles"], expected);
    assert_eq!(rules.configured["bare"], rules.default_policy);
    assert_eq!(setting(&loaded, "namespaces.bare.default_ttl").origin.to_string(), "as cache.default_ttl");
}

#[test]
fn a_class_of_entries_is_one_line() {
    let text = "namespaces:\n  status: {default_ttl: 1m}\n  blobs: {immutable: true, compression: zstd, jitter: 0.1}\n";
    let rules = load_file(".yaml", text).unwrap().config.namespaces;
    let status = NamespacePolicy { default_ttl: Duration::from_secs(60), ..NamespacePolicy::default() };
    assert_eq!(rules.configured["status"], status);
    let blobs =
        NamespacePolicy { immutable: true, compression: Compression::Zstd, jitter: 0.1, ..NamespacePolicy::default() };
    assert_eq!(rules.configured["blobs"], blobs);
    assert_eq!(rules.default_policy, NamespacePolicy::default());
}

#[test]
fn a_policy_out_of_bounds_or_contradictory_is_refused() {
    let text = "cache: {min_ttl: 10m, jitter: 0.6, compression: gzip, max_requests_per_second: -1}\n\
                namespaces: {a: {min_ttl: 1m, default_ttl: 30s}, b: {lease_duration: 1ms}, c: {l1: off}}";
    let problems = load_file(".yaml", text).unwrap_err();
    let found: Vec<_> = problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.rule)).collect();
    let expected = [
        "cache.compression: must be one of none, zstd, lz4",
        "cache.jitter: must be a number from 0 to 0.5",
        "cache.max_requests_per_second: must be a number from 0 to 10000000",
        "cache.min_ttl: must be at most cache.default_ttl, and cache.default_ttl is 5m",
        "namespaces.a.min_ttl: must be at most namespaces.a.default_ttl, and namespaces.a.default_ttl is 30s",
        "namespaces.b.lease_duration: must be from 10ms to 5m",
        "namespaces.c.l1: must be true or false",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_namespace_is_checked_like_the_rest() {
    let text = "namespaces: {a: {max_ttl: 1m, jiter: 0.1}, B: {}, c: 5}";
    let problems = load_file(".yaml", text).unwrap_err();
    let rules: Vec<_> = problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.rule)).collect();
    assert_eq!(
        rules,
        [
            "namespaces.B: a namespace must be of [a-z0-9._-], beginning and ending with a letter or digit; was \"B\"",
            &rules[1],
            "namespaces.a.jiter: unknown key; did you mean namespaces.a.jitter?",
            "namespaces.c: unknown key",
        ]
    );
    assert!(rules[1].starts_with("namespaces.a.default_ttl: must be at most namespaces.a.max_ttl"), "{}", rules[1]);
}

#[test]
fn a_variable_changes_one_namespace_that_is_named_elsewhere() {
    let file = file(".yaml", "namespaces: {a-b: {}, c.d: , c_d: {}}");
    let mut sources = sources(&[("TWINTIER_NAMESPACES_A_B_MAX_TTL", "1h")]);
    sources.file = Some(file.path().into());
    assert_eq!(config(&sources).namespaces.configured["a-b"].max_ttl, Duration::from_secs(3600));

    sources.environment.insert("TWINTIER_NAMESPACES_C_D_ENABLED".into(), "false".into());
    sources.environment.insert("TWINTIER_NAMESPACES_E_ENABLED".into(), "false".into());
    let problems = problems(&sources);
    assert!(problems[0].contains("names both namespaces.c.d.enabled and namespaces.c_d.enabled"), "{problems:?}");
    assert!(problems[1].contains("only if the file or a flag names that namespace"), "{problems:?}");
    assert_eq!(problems.len(), 2);
}

#[test]
fn toml_and_yaml_say_the_same() {
    let toml = "[server]\nlisten = '[::1]:1'\nreflection = false\n[l1]\nsize = 134217728\n[namespaces.a]\nmax_ttl = '1h'\n[redis]\nurl = 'unix:///a?db=1'";
    let yaml = "server: {listen: '[::1]:1', reflection: false}\nl1:\n  size: 134217728\nnamespaces:\n  a:\n    max_ttl: 1h\nredis:\n  url: unix:///a?db=1";
    let values = |loaded: Loaded| -> Vec<_> {
        loaded.settings.into_iter().map(|setting| (setting.path, setting.value)).collect()
    };
    let (toml, yaml) = (load_file(".toml", toml).unwrap(), load_file(".yml", yaml).unwrap());
    assert_eq!(format!("{:?}", toml.config), format!("{:?}", yaml.config));
    assert_eq!(values(toml), values(yaml));
}

#[test]
fn a_file_has_to_quote_text() {
    let problems = load_file(".yaml", "redis: {url: redis://a, password: 0123, prefix: [a]}").unwrap_err();
    assert_eq!(problems.0.len(), 2, "{problems}");
    let problems = problems.to_string();
    assert!(problems.starts_with("2 problems in the configuration\n  redis."), "{problems}");
    assert!(problems.contains("redis.password: must be text: put it in quotes; was <redacted>"), "{problems}");
    assert!(problems.contains("redis.prefix: must be a single text; was a list"), "{problems}");
}

#[test]
fn the_url_takes_user_and_password_from_other_settings() {
    let secret = file(".txt", "from file\n");
    let path = secret.path().to_str().unwrap();
    let mut given = sources(&[
        ("REDIS_URL", "redis://a:b@h/1"),
        ("TWINTIER_REDIS_USERNAME", "app"),
        ("TWINTIER_REDIS_PASSWORD_FILE", path),
    ]);
    let redis = config(&given).redis.unwrap();
    let url = redis.url;
    assert_eq!(url.credentials.username.as_deref(), Some("app"));
    // The file is read on every new connection, so that a new password needs no restart.
    let password = url.credentials.password.unwrap();
    assert_eq!(password.read().unwrap().expose_secret(), "from file");
    std::fs::write(secret.path(), "another\r\n").unwrap();
    assert_eq!(password.read().unwrap().expose_secret(), "another");
    std::fs::write(secret.path(), "").unwrap();
    assert_eq!(password.read().unwrap_err(), "redis.password_file: must be a file that is not empty");
    std::fs::write(secret.path(), "from file\n").unwrap();
    assert_eq!(url.database, 1);

    given.environment.insert("REDIS_PASSWORD".into(), "hunter2".into());
    let both = problems(&given);
    assert!(
        both[0].contains("together with redis.password, and redis.password is <redacted> (environment REDIS_PASSWORD)"),
        "{both:?}"
    );

    let missing = sources(&[("REDIS_URL", "redis://h"), ("TWINTIER_REDIS_PASSWORD_FILE", "/does/not/exist")]);
    assert!(problems(&missing)[0].starts_with("redis.password_file: must be a readable file"));
}

#[test]
fn reservations_fit_into_memory_and_quotas() {
    let with = |namespaces: &str| load_file(".yaml", &format!("l1: {{size: 64MiB}}\nnamespaces: {namespaces}"));
    let loaded = with("{a: {reserved_bytes: 32MiB, max_bytes: 32MiB}, b: {reserved_bytes: 32MiB}}").unwrap();
    let rules = &loaded.config.namespaces;
    assert_eq!((rules.configured["a"].reserved_bytes, rules.l1_size), (32 << 20, 64 << 20));
    assert_eq!((rules.configured["a"].max_leases, rules.default_policy.max_leases), (1000, 1000));
    let sum = with("{a: {reserved_bytes: 40MiB}, b: {reserved_bytes: 40MiB}}").unwrap_err().to_string();
    assert!(sum.contains("namespaces.a.reserved_bytes: must be, summed over all namespaces, at most l1.size"), "{sum}");
    assert!(sum.contains("namespaces.b.reserved_bytes"), "{sum}");
    let beyond = with("{a: {reserved_bytes: 2MiB, max_bytes: 1MiB}}").unwrap_err().to_string();
    assert!(beyond.contains("namespaces.a.reserved_bytes: must be at most max_bytes"), "{beyond}");
    let everywhere = load_file(".yaml", "cache: {reserved_bytes: 1MiB}").unwrap_err().to_string();
    assert!(everywhere.contains("cache.reserved_bytes: unknown key"), "{everywhere}");
}

#[test]
fn a_quota_in_redis_needs_samples() {
    let given =
        [("redis.url", "redis://redis"), ("redis.namespace_sampling", "0s"), ("namespaces.a.max_l2_bytes", "1GiB")];
    let problems = problems(&flags(&given));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("namespaces.a.max_l2_bytes: needs samples"), "{problems:?}");
    assert_eq!(config(&flags(&given[..1])).namespaces.configured.len(), 0);
}

#[test]
fn sampling_of_namespaces_is_off_or_at_least_a_second_apart() {
    let with =
        |interval: &'static str| flags(&[("redis.url", "redis://redis"), ("redis.namespace_sampling", interval)]);
    for (interval, seconds) in [("0s", 0), ("1s", 1), ("1h", 3600)] {
        let redis = config(&with(interval)).redis.unwrap();
        assert_eq!(redis.namespace_sampling, Duration::from_secs(seconds));
    }
    assert_eq!(config(&flags(&[("redis.url", "redis://redis")])).redis.unwrap().namespace_sampling.as_secs(), 60);
    for interval in ["1ms", "999ms", "61m"] {
        let problems = problems(&with(interval));
        let named = |problem: &String| problem.contains("redis.namespace_sampling") && problem.contains("1h");
        assert!(problems.len() == 1 && problems.iter().all(named), "{problems:?}");
    }
}

#[test]
fn sentinels_and_clusters_are_taken() {
    for url in ["redis-sentinel://a,b/2?service=main", "rediss-cluster://a:1,b:2"] {
        let config = Config::load(&flags(&[("redis.url", url)])).expect("valid").config;
        assert!(config.redis.is_some_and(|redis| redis.failover == Failover::Repair), "{url}");
    }
    let given = [("redis.url", "redis://a"), ("redis.sentinel_username", "u")];
    let refused = problems(&flags(&given));
    assert!(refused[0].starts_with("redis.sentinel_username: has no effect without redis-sentinel://"), "{refused:?}");
    let refused = problems(&flags(&[("redis.url", "redis-cluster://a/3")]));
    assert!(refused[0].starts_with("redis.url: must not name a database"), "{refused:?}");
}

#[test]
fn a_secret_is_never_shown() {
    let given = sources(&[("REDIS_URL", "redis://hunter2:hunter2@h"), ("REDIS_PASSWORD", "hunter2")]);
    let loaded = Config::load(&given).unwrap();
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(setting(&loaded, "redis.url").value.as_deref(), Some("redis://***@h:6379/0"));
    assert_eq!(setting(&loaded, "redis.password").value.as_deref(), Some(REDACTED));

    let wrong = file(
        ".toml",
        "[redis]\nurl = 'redis://:hunter2#@h'\npasswort = 'hunter2'\npassword = ['hunter2']\nhunter = 'hunter2'",
    );
    let mut given = sources(&[("TWINTIER_REDIS_PASWORD", "hunter2")]);
    given.file = Some(wrong.path().into());
    let problems = Config::load(&given).unwrap_err();
    assert_eq!(problems.0.len(), 5, "{problems}");
    assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{problems}");
}

#[test]
fn every_setting_of_the_reference_can_be_set_by_its_variable() {
    let names: BTreeSet<_> = reference().iter().map(|setting| environment::variable(&setting.path)).collect();
    assert_eq!(names.len(), reference().len(), "two settings share a variable");
    for setting in reference().iter().filter(|setting| !setting.path.contains("<name>")) {
        let [own, ..] = &setting.variables[..] else { panic!("{} has no variable", setting.path) };
        let problems = Config::load(&sources(&[(own, "\u{1}")])).map(|_| ()).unwrap_err();
        assert!(problems.0.iter().all(|problem| problem.path == setting.path), "{problems}");
    }
}

#[test]
fn the_reference_describes_every_setting_once() {
    let reference = reference();
    let paths: BTreeSet<_> = reference.iter().map(|setting| &setting.path).collect();
    assert_eq!(paths.len(), reference.len());
    assert!(reference.iter().any(|setting| setting.path == "namespaces.<name>.max_ttl"));
    for setting in &reference {
        assert!(!setting.doc.is_empty() && !setting.expects.is_empty(), "{}", setting.path);
    }
}

#[test]
fn events_are_lists_of_rules() {
    let toml = "[events]\ngoal_changed = [{namespace = 'goals', keys = ['goal:{id}'], tags = ['user:{user}']},\n\
        {namespace = 'pages', prefixes = ['goal:{id}'], patterns = ['*:{{x}}'], mode = 'mark_stale'}]\n";
    let yaml = "events:\n  goal_changed:\n    - {namespace: goals, keys: ['goal:{id}'], tags: ['user:{user}']}\n    \
        - {namespace: pages, prefixes: ['goal:{id}'], patterns: ['*:{{x}}'], mode: mark_stale}\n";
    let json = r#"[{"namespace": "goals", "keys": ["goal:{id}"], "tags": ["user:{user}"]},
        {"namespace": "pages", "prefixes": ["goal:{id}"], "patterns": ["*:{{x}}"], "mode": "mark_stale"}]"#;
    let loaded = [
        load_file(".toml", toml).unwrap().config,
        load_file(".yaml", yaml).unwrap().config,
        config(&flags(&[("events.goal_changed", json)])),
    ];
    for config in &loaded {
        let rules = &config.events.0["goal_changed"];
        let shape: Vec<_> = rules
            .iter()
            .map(|rule| {
                (rule.namespace.as_str(), rule.mark_stale, rule.targets.iter().map(|(kind, _)| *kind).collect())
            })
            .collect();
        use crate::cache::policy::TargetKind::{Key, Pattern, Prefix, Tag};
        let expected: [(_, _, Vec<_>); 2] = [("goals", false, vec![Key, Tag]), ("pages", true, vec![Prefix, Pattern])];
        assert_eq!(shape, expected);
        assert_eq!(config.events, loaded[0].events);
    }
}

#[test]
fn everything_that_is_wrong_with_an_event_is_named_with_its_path() {
    let yaml = "
events:
  single: {namespace: goals}
  number: 7
  Bad Name: []
  wrong:
    - text
    - {namespace: Goals, keys: ['{id'], mode: drop}
    - {tags: [], prefixes: [':'], patterns: ['a\\'], key: a}
    - {namespace: goals, tags: [7]}
    - {namespace: goals}
";
    let problems = load_file(".yaml", yaml).map(|_| ()).unwrap_err();
    let named: Vec<_> = problems.0.iter().map(|problem| (problem.path.as_str(), problem.rule.as_str())).collect();
    for (path, rule) in [
        ("events.Bad Name", "an event must be of [a-z0-9._-]"),
        ("events.number", "must be a list"),
        ("events.single.namespace", "must be a list"),
        ("events.wrong[0]", "must be a rule"),
        ("events.wrong[1].keys[0]", "must have parameters such as {id}"),
        ("events.wrong[1].mode", "must be one of remove, mark_stale"),
        ("events.wrong[1].namespace", "must be of [a-z0-9._-]"),
        ("events.wrong[2].key", "unknown key"),
        ("events.wrong[2].namespace", "must be the name of a namespace"),
        ("events.wrong[2].patterns[0]", "must not end with"),
        ("events.wrong[2].prefixes[0]", "1 to 16 segments"),
        ("events.wrong[2].tags", "must be a list of tag templates"),
        ("events.wrong[3].tags[0]", "must be text"),
        ("events.wrong[4]", "must have keys, tags, prefixes or patterns"),
    ] {
        assert!(named.iter().any(|(at, what)| *at == path && what.contains(rule)), "{path} {rule}: {named:?}");
    }
}

#[test]
fn the_admin_server_is_on_loopback_by_default() {
    let admin = config(&Sources::default()).admin.unwrap();
    assert!(admin.page && admin.listen.ip().is_loopback() && !admin.listen_is_given);
    assert_eq!((admin.listen.port(), admin.keys), (9090, KeyForm::Hashed));
    let given = [("admin.listen", "0.0.0.0:9090"), ("admin.page", "false"), ("admin.keys", "clear")];
    let admin = config(&flags(&given)).admin.unwrap();
    assert!(admin.listen_is_given && !admin.page && admin.keys == KeyForm::Clear);
    let wrong = problems(&flags(&[("admin.listen", "9090"), ("admin.keys", "plain"), ("admin.pages", "true")]));
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[2].contains("did you mean admin.page?"), "{wrong:?}");
}

#[test]
fn a_password_in_a_flag_is_exposed_and_no_other_is() {
    let exposed = |overrides: &[(&str, &str)]| {
        let sources = Sources { overrides: flags(overrides).overrides, ..sources(&[("REDIS_URL", "redis://:a@host")]) };
        Config::load(&sources).unwrap().exposed_secrets
    };
    assert_eq!(exposed(&[("l1.size", "64MiB")]), Vec::<String>::new());
    assert_eq!(exposed(&[("redis.url", "redis://user@host")]), Vec::<String>::new());
    assert_eq!(exposed(&[("redis.url", "redis://:hunter2@host")]), ["redis.url"]);
    assert_eq!(exposed(&[("redis.password", "hunter2")]), ["redis.password"]);
}

#[test]
fn hosts_of_the_admin_port_are_names() {
    let with = |hosts: &str| flags(&[("admin.allowed_hosts", hosts)]);
    let admin = config(&with("[\"cache.example\", \"*.cache.svc\"]")).admin.unwrap();
    assert_eq!(admin.max_connections_per_peer, 16);
    let problem = problems(&with("[\"cache:80\"]")).join("\n");
    assert!(
        problem.contains("admin.allowed_hosts: must be a host name, which *. may begin; was \"cache:80\""),
        "{problem}"
    );
}
