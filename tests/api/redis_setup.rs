//! Setup of Redis: rights, TLS, passwords, and warnings about its settings.

use std::io::Write as _;

use twintier::pb;
use twintier::pb::invalidate_request::Selector;

use crate::harness::{
    Answer as _, Authority, Fleet, Redis, Replica, Reply, eventually, free_port, invalidate_key, set_request,
    whole_namespace,
};

/// Refusals in the ACL LOG that concern the user of the service.
async fn refusals(redis: &Redis) -> Vec<String> {
    let Reply::List(entries) = redis.cli(&["ACL", "LOG"]).await else { panic!("not a list") };
    let words = |entry: &Reply| match entry {
        Reply::List(fields) => fields.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => panic!("{other:?}"),
    };
    entries.iter().map(words).filter(|entry| entry.contains("username twintier ")).collect()
}

fn shown(field: &Reply) -> String {
    match field {
        Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// The line of docs/redis.md with the rights of the service's user.
fn documented_user() -> String {
    let page = include_str!("../../docs/redis.md");
    page.lines().find(|line| line.starts_with("user twintier ")).expect("documented").to_owned()
}

async fn with_users(users: &[&str]) -> (Redis, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", users.join("\n")).unwrap();
    let redis = Redis::with(&["--aclfile", file.path().to_str().unwrap()]).await;
    (redis, file)
}

const ADMIN: &str = "user default on nopass ~* &* +@all";
const USER: &[(&str, &str)] = &[("redis.username", "twintier"), ("redis.password", "password")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let (redis, _file) = with_users(&[ADMIN, &documented_user()]).await;
    let one = Replica::on(&redis, USER).await;
    let other = Replica::on(&redis, USER).await;
    let barrier = pb::Barrier::Fleet.into();
    one.store(pb::SetRequest { barrier, ..set_request("k", "v") }).await.unwrap();
    other.wait_until_cached("k", "v").await;
    let condition = Some(pb::set_request::Condition::IfAbsent(pb::IfAbsent {}));
    let refused = other.store(pb::SetRequest { condition, ..set_request("k", "w") }).await.unwrap();
    assert_eq!(refused.outcome(), pb::SetOutcome::AlreadyPresent);
    assert!(one.get_strong("k").await.unwrap().is("v"));
    one.remove(pb::InvalidateRequest { barrier, ..invalidate_key("k") }).await.unwrap();
    other.assert_missing("k").await;
    other.set("k", "again").await;
    one.remove(pb::InvalidateRequest { barrier, ..whole_namespace("") }).await.unwrap();
    other.assert_missing("k").await;
    redis.cli(&["SCRIPT", "FLUSH"]).await;
    one.set("k", "after a flush").await;
    assert!(one.inspect("k").await.l2_error.is_empty());
    let policy = Some(pb::Policy { jitter: Some(0.1), ..Default::default() });
    one.admin().set_policy(pb::SetPolicyRequest { namespace: "n".into(), policy }).await.unwrap();
    one.admin().reset_policy(pb::ResetPolicyRequest { namespace: "n".into() }).await.unwrap();
    eventually("the fleet has the change", async || other.fleet().await.fleet.len() == 2).await;
    one.get("k").await;
    eventually("the hot keys are listed", async || redis.cli(&["EXISTS", "twintier:{0}:h"]).await.number() == 1).await;
    eventually("INFO of Redis is known", async || one.redis().await.used_memory > 0).await;
    // All stored keys have the prefix.
    let names = format!("{:?}", redis.cli(&["KEYS", "[^t]*"]).await);
    assert_eq!(names, "List([])");
    assert_eq!(refusals(&redis).await, Vec::<String>::new());
}

/// Uses each feature that sends its own commands to Redis.
async fn use_everything(one: &Replica, other: &Replica, redis: &Redis) {
    let tags = vec!["t".to_owned()];
    let request = pb::SetRequest {
        tags: tags.clone(),
        source_version: Some(7),
        request_id: "request".into(),
        barrier: pb::Barrier::Fleet.into(),
        ..set_request("a:b", "v")
    };
    one.store(request.clone()).await.unwrap();
    one.store(request).await.unwrap();
    let lease = Some(pb::LeaseOptions { wait: pb::LeaseWait::None.into(), ..Default::default() });
    let wanting = |key: &str| pb::GetRequest { key: key.into(), lease, ..Default::default() };
    let granted = one.try_get(wanting("leased")).await.unwrap().lease.expect("granted");
    let condition = Some(pb::set_request::Condition::Lease(granted.id));
    one.store(pb::SetRequest { condition, ..set_request("leased", "v") }).await.unwrap();
    let returned = one.try_get(wanting("returned")).await.unwrap().lease.expect("granted");
    let release = pb::ReleaseLeaseRequest { key: "returned".into(), lease: returned.id, ..Default::default() };
    one.client.clone().release_lease(release).await.unwrap();
    let ttl = prost_types::Duration { seconds: 60, nanos: 0 };
    let expiry = Some(pb::touch_request::Expiry::Ttl(ttl));
    one.client.clone().touch(pb::TouchRequest { key: "leased".into(), expiry, ..Default::default() }).await.unwrap();
    let forever = Some(pb::set_request::Expiry::NoExpiry(pb::NoExpiry {}));
    one.store(pb::SetRequest { expiry: forever, ..set_request("kept", "v") }).await.unwrap();
    let items = vec![set_request("batch:1", "v"), set_request("batch:2", "v")];
    one.client.clone().batch_set(pb::BatchSetRequest { items, ..Default::default() }).await.unwrap();
    let keys: Vec<String> = ["batch:1", "absent"].map(str::to_owned).into();
    let mut found = other.client.clone().batch_get(pb::BatchGetRequest { keys, ..Default::default() }).await.unwrap();
    while found.get_mut().message().await.unwrap().is_some() {}
    let mode = pb::Mode::MarkStale.into();
    one.remove(pb::InvalidateRequest { mode, source_version: Some(8), ..invalidate_key("a:b") }).await.unwrap();
    for selector in [
        Selector::Tags(pb::Tags { tags }),
        Selector::Prefix("a".into()),
        Selector::Keys(pb::Keys { keys: vec!["kept".into(), "leased".into()] }),
        Selector::Pattern("batch:*".into()),
    ] {
        one.remove(pb::InvalidateRequest { selector: Some(selector), ..Default::default() }).await.unwrap();
        other.get("a:b").await;
        one.set("a:b", "v").await;
        other.get("a:b").await;
    }
    eventually("the pattern is reclaimed", async || {
        format!("{:?}", redis.cli(&["KEYS", "*:v:default:batch:*"]).await) == "List([])"
    })
    .await;
    let drain = |on| pb::DrainRequest { draining: on };
    one.admin().drain(drain(true)).await.unwrap();
    one.admin().drain(drain(false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_documented_commands_are_sent() {
    let (redis, _file) = with_users(&[ADMIN, &documented_user()]).await;
    let further =
        &[("cache.stale_window", "1h"), ("cache.allow_no_expiry", "true"), ("redis.namespace_sampling", "1s")];
    let settings = [USER, further].concat();
    let one = Replica::on(&redis, &settings).await;
    let other = Replica::on(&redis, &settings).await;
    use_everything(&one, &other, &redis).await;
    eventually("namespaces are measured", async || one.counts("default").await.redis_bytes.is_some()).await;
    // A takeover: the same server in a new life.
    redis.cli(&["CLIENT", "KILL", "USER", "twintier"]).await;
    one.wait_until_proven().await;
    redis.cli(&["FLUSHALL"]).await;
    one.wait_until_proven().await;
    one.set("k", "v").await;
    // A replica removes itself from the registry when it stops.
    assert!(other.stop().await);
    assert_eq!(refusals(&redis).await, Vec::<String>::new());
    // The log does contain refusals.
    redis.cli(&["ACL", "SETUSER", "twintier", "-client|id"]).await;
    redis.cli(&["CLIENT", "KILL", "USER", "twintier"]).await;
    eventually("the refusal is logged", async || {
        refusals(&redis).await.iter().any(|entry| entry.contains("client|id"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_in_another_database() {
    let (redis, _file) = with_users(&[ADMIN, &documented_user()]).await;
    let url = format!("{}/1", redis.url());
    let (one, other) = (Replica::connected_to(&url, USER).await, Replica::connected_to(&url, USER).await);
    one.wait_until_proven().await;
    other.wait_until_proven().await;
    one.store(pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set_request("k", "v") }).await.unwrap();
    other.wait_until_cached("k", "v").await;
    assert_eq!(refusals(&redis).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_has_keys_but_no_memory_usage_without_that_right() {
    let user = documented_user().replace(" +memory|usage", "");
    assert_ne!(user, documented_user());
    let (redis, _file) = with_users(&[ADMIN, &user]).await;
    let replica = Replica::on(&redis, &[USER, &[("redis.namespace_sampling", "1s")]].concat()).await;
    for n in 0..7 {
        replica.set(&format!("k{n}"), "v").await;
    }
    eventually("keys are counted", async || replica.counts("default").await.redis_keys == Some(7)).await;
    assert_eq!(replica.counts("default").await.redis_bytes, None);
    assert_eq!(replica.redis().await.state(), pb::RedisState::Healthy);
}

#[test]
fn every_command_of_a_script_is_a_documented_right() {
    let user = documented_user();
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/redis/schema/lua")).unwrap();
    for path in scripts.map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for call in ["redis.call('", "redis.pcall('"] {
            for rest in text.split(call).skip(1) {
                let command = rest.split_once('\'').unwrap().0.to_lowercase();
                assert!(user.contains(&format!(" +{command} ")), "{command} of {}", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named() {
    for missing in ["+hset", "+evalsha", "+script|load", "+subscribe", "&twintier:*", "~twintier:*"] {
        let user = documented_user().replace(&format!("{missing} "), "");
        let (redis, _file) = with_users(&[ADMIN, &user]).await;
        let replica = Replica::connected_to(&redis.url(), USER).await;
        // fred does not report that SUBSCRIBE was refused: no answer arrives.
        let word = match missing {
            "+subscribe" => "may this user subscribe",
            "+hset" => "can't run this command",
            "&twintier:*" => "can't publish to the channel",
            _ => "NOPERM",
        };
        eventually("the reason names the missing right", async || {
            let reason = replica.redis().await.reason;
            // The wording of Redis 7.0, or of later servers.
            let named = reason.contains(word) || reason.contains("ACL failure in script");
            named && reason.contains("docs/redis.md")
        })
        .await;
        assert_ne!(replica.redis().await.state(), pb::RedisState::Healthy, "{missing}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_in_its_file_needs_no_restart() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "password").unwrap();
    let (redis, _users) = with_users(&[ADMIN, &documented_user()]).await;
    let settings = &[("redis.username", "twintier"), ("redis.password_file", file.path().to_str().unwrap())];
    let replica = Replica::on(&redis, settings).await;
    redis.cli(&["ACL", "SETUSER", "twintier", "resetpass", ">second"]).await;
    redis.cli(&["CLIENT", "KILL", "USER", "twintier"]).await;
    eventually("the old password is refused", async || replica.redis().await.reason.contains("WRONGPASS")).await;
    std::fs::write(file.path(), "second\n").unwrap();
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_weaken_the_promise_are_logged() {
    let fleet = Fleet::start(1, &[]).await;
    eventually("the policy is known", async || fleet[0].redis().await.maxmemory_policy == "noeviction").await;
    assert_eq!(fleet[0].redis().await.warnings, Vec::<String>::new());
    let redis = Redis::with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let replica = Replica::on(&redis, &[]).await;
    eventually("the replica warns of eviction", async || {
        replica.redis().await.warnings.iter().any(|warning| warning.contains("allkeys-lru"))
    })
    .await;
}

/// A certificate for this machine's address, as arguments of Redis, with its authority.
fn tls_arguments() -> (Authority, Vec<String>) {
    let authority = Authority::new();
    let (certificate, key) = authority.certificate("127.0.0.1");
    let files = ["--tls-ca-cert-file", &authority.file(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let args = files.iter().chain(&["--tls-auth-clients", "no"]).map(|arg| (*arg).to_owned()).collect();
    (authority, args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_by_tls_with_the_documented_rights() {
    let (authority, mut args) = tls_arguments();
    let (port, bus) = (free_port().to_string(), free_port().to_string());
    let cluster = ["--tls-port", &port, "--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-port", &bus];
    args.extend(cluster.map(str::to_owned));
    let redis = Redis::with(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    redis.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let user = documented_user();
    let rights: Vec<&str> = user.split(' ').skip(2).collect();
    redis.cli(&[&["ACL", "SETUSER", "twintier"], &rights[..]].concat()).await;
    let file = authority.file();
    let url = format!("rediss-cluster://127.0.0.1:{port}");
    let replica = Replica::connected_to(&url, &[USER, &[("redis.tls_ca_file", &file)]].concat()).await;
    replica.wait_until_proven().await;
    replica.store(pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set_request("k", "v") }).await.unwrap();
    assert!(replica.get_strong("k").await.unwrap().is("v"));
    assert_eq!(refusals(&redis).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_reached_by_tls_with_their_own_password() {
    let (authority, args) = tls_arguments();
    let (port, sentinel_port) = (free_port().to_string(), free_port().to_string());
    let primary =
        [&["--tls-port", &port, "--requirepass", "password"], &args.iter().map(String::as_str).collect::<Vec<_>>()[..]];
    let _redis = Redis::with(&primary.concat()).await;
    let files: Vec<String> =
        args.chunks(2).map(|pair| format!("{} {}", pair[0].trim_start_matches("--"), pair[1])).collect();
    let configuration = format!(
        "tls-port {sentinel_port}\n{}\ntls-replication yes\nrequirepass of-sentinels\n\
         sentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-pass main password\n",
        files.join("\n")
    );
    let _sentinel = Redis::sentinel(&configuration).await;
    let (url, file) =
        (format!("rediss-sentinel://:password@127.0.0.1:{sentinel_port}/0?service=main"), authority.file());
    let mut password = tempfile::NamedTempFile::new().unwrap();
    writeln!(password, "of-sentinels").unwrap();
    let password = password.path().to_str().unwrap();
    let settings = [("redis.tls_ca_file", file.as_str()), ("redis.sentinel_password_file", password)];
    let replica = Replica::connected_to(&url, &settings).await;
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
    let wrong =
        Replica::connected_to(&url, &[("redis.tls_ca_file", &file), ("redis.sentinel_password", "wrong")]).await;
    eventually("the reason is reported", async || wrong.redis().await.reason.contains("WRONGPASS")).await;
}

/// Starts a Redis that speaks TLS on its own port and requires client certificates.
async fn redis_with_client_certificates() -> (Redis, Authority, String) {
    let (authority, args) = tls_arguments();
    let port = free_port().to_string();
    let args: Vec<&str> = args.iter().map(|arg| if arg == "no" { "yes" } else { arg }).collect();
    let redis = Redis::with(&[&["--tls-port", &port][..], &args[..]].concat()).await;
    (redis, authority, format!("127.0.0.1:{port}"))
}

async fn assert_reason(replica: &Replica, words: &[&str]) {
    eventually(&format!("the reason contains {words:?}"), async || {
        let reason = replica.redis().await.reason;
        words.iter().all(|word| reason.contains(word))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_sent_when_the_server_requests_one() {
    let (_redis, authority, place) = redis_with_client_certificates().await;
    let (url, authorities) = (format!("rediss://{place}"), authority.file());
    let (certificate, key) = authority.certificate("client");
    let without = Replica::connected_to(&url, &[("redis.tls_ca_file", &authorities)]).await;
    assert_reason(&without, &["redis.client_cert_file", "redis.client_key_file"]).await;
    // The settings have earlier names.
    for [cert_file, key_file] in
        [["redis.client_cert_file", "redis.client_key_file"], ["redis.tls_cert_file", "redis.tls_key_file"]]
    {
        let settings = [("redis.tls_ca_file", &*authorities), (cert_file, &certificate), (key_file, &key)];
        let replica = Replica::connected_to(&url, &settings).await;
        replica.wait_until_proven().await;
        replica.set("k", "v").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_client_certificate_is_read_for_new_connections() {
    let (_redis, authority, place) = redis_with_client_certificates().await;
    let (url, authorities) = (format!("rediss://{place}"), authority.file());
    let foreign = Authority::new();
    let (certificate, key) = foreign.certificate("client");
    let settings = [
        ("redis.tls_ca_file", &*authorities),
        ("redis.client_cert_file", &certificate),
        ("redis.client_key_file", &key),
    ];
    let replica = Replica::connected_to(&url, &settings).await;
    assert_reason(&replica, &["tls"]).await;
    // Files that are no certificate leave the old one in use.
    std::fs::write(&certificate, "no certificate").unwrap();
    assert_reason(&replica, &["tls"]).await;
    let (new_certificate, new_key) = authority.certificate("client");
    std::fs::copy(new_key, &key).unwrap();
    std::fs::copy(new_certificate, &certificate).unwrap();
    replica.wait_until_proven().await;
    replica.set("k", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_tls_connection_names_the_setting_to_change() {
    let (redis, authority, place) = redis_with_client_certificates().await;
    let plain = Replica::connected_to(&format!("redis://{place}"), &[]).await;
    assert_reason(&plain, &["redis.url has to begin with rediss"]).await;
    let file = authority.file();
    let tls =
        Replica::connected_to(&redis.url().replace("redis://", "rediss://"), &[("redis.tls_ca_file", &file)]).await;
    assert_reason(&tls, &["redis.url has to begin with redis instead of rediss"]).await;
    let other = Authority::new();
    let distrusting =
        Replica::connected_to(&format!("rediss://{place}"), &[("redis.tls_ca_file", &other.file())]).await;
    assert_reason(&distrusting, &["tls: invalid peer certificate", "redis.tls_ca_file"]).await;
    let reason = distrusting.redis().await.reason;
    assert!(!reason.contains("InvalidCertificate"), "no debugging form: {reason}");
    // Sentinels and cluster nodes are reached in the same way.
    let sentinel = Replica::connected_to(&format!("redis-sentinel://{place}/0?service=main"), &[]).await;
    assert_reason(&sentinel, &["redis.url has to begin with rediss"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_closed_by_redis_names_the_likely_limit() {
    let redis = Redis::start().await;
    redis.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 8kb 8kb 1"]).await;
    let replica = Replica::connected_to(&redis.url(), &[]).await;
    assert_reason(&replica, &["client-output-buffer-limit pubsub"]).await;
    redis.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 60"]).await;
    replica.wait_until_proven().await;
}
