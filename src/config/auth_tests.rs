//! Settings of identities and grants: every source, and every mistake with its path.

use std::io::Write as _;

use super::*;
use crate::auth::{AuditLog, AuthMode, AuthSettings};
use crate::config::sources::Sources;

const HASH: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn load_file(extension: &str, text: &str) -> Result<AuthSettings, Problems> {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let sources = Sources { file: Some(file.path().into()), ..Sources::default() };
    Config::load(&sources).map(|loaded| loaded.config.auth)
}

fn load_flags(flags: &[(&str, &str)]) -> Result<AuthSettings, Problems> {
    let overrides = flags.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    Config::load(&Sources { overrides, ..Sources::default() }).map(|loaded| loaded.config.auth)
}

#[test]
fn identities_are_read_from_toml_yaml_and_flags() {
    let toml = format!(
        "[auth]\nmode = 'enforce'\nanonymous = [{{ namespaces = ['public'], verbs = ['read'] }}]\n\
        [identities.checkout]\ncertificates = ['spiffe://prod/a', 'dns:a.svc']\ntoken_hashes = ['{HASH}']\n\
        token_hashes_file = ''\nevents = ['user-changed']\nmax_in_flight = 256\n\
        grants = [\n  {{ namespaces = ['cart', 'price-*'], verbs = ['read', 'write'] }},\n  \
        {{ namespaces = ['users'], keys = ['user:'], verbs = ['read'] }},\n]\n[audit]\nlog = 'all'\n"
    );
    let yaml = format!(
        "auth:\n  mode: enforce\n  anonymous:\n    - {{namespaces: [public], verbs: [read]}}\n\
        identities:\n  checkout:\n    certificates: ['spiffe://prod/a', 'dns:a.svc']\n    token_hashes: ['{HASH}']\n    \
        events: [user-changed]\n    max_in_flight: 256\n    grants:\n      \
        - {{namespaces: [cart, 'price-*'], verbs: [read, write]}}\n      \
        - {{namespaces: [users], keys: ['user:'], verbs: [read]}}\naudit:\n  log: all\n"
    );
    let flags = [
        ("auth.mode", "enforce"),
        ("auth.anonymous", r#"[{"namespaces": ["public"], "verbs": ["read"]}]"#),
        ("identities.checkout.certificates", r#"["spiffe://prod/a", "dns:a.svc"]"#),
        ("identities.checkout.token_hashes", &format!("[\"{HASH}\"]")),
        ("identities.checkout.events", r#"["user-changed"]"#),
        ("identities.checkout.max_in_flight", "256"),
        (
            "identities.checkout.grants",
            r#"[{"namespaces": ["cart", "price-*"], "verbs": ["read", "write"]},
                {"namespaces": ["users"], "keys": ["user:"], "verbs": ["read"]}]"#,
        ),
        ("audit.log", "all"),
    ];
    let read = [load_file(".toml", &toml), load_file(".yaml", &yaml), load_flags(&flags)];
    for settings in read.map(|settings| settings.expect("valid")) {
        assert_eq!((settings.mode, settings.audit, settings.anonymous.len()), (AuthMode::Enforce, AuditLog::All, 1));
        let [checkout] = &settings.identities[..] else { panic!("{settings:?}") };
        assert_eq!((checkout.name.as_str(), checkout.token_hashes.len()), ("checkout", 1));
        assert_eq!((checkout.token_hashes_file.as_ref(), checkout.limits.in_flight), (None, Some(256)));
        assert_eq!(checkout.limits.watches, None);
        let rules: Vec<_> = checkout.grants.iter().map(|grant| (&*grant.rule, grant.keys.len())).collect();
        assert_eq!(rules, [("identities.checkout.grants[0]", 0), ("identities.checkout.grants[1]", 1)]);
    }
}

#[test]
fn everything_that_is_wrong_with_an_identity_is_named_with_its_path() {
    let yaml = "
auth:
  mode: on
  anonymous: [{namespaces: ['*'], verbs: [all]}]
  jwt: {issuer: 'https://i.example'}
audit: {log: some}
identities:
  Bad Name: {max_watches: 1}
  anonymous: {max_watches: 1}
  shop:
    certificates: [checkout, 'dns:*.svc']
    token_hashes: ['hunter2-a-token']
    jwt_subjects: [s, '']
    events: ['']
    max_in_flight: 0
    grants:
      - text
      - {namespaces: [], verbs: [read], key: [a]}
      - {namespaces: ['a*b', Users, '**', 7], verbs: [reads]}
      - {namespaces: [a], keys: [], verbs: [read]}
      - {namespaces: [a], keys: [''], verbs: [read]}
      - {namespaces: [a]}
";
    let problems = load_file(".yaml", yaml).expect_err("problems");
    for (path, rule) in [
        ("auth.mode", "must be one of off, shadow, enforce"),
        ("auth.anonymous[0].verbs[0]", "must be one of read, write, invalidate, watch, stats, admin; was \"all\""),
        ("auth.jwt.issuer", "must be absent without a file of keys"),
        ("audit.log", "must be one of off, denied, all"),
        ("identities.Bad Name", "an identity must be of [a-z0-9._-]"),
        ("identities.anonymous", "must be neither anonymous nor unknown"),
        ("identities.shop.certificates[0]", "must be a URI, or begin with dns:, ip: or email:; was \"checkout\""),
        ("identities.shop.certificates[1]", "must be a URI"),
        ("identities.shop.token_hashes", "sha256: and 64 hexadecimal digits each; [0] is none"),
        ("identities.shop.jwt_subjects[1]", "must not be empty"),
        ("identities.shop.events[0]", "must not be empty"),
        ("identities.shop.max_in_flight", "must be a whole number from 1 to 1000000"),
        ("identities.shop.grants[0]", "must be a grant"),
        ("identities.shop.grants[1].key", "unknown key"),
        ("identities.shop.grants[1].namespaces", "must be a list of one text or more; was []"),
        ("identities.shop.grants[2].namespaces[0]", "must be the name of a namespace, the beginning of names and *"),
        ("identities.shop.grants[2].namespaces[1]", "was \"Users\""),
        ("identities.shop.grants[2].namespaces[2]", "was \"**\""),
        ("identities.shop.grants[2].namespaces[3]", "must be text; was 7"),
        ("identities.shop.grants[2].verbs[0]", "was \"reads\""),
        ("identities.shop.grants[3].keys", "must be a list of one text or more"),
        ("identities.shop.grants[4].keys[0]", "must not be empty"),
        ("identities.shop.grants[5].verbs", "was missing"),
    ] {
        let found = problems.0.iter().any(|problem| problem.path == path && problem.rule.contains(rule));
        assert!(found, "{path}: {rule}\n{problems}");
    }
    assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{problems}");
}

#[test]
fn a_token_in_place_of_a_hash_is_never_shown() {
    for value in ["hunter2", "[\"hunter2\"]", "[\"sha256:hunter2\"]", "[7, \"hunter2\"]"] {
        let problems = load_flags(&[("identities.a.token_hashes", value)]).expect_err(value);
        assert!(!format!("{problems} {problems:?}").contains("hunter2"), "{problems}");
    }
}

#[test]
fn a_credential_of_two_identities_is_a_problem_of_the_configuration() {
    let hashes = format!("[\"{HASH}\"]");
    let flags = [("identities.a.token_hashes", hashes.as_str()), ("identities.b.token_hashes", &hashes)];
    let problems = load_flags(&flags).expect_err("one credential of two");
    assert_eq!(problems.0.len(), 1, "{problems}");
    assert_eq!(problems.0[0].path, "identities.b.token_hashes");
    assert!(problems.0[0].rule.starts_with("must be of one identity; sha256:e3b0c4"), "{problems}");
}

#[test]
fn jwts_need_keys_issuer_and_audience_and_public_algorithms() {
    let problems = load_flags(&[("auth.jwt.jwks_file", "/absent")]).expect_err("incomplete");
    let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["auth.jwt.audience", "auth.jwt.issuer"], "{problems}");
    for algorithms in ["[]", "[\"none\"]", "[\"HS256\"]", "[\"ES256\", \"HS512\"]", "ES256"] {
        let problems = load_flags(&[("auth.jwt.algorithms", algorithms)]).expect_err(algorithms);
        assert!(problems.0.iter().any(|problem| problem.rule.contains("must be a list of ES256")), "{problems}");
    }
    let complete = [
        ("auth.jwt.jwks_file", "/absent"),
        ("auth.jwt.issuer", "i"),
        ("auth.jwt.audience", "a"),
        ("identities.a.jwt_subjects", "[\"s\"]"),
    ];
    let settings = load_flags(&complete).expect("the file is read at the start");
    assert_eq!(settings.jwt.expect("JWTs").algorithms.len(), 1);
    let overrides = complete.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    let config = Config::load(&Sources { overrides, ..Sources::default() }).expect("valid").config;
    let problems = build_auth(&config).err().expect("the file is absent");
    assert_eq!(problems.0[0].path, "auth.jwt.jwks_file");
    let subjects = load_flags(&[("identities.a.jwt_subjects", "[\"s\"]")]).expect_err("no keys");
    assert!(subjects.0[0].rule.starts_with("must be absent without JWTs"), "{subjects}");
}
