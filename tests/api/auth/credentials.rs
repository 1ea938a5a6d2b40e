//! Credentials: tokens and their rotation, and JWTs.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use super::*;
use crate::harness::Refusal as _;

const READS: &str = r#"[{"namespaces": ["cart"], "verbs": ["read"]}]"#;

async fn outcome(replica: &Replica, token: &str) -> (Code, String) {
    match replica.get_as(token, "cart", "k").await {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.reason()),
    }
}

fn refused() -> (Code, String) {
    (Code::Unauthenticated, "BAD_CREDENTIAL".to_owned())
}

fn accepted() -> (Code, String) {
    (Code::Ok, String::new())
}

#[tokio::test]
async fn two_tokens_are_accepted_while_one_replaces_the_other() {
    let of = |tokens: &[&str]| {
        with(teams(&[("shop", "unused", READS)]), &[("identities.shop.token_hashes", &hashes(tokens))])
    };
    let replica = start(&of(&["old"])).await;
    for (tokens, old, new) in [
        (&["old"][..], accepted(), refused()),
        (&["old", "new"], accepted(), accepted()),
        (&["new"], refused(), accepted()),
    ] {
        replica.reload_auth(&borrowed(&of(tokens)));
        assert_eq!((outcome(&replica, "old").await, outcome(&replica, "new").await), (old, new), "{tokens:?}");
    }
}

#[tokio::test]
async fn a_file_of_hashes_is_read_again_at_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hashes");
    let line = |token: &str| format!("# {token}\n{}\n", TokenHash::of(token.as_bytes()));
    std::fs::write(&file, line("one")).unwrap();
    let path = file.to_str().unwrap();
    let settings = with(teams(&[("shop", "inline", READS)]), &[("identities.shop.token_hashes_file", path)]);
    let replica = start(&settings).await;
    assert_eq!(outcome(&replica, "one").await, accepted());
    assert_eq!(outcome(&replica, "inline").await, accepted());
    std::fs::write(&file, line("two")).unwrap();
    replica.reload_auth(&borrowed(&settings));
    assert_eq!((outcome(&replica, "one").await, outcome(&replica, "two").await), (refused(), accepted()));
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let settings = teams(&[("shop", "one", READS)]);
    let replica = start(&settings).await;
    let absent = with(teams(&[("shop", "two", READS)]), &[("identities.shop.token_hashes_file", "/absent")]);
    let problems = replica.try_reload_auth(&borrowed(&absent)).expect_err("the file is absent");
    assert!(problems.to_string().starts_with("identities.shop.token_hashes_file: must be a readable file: /absent"));
    assert_eq!((outcome(&replica, "one").await, outcome(&replica, "two").await), (accepted(), refused()));
}

/// The issuer of JWTs: its keys, and the file of their public halves.
struct Issuer {
    directory: TempDir,
    key: KeyPair,
}

impl Issuer {
    fn new() -> Issuer {
        let issuer = Issuer { directory: tempfile::tempdir().unwrap(), key: KeyPair::generate().unwrap() };
        issuer.publish(&[issuer.jwk("one")]);
        issuer
    }

    fn publish(&self, keys: &[Value]) {
        std::fs::write(self.file(), json!({ "keys": keys }).to_string()).unwrap();
    }

    fn file(&self) -> String {
        self.directory.path().join("jwks.json").to_str().unwrap().to_owned()
    }

    fn jwk(&self, id: &str) -> Value {
        let point = self.key.der_bytes();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y })
    }

    fn sign(&self, header: Header, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://issuer.example", "aud": "twintier", "sub": "shop:checkout", "exp": now() + 600,
        });
        change(&mut claims);
        encode(&header, &claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }

    fn settings(&self) -> Vec<(String, String)> {
        with(
            teams(&[("shop", "unused", READS)]),
            &[
                ("identities.shop.jwt_subjects", r#"["shop:checkout"]"#),
                ("auth.jwt.jwks_file", &self.file()),
                ("auth.jwt.issuer", "https://issuer.example"),
                ("auth.jwt.audience", "twintier"),
                ("auth.jwt.max_lifetime", "1h"),
                ("auth.jwt.leeway", "0s"),
            ],
        )
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn header(id: &str) -> Header {
    Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) }
}

