//! Identities of credentials, and decisions on demands.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::auth::demand::{Ask, Demand, Names, Place};
use crate::auth::grant::{Grant, NamePattern};
use crate::auth::verb::{Verb, Verbs};

fn grant(namespaces: &[&str], keys: &[&str], verbs: &[Verb]) -> Grant {
    Grant {
        rule: "rule".into(),
        namespaces: namespaces.iter().map(|name| NamePattern::parse(name)).collect(),
        keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
        verbs: verbs.iter().copied().collect(),
    }
}

fn team(name: &str, change: impl FnOnce(&mut IdentitySettings)) -> IdentitySettings {
    let mut settings = IdentitySettings { name: name.to_owned(), ..IdentitySettings::default() };
    change(&mut settings);
    settings
}

fn settings(identities: Vec<IdentitySettings>) -> AuthSettings {
    AuthSettings { mode: AuthMode::Enforce, identities, ..AuthSettings::default() }
}

fn build(identities: Vec<IdentitySettings>) -> Auth {
    Auth::build(&settings(identities)).expect("valid")
}

fn certificate(names: &[&str], expires_in: i64) -> ClientCertificate {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let (now, distance) = (SystemTime::now(), Duration::from_secs(expires_in.unsigned_abs()));
    ClientCertificate { names, expires_at: if expires_in < 0 { now - distance } else { now + distance } }
}

fn who(auth: &Auth, header: Option<&str>, certificate: Option<&ClientCertificate>) -> Result<String, LoginFailure> {
    let header = header.map_or(Authorization::Absent, |header| Authorization::One(header.as_bytes()));
    auth.identify(header, certificate, SystemTime::now()).map(|caller| caller.identity.name.to_string())
}

#[test]
fn the_header_wins_over_the_certificate_and_is_never_anonymous() {
    let hash = TokenHash::of(b"secret");
    let mut all = settings(vec![
        team("token", |team| team.token_hashes = vec![hash]),
        team("cert", |team| team.certificates = vec!["spiffe://prod/a".into(), "dns:A.shop.svc".into()]),
        team("other", |team| team.certificates = vec!["spiffe://prod/b".into()]),
    ]);
    all.anonymous = vec![grant(&["public"], &[], &[Verb::Read])];
    let auth = Auth::build(&all).expect("valid");
    let cert = certificate(&["ip:10.0.0.1", "dns:a.SHOP.svc"], 60);
    for (header, certificate, expected) in [
        (None, None, Ok("anonymous")),
        (Some("Bearer secret"), None, Ok("token")),
        (Some("bearer  secret "), None, Ok("token")),
        (Some("Bearer secret"), Some(&cert), Ok("token")),
        (None, Some(&cert), Ok("cert")),
        (Some("Bearer wrong"), Some(&cert), Err(LoginFailure::UnknownToken)),
        (Some("Bearer "), None, Err(LoginFailure::Malformed)),
        (Some("Bearer"), None, Err(LoginFailure::Malformed)),
        (Some(""), None, Err(LoginFailure::Malformed)),
        (Some("secret"), None, Err(LoginFailure::Malformed)),
        (Some("Basic OnNlY3JldA=="), None, Err(LoginFailure::Malformed)),
        (Some("Bearer a.b.c"), None, Err(LoginFailure::UnknownToken)),
        (None, Some(&certificate(&["spiffe://prod/a"], -1)), Err(LoginFailure::Expired)),
        (None, Some(&certificate(&["spiffe://prod/a/b"], 60)), Err(LoginFailure::UnknownCertificate)),
        (None, Some(&certificate(&["spiffe://prod/A"], 60)), Err(LoginFailure::UnknownCertificate)),
        (None, Some(&certificate(&[], 60)), Err(LoginFailure::UnknownCertificate)),
        (
            None,
            Some(&certificate(&["spiffe://prod/a", "spiffe://prod/b"], 60)),
            Err(LoginFailure::AmbiguousCertificate),
        ),
    ] {
        assert_eq!(who(&auth, header, certificate), expected.map(str::to_owned), "{header:?} {certificate:?}");
    }
    let several = auth.identify(Authorization::Several, Some(&cert), SystemTime::now());
    assert_eq!(several.err(), Some(LoginFailure::Malformed));
    let closed = build(vec![team("token", |team| team.token_hashes = vec![hash])]);
    assert_eq!(who(&closed, None, None), Err(LoginFailure::NoCredential));
}

