//! Access as users see it: commands, the audit log, clients, and secrets that are never shown.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;
use twintier::auth::TokenHash;

use crate::process::{Serving, required_program, run, twintier, wait_until};

const TOKEN: &str = "a-token-of-the-shop-team";
const ROOT: &str = "a-token-of-the-operators";

/// Settings of a team that may use one namespace, and of operators.
fn settings() -> Vec<String> {
    let hash = |token: &str| format!("[\"{}\"]", TokenHash::of(token.as_bytes()));
    let settings = [
        "auth.mode=enforce".to_owned(),
        format!("identities.shop.token_hashes={}", hash(TOKEN)),
        r#"identities.shop.grants=[{"namespaces": ["cart"], "verbs": ["read", "write"]}]"#.to_owned(),
        format!("identities.root.token_hashes={}", hash(ROOT)),
        r#"identities.root.grants=[{"namespaces": ["*"], "verbs": ["read", "stats", "admin"]}]"#.to_owned(),
    ];
    settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect()
}

fn serve(more: &[&str]) -> Serving {
    let settings = settings();
    Serving::start(&settings.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

fn header(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

impl Serving {
    /// Runs a client command with a token.
    fn client_as(&self, token: &str, args: &[&str]) -> crate::process::CommandResult {
        self.client(&[args, &["-H", &header(token)]].concat())
    }

    /// Lines of the audit log so far.
    fn audit(&self) -> Vec<Value> {
        let lines = self.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.filter(|line| line["target"] == "twintier::audit").collect()
    }

    fn wait_for_audit(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        let mut found = None;
        wait_until(what, || {
            found = self.audit().into_iter().find(|line| is_it(line));
            found.is_some()
        });
        found.unwrap()
    }
}

#[test]
fn a_new_token_is_printed_with_its_hash_and_is_accepted() {
    let text = run(&mut twintier(&["auth", "new-token"]), b"").assert_exit(0);
    let value = |name: &str| text.text().lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(TokenHash::of(value("token ").as_bytes()).to_string(), value("hash "));
    let json = run(&mut twintier(&["auth", "new-token", "--output", "json"]), b"").assert_exit(0).json();
    let token = json["token"].as_str().unwrap();
    assert_eq!(TokenHash::of(token.as_bytes()).to_string(), json["hash"].as_str().unwrap());
    assert_ne!(value("token "), token);
    let hashes = format!("identities.new.token_hashes=[{}]", json["hash"]);
    let service = serve(&["--set", &hashes]);
    assert!(service.client_as(token, &["get", "-n", "cart", "k"]).assert_exit(4).err.contains("PERMISSION_DENIED"));
}

#[test]
fn a_check_reads_the_configuration_as_serve_does() {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    write!(
        file,
        "[auth]\nmode = 'enforce'\nanonymous = [{{namespaces = ['public'], verbs = ['read']}}]\n[identities.shop]\n\
        grants = [{{namespaces = ['cart'], verbs = ['read']}}, {{namespaces = ['users'], keys = ['user:'], verbs = ['read']}}]\n"
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let check = |args: &[&str]| run(&mut twintier(&[&["auth", "check", "--config", path], args].concat()), b"");
    for (args, exit, output) in [
        (&["--identity", "shop", "--namespace", "cart", "--verb", "read"][..], 0, "yes: identities.shop.grants[0]\n"),
        (
            &["--identity", "shop", "-n", "cart", "--verb", "write"],
            1,
            "no: no grant of shop holds write in namespace \"cart\"\n",
        ),
        (
            &["--identity", "shop", "-n", "users", "--verb", "read", "--key", "user:1"],
            0,
            "yes: identities.shop.grants[1]\n",
        ),
        (&["--identity", "anonymous", "-n", "public", "--verb", "read"], 0, "yes: auth.anonymous[0]\n"),
    ] {
        assert_eq!(check(args).assert_exit(exit).text(), output, "{args:?}");
    }
    let json = check(&["--identity", "shop", "-n", "cart", "--verb", "read", "--output", "json"]).assert_exit(0).json();
    assert_eq!((&json["allowed"], &json["rule"]), (&true.into(), &"identities.shop.grants[0]".into()));
    let unknown = check(&["--identity", "shops", "--verb", "read"]).assert_exit(2);
    assert!(unknown.err.contains("no identity \"shops\" is configured; did you mean shop?"), "{}", unknown.err);
    assert!(check(&["--identity", "shop", "--verb", "reads"]).assert_exit(2).err.contains("possible values: read"));
    let wrong =
        run(&mut twintier(&["auth", "check", "--set", "auth.mode=on", "--identity", "a", "--verb", "read"]), b"");
    assert!(wrong.assert_exit(2).err.contains("auth.mode: must be one of off, shadow, enforce"));
}

#[test]
fn the_audit_log_has_denials_failed_logins_and_admin_actions() {
    // A level without information does not remove it. The harness needs one line of the start.
    let service = serve(&["--set", "log.level=error,twintier::announce=info"]);
    for _ in 0..3 {
        service.client_as(TOKEN, &["get", "-n", "secret", "k"]).assert_exit(4);
        service.client_as("wrong", &["get", "-n", "cart", "k"]).assert_exit(4);
    }
    service.client_as(TOKEN, &["set", "-n", "cart", "k", "v"]).assert_exit(0);
    service.client_as(ROOT, &["policy", "set", "-n", "cart", "default_ttl=5s"]).assert_exit(0);
    service.client_as(ROOT, &["drain", "on"]).assert_exit(0);
    let denied = service.wait_for_audit("the denial", |line| line["decision"] == "denied");
    for (field, value) in [("identity", "shop"), ("known_by", "token"), ("verb", "read"), ("namespace", "secret")] {
        assert_eq!(denied[field], value, "{denied}");
    }
    assert!(denied["peer"].as_str().unwrap().starts_with("127.0.0.1:") && denied["timestamp"].is_string(), "{denied}");
    assert!(denied["key"].as_str().unwrap().starts_with('#') && denied["count"] == 1, "{denied}");
    let failed = service.wait_for_audit("the failed login", |line| line["verb"] == "login");
    assert_eq!((&failed["decision"], &failed["rule"]), (&"failed".into(), &"unknown_token".into()));
    let policy = service.wait_for_audit("the policy", |line| line["action"] == "SetPolicy");
    assert_eq!((&policy["identity"], &policy["namespace"]), (&"root".into(), &"cart".into()));
    let [before, after] = ["before", "after"].map(|field| policy[field].as_str().unwrap().to_owned());
    assert!(before.contains("default_ttl=5m") && after.contains("default_ttl=5s"), "{before}\n{after}");
    let drain = service.wait_for_audit("the drain", |line| line["action"] == "Drain");
    assert_eq!((&drain["before"], &drain["after"]), (&"false".into(), &"true".into()));
    let of = |decision: &str| service.audit().iter().filter(|line| line["decision"] == decision).count();
    assert_eq!((of("denied"), of("failed"), of("allowed")), (1, 1, 0), "one line a minute of each; none is allowed");
}

#[test]
fn the_audit_log_can_have_all_decisions_or_none() {
    let all = serve(&["--set", "audit.log=all"]);
    all.client_as(TOKEN, &["set", "-n", "cart", "k", "v"]).assert_exit(0);
    all.client_as(TOKEN, &["get", "-n", "cart", "k"]).assert_exit(0);
    all.client_as(TOKEN, &["get", "-n", "cart", "k"]).assert_exit(0);
    let write = all.wait_for_audit("the write", |line| line["verb"] == "write");
    let expected = (&"allowed".into(), &"identities.shop.grants[0]".into());
    assert_eq!((&write["decision"], &write["rule"]), expected);
    let read = all.wait_for_audit("the read", |line| line["verb"] == "read");
    assert_eq!((&read["decision"], &read["rule"], &read["key"]), (expected.0, expected.1, &write["key"]));
    let off = serve(&["--set", "audit.log=off"]);
    off.client_as(TOKEN, &["get", "-n", "secret", "k"]).assert_exit(4);
    off.client(&["get", "-n", "secret", "k"]).assert_exit(4);
    off.wait_for_audit("the failed login", |line| line["rule"] == "no_credential");
    assert!(off.audit().iter().all(|line| line["decision"] == "failed"), "{:?}", off.audit());
}

#[test]
fn no_token_is_in_the_log_at_any_level_nor_in_an_error() {
    let service = serve(&["--set", "log.level=trace", "--set", "audit.log=all", "--set", "log.slow_request=1ms"]);
    let wrong = "a-wrong-token-that-stays-secret";
    service.client_as(TOKEN, &["set", "-n", "cart", "k", "v"]).assert_exit(0);
    let refused = service.client_as(wrong, &["get", "-n", "cart", "k"]).assert_exit(4);
    let denied = service.client_as(TOKEN, &["get", "-n", "secret", "k"]).assert_exit(4);
    for output in [&refused.err, &denied.err] {
        assert!(!output.contains(wrong) && !output.contains(TOKEN), "{output}");
    }
    service.wait_for_audit("the failed login", |line| line["rule"] == "unknown_token");
    let log = service.log().join("\n");
    assert!(log.contains("TRACE") && log.contains("h2"), "the libraries log, too");
    for token in [TOKEN, wrong] {
        let line = log.lines().find(|line| line.contains(token));
        assert_eq!(line, None);
    }
}

#[test]
fn the_configuration_is_shown_with_hashes_and_an_error_shows_no_token() {
    let settings = settings();
    let all = ["config", "show"].into_iter().chain(settings.iter().map(String::as_str));
    let shown = run(&mut twintier(&all.collect::<Vec<_>>()), b"").assert_exit(0);
    assert!(shown.text().contains(&TokenHash::of(TOKEN.as_bytes()).to_string()) && !shown.text().contains(TOKEN));
    for value in [TOKEN.to_owned(), format!("[\"{TOKEN}\"]")] {
        let setting = format!("identities.shop.token_hashes={value}");
        let refused = run(&mut twintier(&["config", "check", "--set", &setting]), b"").assert_exit(2);
        assert!(
            refused.err.contains("identities.shop.token_hashes: must be") && !refused.err.contains(TOKEN),
            "{}",
            refused.err
        );
    }
}

#[test]
fn open_access_is_warned_of_at_the_start() {
    let grants = r#"auth.anonymous=[{"namespaces": ["public"], "verbs": ["read"]}]"#;
    for (more, warning) in [
        (&["--set", "auth.mode=off"][..], "auth.mode is off: identities are configured, and nothing is denied"),
        (&["--set", "auth.mode=shadow"], "auth.mode is shadow: nothing is denied"),
        (&["--set", grants], "auth.anonymous grants access without a credential"),
    ] {
        assert!(serve(more).wait_for_log(warning).contains("WARN"), "{warning}");
    }
    let empty = Serving::start(&["--set", "auth.mode=enforce"]);
    empty.wait_for_log("auth.mode is enforce without identities: every request is denied");
}

#[test]
fn grpcurl_and_python_send_the_token_as_metadata() {
    let service = serve(&[]);
    let grpcurl = |token: Option<&str>, args: &[&str]| {
        let mut command = Command::new(required_program("grpcurl", "TEST_GRPCURL"));
        command.args(["-plaintext"]);
        if let Some(token) = token {
            command.args(["-H", &header(token)]);
        }
        let [options, target] = [&args[..args.len() - 1], &args[args.len() - 1..]];
        run(command.args(options).arg(&service.address).args(target), b"")
    };
    assert!(grpcurl(Some(TOKEN), &["list"]).assert_exit(0).text().contains("twintier.v1.CacheService"));
    assert!(grpcurl(None, &["list"]).err.contains("no credential"));
    let set = ["-d", r#"{"namespace": "cart", "key": "k", "value": "aGVsbG8="}"#, "twintier.v1.CacheService/Set"];
    assert!(grpcurl(Some(TOKEN), &set).assert_exit(0).text().contains("SET_OUTCOME_STORED"));
    let denied = grpcurl(Some(TOKEN), &["-d", r#"{"namespace": "secret"}"#, "twintier.v1.CacheService/Get"]);
    assert!(denied.err.contains("PermissionDenied") && denied.err.contains("NOT_GRANTED"), "{}", denied.err);
    // A Get of the namespace "cart" and the key "k", encoded by hand.
    let script = r#"
import sys, grpc
channel = grpc.insecure_channel(sys.argv[1])
get = channel.unary_unary("/twintier.v1.CacheService/Get")
request = b"\x0a\x04cart\x12\x01k"
def code(metadata):
    try:
        return b"hello" in get(request, metadata=metadata, timeout=60)
    except grpc.RpcError as error:
        return error.code().name
print(code([("authorization", "Bearer " + sys.argv[2])]), code([("authorization", "Bearer x")]), code([]))
"#;
    let mut python = Command::new(required_program("Python with grpcio", "TEST_PYTHON"));
    let ran = run(python.args(["-c", script, &service.address, TOKEN]), b"").assert_exit(0);
    assert_eq!(ran.text(), "True UNAUTHENTICATED UNAUTHENTICATED\n");
}