#[tokio::test]
async fn a_jwt_names_its_identity() {
    let issuer = Issuer::new();
    let replica = start(&issuer.settings()).await;
    let token = issuer.sign(header("one"), |_| {});
    assert_eq!(outcome(&replica, &token).await, accepted());
    let denied = replica.set_as(&token, "cart", "k", "v").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "the identity may read only");
    let other = issuer.sign(header("one"), |claims| claims["sub"] = json!("shop:other"));
    assert_eq!(outcome(&replica, &other).await, refused());
}

#[tokio::test]
async fn forged_and_outdated_jwts_are_refused() {
    let (issuer, forger) = (Issuer::new(), Issuer::new());
    let replica = start(&issuer.settings()).await;
    let claims = |change: &dyn Fn(&mut Value)| issuer.sign(header("one"), |claims| change(claims));
    let good = claims(&|_| {});
    assert_eq!(outcome(&replica, &good).await, accepted());
    let payload = good.split('.').nth(1).unwrap();
    let unsigned = |alg: &str| {
        let head = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "kid": "one" }).to_string());
        format!("{head}.{payload}.")
    };
    let shared = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let with_public_key = |secret: &[u8]| {
        let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        encode(&shared, &claims, &EncodingKey::from_secret(secret).unwrap()).unwrap()
    };
    for (what, token) in [
        ("no algorithm", unsigned("none")),
        ("no signature", unsigned("ES256")),
        ("HS256 with the public key", with_public_key(issuer.key.der_bytes())),
        ("HS256 with the key as text", with_public_key(issuer.key.public_key_pem().as_bytes())),
        ("an unknown key", issuer.sign(header("two"), |_| {})),
        ("another issuer's key", forger.sign(header("one"), |_| {})),
        ("an expired one", claims(&|claims| claims["exp"] = json!(now() - 1))),
        ("one without expiry", claims(&|claims| _ = claims.as_object_mut().unwrap().remove("exp"))),
        ("one for later", claims(&|claims| claims["nbf"] = json!(now() + 60))),
        ("another audience", claims(&|claims| claims["aud"] = json!("other"))),
        ("another issuer", claims(&|claims| claims["iss"] = json!("https://other.example"))),
        ("a long lifetime", claims(&|claims| claims["exp"] = json!(now() + 7200))),
        ("a long lifetime since its issue", claims(&|claims| claims["iat"] = json!(now() - 3500))),
        ("no subject", claims(&|claims| _ = claims.as_object_mut().unwrap().remove("sub"))),
        ("a broken signature", format!("{}A", &good[..good.len() - 2])),
    ] {
        assert_eq!(outcome(&replica, &token).await, refused(), "{what}");
    }
    assert_eq!(outcome(&replica, &good).await, accepted());
}

#[tokio::test]
async fn a_jwt_that_expires_is_refused_on_the_same_connection() {
    let issuer = Issuer::new();
    let replica = start(&issuer.settings()).await;
    let end = now() + 2;
    let token = issuer.sign(header("one"), |claims| claims["exp"] = json!(end));
    assert_eq!(outcome(&replica, &token).await, accepted());
    crate::harness::eventually("the token has expired", async || now() > end).await;
    assert_eq!(outcome(&replica, &token).await, refused());
}

#[tokio::test]
async fn a_key_that_is_withdrawn_verifies_no_remembered_jwt() {
    let issuer = Issuer::new();
    let replica = start(&issuer.settings()).await;
    let token = issuer.sign(header("one"), |_| {});
    assert_eq!(outcome(&replica, &token).await, accepted());
    issuer.publish(&[Issuer::new().jwk("one")]);
    replica.reload_auth(&borrowed(&issuer.settings()));
    assert_eq!(outcome(&replica, &token).await, refused());
}