#[test]
fn a_credential_belongs_to_one_identity() {
    let hash = TokenHash::of(b"secret");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "# rotated\n\n  {hash}  ").expect("written");
    let file = file.path().to_owned();
    let problems = Auth::build(&settings(vec![
        team("a", |team| {
            team.token_hashes = vec![hash, hash];
            team.certificates = vec!["dns:a".into()];
            team.jwt_subjects = vec!["s".into()];
        }),
        team("b", |team| {
            team.token_hashes_file = Some(file.clone());
            team.certificates = vec!["dns:A".into()];
            team.jwt_subjects = vec!["s".into()];
        }),
    ]));
    let problems = problems.err().expect("credentials of two identities");
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["identities.b.token_hashes_file", "identities.b.certificates", "identities.b.jwt_subjects"]);
    assert!(problems.iter().all(|problem| problem.rule.ends_with("is also of identities.a")), "{problems:?}");
}

#[test]
fn a_file_of_hashes_is_read_and_shows_no_token_when_it_is_wrong() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "# a comment\n{}\n", TokenHash::of(b"one")).expect("written");
    let path = file.path().to_owned();
    let of_file = || settings(vec![team("a", |team| team.token_hashes_file = Some(path.clone()))]);
    let auth = Auth::build(&of_file()).expect("valid");
    assert_eq!(who(&auth, Some("Bearer one"), None), Ok("a".to_owned()));
    writeln!(file, "a-token-by-mistake").expect("written");
    let problems = Auth::build(&of_file()).err().expect("no hash");
    assert_eq!(problems[0].path, "identities.a.token_hashes_file");
    let rule = format!("line 4 of {} must be sha256: and 64 hexadecimal digits", path.display());
    assert_eq!(problems[0].rule, rule);
    let absent = settings(vec![team("a", |team| team.token_hashes_file = Some("/absent".into()))]);
    assert!(Auth::build(&absent).err().expect("no file")[0].rule.contains("must be a readable file: /absent"));
    assert!(Auth::check(&absent).is_empty(), "files are not read");
}

