//! How Redis has to be set up, and what the service says when it is not.

use std::io::Write as _;

use twintier::pb;

use crate::harness::{
    Answer as _, Authority, Fleet, Redis, Replica, eventually, free_port, invalidate_key, set_request, whole_namespace,
};

/// The line of docs/redis.md that says what the user of this service may do.
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
    other.holds("k", "v").await;
    let condition = Some(pb::set_request::Condition::IfAbsent(pb::IfAbsent {}));
    let refused = other.store(pb::SetRequest { condition, ..set_request("k", "w") }).await.unwrap();
    assert_eq!(refused.outcome(), pb::SetOutcome::AlreadyPresent);
    assert!(one.strong("k").await.unwrap().is("v"));
    one.remove(pb::InvalidateRequest { barrier, ..invalidate_key("k") }).await.unwrap();
    other.lacks("k").await;
    other.set("k", "again").await;
    one.remove(pb::InvalidateRequest { barrier, ..whole_namespace("") }).await.unwrap();
    other.lacks("k").await;
    redis.cli(&["SCRIPT", "FLUSH"]).await;
    one.set("k", "after a flush").await;
    assert!(one.inspect("k").await.l2_error.is_empty());
    let policy = Some(pb::Policy { jitter: Some(0.1), ..Default::default() });
    one.admin().set_policy(pb::SetPolicyRequest { namespace: "n".into(), policy }).await.unwrap();
    one.admin().reset_policy(pb::ResetPolicyRequest { namespace: "n".into() }).await.unwrap();
    eventually("the fleet is told", async || other.fleet().await.fleet.len() == 2).await;
    one.get("k").await;
    eventually("the hot keys are listed", async || redis.cli(&["EXISTS", "twintier:{0}:h"]).await.number() == 1).await;
    eventually("what Redis says of itself is known", async || one.redis().await.used_memory > 0).await;
    // All that is stored lies under the prefix.
    let names = format!("{:?}", redis.cli(&["KEYS", "[^t]*"]).await);
    assert_eq!(names, "List([])");
    let log = redis.cli(&["ACL", "LOG"]).await;
    assert!(!format!("{log:?}").contains("twintier"), "refused: {log:?}");
}

#[test]
fn every_command_of_a_script_is_a_documented_right() {
    let user = documented_user();
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/redis/lua")).unwrap();
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
async fn a_right_that_is_missing_is_named() {
    for missing in ["+hset", "+evalsha", "+script|load", "+subscribe", "&twintier:*", "~twintier:*"] {
        let user = documented_user().replace(&format!("{missing} "), "");
        let (redis, _file) = with_users(&[ADMIN, &user]).await;
        let replica = Replica::at(&redis.url(), USER).await;
        // fred does not tell that SUBSCRIBE is refused: then nothing comes back.
        let word = match missing {
            "+subscribe" => "may this user subscribe",
            "+hset" => "can't run this command",
            "&twintier:*" => "can't publish to the channel",
            _ => "NOPERM",
        };
        eventually("it says which right is missing", async || {
            let reason = replica.redis().await.reason;
            reason.contains(word) && reason.contains("docs/redis.md")
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
    replica.whole().await;
    replica.set("k", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_weaken_the_promise_are_named() {
    let fleet = Fleet::of(1, &[]).await;
    eventually("the policy is known", async || fleet[0].redis().await.maxmemory_policy == "noeviction").await;
    assert_eq!(fleet[0].redis().await.warnings, Vec::<String>::new());
    let redis = Redis::with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let replica = Replica::on(&redis, &[]).await;
    eventually("it warns of eviction", async || {
        replica.redis().await.warnings.iter().any(|warning| warning.contains("allkeys-lru"))
    })
    .await;
}

/// A certificate of an authority for this machine's address, as arguments of Redis; and the authority's file.
fn certified() -> (Authority, Vec<String>) {
    let authority = Authority::new();
    let (certificate, key) = authority.certificate("127.0.0.1");
    let files = ["--tls-ca-cert-file", &authority.file(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let args = files.iter().chain(&["--tls-auth-clients", "no"]).map(|arg| (*arg).to_owned()).collect();
    (authority, args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_by_tls_and_as_a_user_with_the_documented_rights() {
    let (authority, mut args) = certified();
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
    let replica = Replica::at(&url, &[USER, &[("redis.tls_ca_file", &file)]].concat()).await;
    replica.whole().await;
    replica.store(pb::SetRequest { barrier: pb::Barrier::Fleet.into(), ..set_request("k", "v") }).await.unwrap();
    assert!(replica.strong("k").await.unwrap().is("v"));
    let log = redis.cli(&["ACL", "LOG"]).await;
    assert!(!format!("{log:?}").contains("twintier"), "refused: {log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_reached_by_tls_and_with_a_password_of_their_own() {
    let (authority, args) = certified();
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
    let replica = Replica::at(&url, &settings).await;
    replica.whole().await;
    replica.set("k", "v").await;
    let wrong = Replica::at(&url, &[("redis.tls_ca_file", &file), ("redis.sentinel_password", "wrong")]).await;
    eventually("it says why", async || wrong.redis().await.reason.contains("WRONGPASS")).await;
}
