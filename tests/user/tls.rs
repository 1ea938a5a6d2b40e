//! Commands and other clients over TLS, their errors, and what the log says of certificates.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::authority::{Authority, Subject};
use crate::process::{CommandResult, Serving, required_program, run, twintier, wait_until};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

/// A service with TLS, the authority of its certificate, and that of its clients.
struct Secured {
    service: Serving,
    authority: Authority,
    clients: Authority,
    cert_file: String,
    key_file: String,
}

impl Secured {
    fn start(more: &[&str]) -> Secured {
        Secured::with(Subject::server("server", "127.0.0.1"), more)
    }

    fn with(subject: Subject<'_>, more: &[&str]) -> Secured {
        let (authority, clients) = (Authority::named("servers"), Authority::named("clients"));
        let (cert_file, key_file) = authority.issue(subject);
        std::fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
        let mut settings = vec![
            format!("tls.cert_file={cert_file}"),
            format!("tls.key_file={key_file}"),
            format!("tls.client_ca_file={}", clients.file()),
            "admin.enabled=false".to_owned(),
            "auth.reload_interval=100ms".to_owned(),
        ];
        settings.extend(more.iter().map(|setting| (*setting).to_owned()));
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<_> = ["--listen", "127.0.0.1:0"].into_iter().chain(settings).collect();
        let service = Serving::listening(twintier(&args));
        Secured { service, authority, clients, cert_file, key_file }
    }

    /// Runs a client command that trusts the authority.
    fn client(&self, args: &[&str]) -> CommandResult {
        self.service.client(&[args, &["--tls", "--ca-file", &self.authority.file()]].concat())
    }

    fn log(&self, level: &str, message: &str) -> serde_json::Value {
        let line: serde_json::Value = serde_json::from_str(&self.service.wait_for_log(message)).unwrap();
        assert_eq!(line["level"], level, "{line}");
        line
    }
}