#[test]
fn decisions_follow_the_grants() {
    use Verb::{Admin, Invalidate, Read, Stats, Watch, Write};
    let auth = build(vec![team("shop", |team| {
        team.grants = vec![
            grant(&["cart", "price-*"], &[], &[Read, Write, Invalidate, Watch, Stats]),
            grant(&["users"], &["user:", "team:"], &[Read, Invalidate, Watch, Admin]),
            grant(&["users"], &["log:"], &[Read]),
            grant(&["default"], &[], &[Read]),
        ];
        team.events = ["user-changed".to_owned()].into();
    })]);
    let shop = auth.identity("shop").expect("an identity");
    let at = |verb, namespace, names| Ask::All(vec![Demand { verb, place: Place::Namespace(namespace), names }]);
    let key = |key: &'static str| Names::Key(key.as_bytes());
    let keys = |keys: &[&'static str]| Names::Keys(keys.iter().map(|key| key.as_bytes()).collect());
    let prefix = |prefix: &'static str| Names::Prefix(prefix.as_bytes());
    for (ask, granted) in [
        (at(Read, "cart", key("k")), true),
        (at(Read, "car", key("k")), false),
        (at(Read, "carts", key("k")), false),
        (at(Read, "Cart", key("k")), false),
        (at(Admin, "cart", key("k")), false),
        (at(Read, "price-", key("k")), true),
        (at(Read, "price-eu", key("k")), true),
        (at(Read, "price", key("k")), false),
        (at(Read, "", key("k")), true),
        (at(Read, "default", key("k")), true),
        (at(Write, "", key("k")), false),
        (at(Read, "users", key("user:1")), true),
        (at(Read, "users", key("user:")), true),
        (at(Read, "users", key("user")), false),
        (at(Read, "users", key("User:1")), false),
        (at(Read, "users", key("")), false),
        (at(Write, "users", key("user:1")), false),
        (at(Read, "users", keys(&["user:1", "team:1"])), true),
        (at(Read, "users", keys(&["user:1", "log:1"])), false),
        (at(Read, "users", keys(&["user:1", "other"])), false),
        (at(Read, "users", keys(&[])), true),
        (at(Read, "others", keys(&[])), false),
        (at(Invalidate, "users", prefix("user:1")), true),
        (at(Invalidate, "users", prefix("user")), false),
        (at(Invalidate, "users", prefix("u")), false),
        (at(Invalidate, "users", Names::Whole), false),
        (at(Invalidate, "cart", Names::Whole), true),
        (at(Watch, "users", Names::Whole), false),
        (at(Admin, "users", Names::Unnamed), true),
        (Ask::All(vec![Demand::everywhere(Admin)]), false),
        (Ask::All(vec![Demand::key(Read, "cart", b"k"), Demand::key(Write, "cart", b"k")]), true),
        (Ask::All(vec![Demand::key(Read, "", b"k"), Demand::key(Write, "", b"k")]), false),
        (Ask::All(vec![Demand::whole(Invalidate, "cart"), Demand::whole(Invalidate, "users")]), false),
        (Ask::All(Vec::new()), false),
        (Ask::Somewhere(Stats), true),
        (Ask::Somewhere(Write), true),
        (Ask::Event("user-changed"), true),
        (Ask::Event("user-change"), false),
        (Ask::Event(""), false),
    ] {
        assert_eq!(shop.rule_for(&ask).is_some(), granted, "{ask:?}");
    }
    let all = build(vec![team("all", |team| team.grants = vec![grant(&["*"], &[], &[Admin])])]);
    let everywhere = Ask::All(vec![Demand::everywhere(Admin)]);
    assert!(all.identity("all").expect("an identity").rule_for(&everywhere).is_some());
    let some = build(vec![team("some", |team| team.grants = vec![grant(&["*"], &["k"], &[Admin])])]);
    assert!(some.identity("some").expect("an identity").rule_for(&everywhere).is_none(), "of some keys only");
}

#[test]
fn limits_are_counted_across_a_replacement() {
    use crate::auth::usage::LimitedUse;
    let of = |limit| {
        settings(vec![team("a", |team| {
            team.limits.in_flight = Some(limit);
            team.token_hashes = vec![TokenHash::of(b"t")];
        })])
    };
    let authority = crate::auth::Authority::new(Auth::build(&of(2)).expect("valid"));
    let login = || {
        let header = Authorization::One(b"Bearer t");
        authority.identify(header, None, [127, 0, 0, 1].into(), &"peer").expect("known")
    };
    let caller = login();
    let [one, two] = [(), ()].map(|()| caller.identity.begin(LimitedUse::InFlight).expect("room"));
    authority.replace(Auth::build(&of(1)).expect("valid"));
    assert!(!authority.still_knows(&caller), "of the snapshot before");
    let after = login();
    let reached = after.identity.begin(LimitedUse::InFlight).expect_err("no room");
    assert_eq!((reached.setting.as_str(), reached.limit), ("identities.a.max_in_flight", 1));
    drop((one, two));
    assert!(after.identity.begin(LimitedUse::InFlight).is_ok());
}

/// The rules of grants, written again from the documentation, as one would check them by hand.
fn holds(grant: &(Vec<String>, Vec<String>, Vec<usize>), verb: usize, namespace: &str, key: &str) -> bool {
    let (namespaces, keys, verbs) = grant;
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let names = |pattern: &String| match pattern.split_once('*') {
        Some((start, _)) => namespace.get(..start.len()) == Some(start),
        None => pattern == namespace,
    };
    let covers = keys.is_empty() || keys.iter().any(|start| key.get(..start.len()) == Some(start));
    verbs.contains(&verb) && namespaces.iter().any(names) && covers
}

proptest! {
    #[test]
    fn a_decision_grants_exactly_what_one_grant_holds(
        grants in prop::collection::vec(
            (
                prop::collection::vec("(default|a|ab|b)?\\*?", 1..3),
                prop::collection::vec("[ab:]{1,2}", 0..3),
                prop::collection::vec(0..6usize, 1..4),
            ),
            0..4,
        ),
        verb in 0..6usize,
        namespace in "(default|a|ab|abc|b|)",
        keys in prop::collection::vec("[ab:]{0,3}", 1..4),
    ) {
        // A name is not empty.
        let grants: Vec<_> = grants
            .into_iter()
            .map(|(names, keys, verbs)| {
                let filled = |name: String| if name.is_empty() { "x".to_owned() } else { name };
                (names.into_iter().map(filled).collect::<Vec<_>>(), keys, verbs)
            })
            .collect();
        let auth = build(vec![team("t", |team| {
            team.grants = grants
                .iter()
                .map(|(names, keys, verbs)| Grant {
                    rule: "rule".into(),
                    namespaces: names.iter().map(|name| NamePattern::parse(name)).collect(),
                    keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
                    verbs: verbs.iter().map(|verb| Verb::ALL[*verb]).collect::<Verbs>(),
                })
                .collect();
        })]);
        let identity = auth.identity("t").expect("an identity");
        let names = Names::Keys(keys.iter().map(String::as_bytes).collect());
        let demand = Demand { verb: Verb::ALL[verb], place: Place::Namespace(&namespace), names };
        let granted = identity.grant_for(&demand).is_some();
        let expected = grants.iter().any(|grant| keys.iter().all(|key| holds(grant, verb, &namespace, key)));
        prop_assert_eq!(granted, expected);
        let whole = identity.grant_for(&Demand::whole(Verb::ALL[verb], &namespace)).is_some();
        prop_assert!(!whole || granted, "the whole namespace holds each of its keys");
    }
}