#[test]
fn a_check_of_the_configuration_reads_every_file() {
    let (authority, other) = (Authority::named("servers"), Authority::named("others"));
    let (cert, key) = authority.issue(Subject::server("server", "127.0.0.1"));
    let (_, other_key) = other.issue(Subject::server("other", "127.0.0.1"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (text, mac) = (file("text", "no PEM, key set, key or hash\n"), file("mac", &"07".repeat(32)));
    let hashes = file("hashes", &format!("sha256:{}\n", "00".repeat(32)));
    let check = |settings: &[(&str, &str)]| {
        let settings: Vec<String> = settings.iter().map(|(path, value)| format!("{path}={value}")).collect();
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        run(&mut twintier(&["config", "check"].into_iter().chain(settings).collect::<Vec<_>>()), b"")
    };
    let macs = format!("[{mac:?}]");
    let good = [
        ("tls.cert_file", &*cert),
        ("tls.key_file", &*key),
        ("tls.client_ca_file", &authority.file()),
        ("identities.shop.token_hashes_file", &*hashes),
        ("redis.url", "rediss://a"),
        ("redis.tls_ca_file", &authority.file()),
        ("redis.client_cert_file", &*cert),
        ("redis.client_key_file", &*key),
        ("redis.mac_key_files", &*macs),
    ];
    assert_eq!(check(&good).assert_exit(0).text(), "the configuration is valid\n");
    let bad_macs = format!("[{text:?}]");
    for (setting, bad, named) in [
        ("tls.cert_file", &text, &text),
        ("tls.key_file", &other_key, &other_key),
        ("tls.client_ca_file", &text, &text),
        ("identities.shop.token_hashes_file", &text, &text),
        ("redis.tls_ca_file", &text, &text),
        ("redis.client_cert_file", &text, &text),
        ("redis.client_key_file", &other_key, &other_key),
        ("redis.mac_key_files", &bad_macs, &text),
    ] {
        let refused = check(&[&good[..], &[(setting, bad)]].concat()).assert_exit(2);
        assert!(refused.err.contains(&format!("{setting}: ")) && refused.err.contains(named), "{}", refused.err);
    }
    let jwt = [("auth.jwt.jwks_file", &*text), ("auth.jwt.issuer", "https://a"), ("auth.jwt.audience", "b")];
    let refused = check(&jwt).assert_exit(2);
    assert!(refused.err.contains("auth.jwt.jwks_file: must be a JSON Web Key Set") && refused.err.contains(&text));
    // All problems are reported at once.
    let both = check(&[&good[..], &[("tls.cert_file", &text), ("redis.tls_ca_file", &text)]].concat()).assert_exit(2);
    assert!(both.err.contains("tls.cert_file: ") && both.err.contains("redis.tls_ca_file: "), "{}", both.err);
}

#[test]
fn commands_call_over_tls() {
    let secured = Secured::start(&[]);
    wait_until("ready", || secured.client(&["health"]).code == Some(0));
    secured.client(&["set", "key", "value"]).assert_exit(0);
    let (ca, address) = (secured.authority.file(), &secured.service.address);
    let url = format!("https://{address}");
    let ran = run(&mut twintier(&["get", "key", "--server", &url, "--ca-file", &ca]), b"");
    assert_eq!(ran.assert_exit(0).text(), "value");
    let mut command = twintier(&["get", "key"]);
    let variables = [("TWINTIER_SERVER", address.as_str()), ("TWINTIER_TLS", "true"), ("TWINTIER_CA_FILE", &ca)];
    assert_eq!(run(command.envs(variables), b"").assert_exit(0).text(), "value");
    secured.client(&["health", "liveness", "--wait", "10s"]).assert_exit(0);
    secured.client(&["stats"]).assert_exit(0);
    secured.client(&["batch", "get", "key"]).assert_exit(0);
    secured.client(&["hot-keys"]).assert_exit(0);
}

#[test]
fn errors_of_tls_say_what_to_do() {
    let secured = Secured::start(&["tls.client_auth=required"]);
    let ca = secured.authority.file();
    let fails = |args: &[&str], exit: i32, text: &str| {
        let ran = secured.service.client(&[&["get", "key"], args].concat()).assert_exit(exit);
        assert!(ran.err.contains(text), "{args:?}: {}", ran.err);
    };
    fails(&[], 3, "is --tls needed?");
    fails(&["--tls", "--ca-file", &secured.clients.file()], 3, "has an unknown authority: name it with --ca-file");
    fails(&["--tls", "--ca-file", &ca], 3, "a client certificate");
    let (cert, key) = secured.authority.issue(Subject::client("stranger", "spiffe://prod/stranger", 1));
    fails(&["--tls", "--ca-file", &ca, "--cert-file", &cert, "--key-file", &key], 3, "the client certificate");
    let (cert, key) = secured.clients.issue(Subject::client("checkout", "spiffe://prod/checkout", 2));
    let known = ["--tls", "--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    secured.service.client(&[&["get", "key"][..], &known].concat()).assert_exit(1);
    fails(&["--tls", "--ca-file", &ca, "--cert-file", &key, "--key-file", &key], 2, "--cert-file");
    fails(&["--tls", "--ca-file", &ca, "--cert-file", &cert, "--key-file", &cert], 2, "--key-file");
    fails(&["--tls", "--ca-file", &key], 2, "holds no certificate in PEM");
    fails(&["--tls", "--ca-file", "/absent.pem"], 4, "/absent.pem");
    fails(&["--tls", "--ca-file", &ca, "--cert-file", &cert], 2, "--key-file");
    fails(&["--ca-file", &ca], 2, "--ca-file has no effect without TLS");
    let plain = Serving::start(&[]);
    let ran = plain.client(&["get", "key", "--tls", "--ca-file", &ca]).assert_exit(3);
    assert!(ran.err.contains("speaks no TLS on this port"), "{}", ran.err);
}

#[test]
fn a_wrong_name_and_an_expired_certificate_are_told_apart() {
    let named = Secured::with(Subject::server("server", "cache.example.org"), &[]);
    let ran = named.client(&["get", "key"]).assert_exit(3);
    assert!(ran.err.contains("the certificate of the server is not for this name"), "{}", ran.err);
    let expired = Subject { valid: [-7200, -3600], ..Subject::server("server", "127.0.0.1") };
    let expired = Secured::with(expired, &[]);
    let ran = expired.client(&["get", "key"]).assert_exit(3);
    assert!(ran.err.contains("the certificate of the server has expired"), "{}", ran.err);
    let line = expired.log("ERROR", "tls: a certificate has expired");
    assert_eq!((&line["certificate"], &line["file"]), (&"server".into(), &expired.cert_file.as_str().into()));
}

#[test]
fn a_token_is_sent_where_nobody_else_reads_it() {
    let secured = Secured::start(&[]);
    let token = secured.authority.path("token");
    std::fs::write(&token, "secret\n").unwrap();
    secured.client(&["get", "key", "--token-file", &token]).assert_exit(1);
    let elsewhere = ["get", "key", "--server", "cache.example.org:50051", "--token-file", &token];
    let ran = run(&mut twintier(&elsewhere), b"").assert_exit(2);
    assert!(ran.err.contains("in plain text") && !ran.err.contains("secret"), "{}", ran.err);
    let both = ["get", "key", "--token-file", &token, "--header", "authorization: Bearer other"];
    assert!(secured.client(&both).assert_exit(2).err.contains("both given"));
}

#[test]
fn other_clients_call_over_tls() {
    let secured = Secured::start(&["tls.client_auth=required"]);
    let (ca, address) = (secured.authority.file(), &secured.service.address);
    let (cert, key) = secured.clients.issue(Subject::client("checkout", "spiffe://prod/checkout", 1));
    let grpcurl = |args: &[&str]| {
        let mut grpcurl = Command::new(required_program("grpcurl", "TEST_GRPCURL"));
        let call = ["-d", r#"{"key": "key"}"#, address, "twintier.v1.CacheService/Get"];
        run(grpcurl.args(["-cacert", &ca]).args(args).args(call), b"")
    };
    let ran = grpcurl(&["-cert", &cert, "-key", &key]).assert_exit(0);
    assert!(ran.text().contains("MISS_REASON_ABSENT"), "{}", ran.text());
    assert_ne!(grpcurl(&[]).code, Some(0));
    let mut python = Command::new(required_program("Python with grpcio", "TEST_PYTHON"));
    run(python.args([CLIENT, "tls", &ca, &cert, &key, address]), b"").assert_exit(0);
}

#[test]
fn the_log_tells_of_certificates_and_reloads() {
    const DAY: i64 = 86_400;
    let soon = Subject { valid: [-360 * DAY, 5 * DAY], ..Subject::server("server", "127.0.0.1") };
    let secured = Secured::with(soon, &[]);
    let line = secured.log("WARN", "tls: a certificate ends within days: renew it");
    assert_eq!((&line["certificate"], &line["days"]), (&"server".into(), &7.into()));
    // A reload warns of a key that others may read, as a start does.
    let (cert, key) = secured.authority.issue(Subject::server("renewed", "127.0.0.1"));
    std::fs::copy(key, &secured.key_file).unwrap();
    let line = secured.log("ERROR", "reload failed: the configuration before it stays in effect");
    let problems = line["problems"].as_str().unwrap();
    assert!(problems.contains("tls.key_file") && problems.contains("does not belong"), "{problems}");
    std::fs::set_permissions(&secured.key_file, Permissions::from_mode(0o644)).unwrap();
    std::fs::copy(cert, &secured.cert_file).unwrap();
    secured.log("INFO", "configuration reloaded");
    let line = secured.log("WARN", "tls: weak setting");
    assert_eq!((&line["setting"], &line["file"]), (&"tls.key_file".into(), &secured.key_file.as_str().into()));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twintier.toml");
    std::fs::write(&file, "[l1]\nsize = \"64MiB\"\n[admin]\nenabled = false\n").unwrap();
    let service = Serving::start(&["--config", file.to_str().unwrap()]);
    std::fs::write(&file, "[l1]\nsize = \"128MiB\"\n[admin]\nenabled = false\n").unwrap();
    service.signal("HUP");
    let line = service.wait_for_log("reload: these settings take effect after a restart");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["settings"], &line["level"]), (&"l1.size".into(), &"WARN".into()));
    std::fs::write(&file, "[l1]\nsize = \"nothing\"\n").unwrap();
    service.signal("HUP");
    let line = service.wait_for_log("reload failed");
    assert!(line.contains("l1.size"), "{line}");
    let line: serde_json::Value = serde_json::from_str(&service.wait_for_log("twintier::audit")).unwrap();
    assert_eq!((&line["message"], &line["result"]), (&"reload".into(), &"applied".into()));
    let refused = service.wait_for_log("refused");
    assert!(refused.contains("twintier::audit") && refused.contains("l1.size"), "{refused}");
    service.client(&["set", "key", "value"]).assert_exit(0);
}

#[test]
fn plain_text_beside_tls_is_warned_of() {
    let port = crate::process::free_port();
    let secured = Secured::start(&[&format!("server.listen_plain=127.0.0.1:{port}")]);
    secured.log("WARN", "serving plain text, too");
    let server = format!("127.0.0.1:{port}");
    run(&mut twintier(&["set", "key", "value", "--server", &server]), b"").assert_exit(0);
    assert_eq!(secured.client(&["get", "key"]).assert_exit(0).text(), "value");
}
