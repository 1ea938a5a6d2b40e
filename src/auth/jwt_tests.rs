//! JWTs: what is verified, and every way to forge one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::json;

use super::*;
use crate::auth::key_set;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "twintier";

/// A key of an issuer, with its public half.
struct SigningKey {
    pair: KeyPair,
    id: &'static str,
}

impl SigningKey {
    fn new(id: &'static str) -> SigningKey {
        SigningKey { pair: KeyPair::generate().expect("a key"), id }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.der_bytes();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y })
    }

    fn sign(&self, claims: &Value) -> Vec<u8> {
        self.sign_as(self.id, claims)
    }

    fn sign_as(&self, id: &str, claims: &Value) -> Vec<u8> {
        let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(id.to_owned());
        encode(&header, claims, &EncodingKey::from_ec_der(&self.pair.serialize_der())).expect("signed").into_bytes()
    }
}

fn settings() -> JwtSettings {
    JwtSettings {
        jwks_file: PathBuf::new(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(3600),
        identity_claim: "sub".to_owned(),
    }
}

fn verifier(keys: &[Value]) -> JwtVerifier {
    let settings = settings();
    let text = json!({ "keys": keys }).to_string();
    let keys = key_set::read(text.as_bytes(), &settings.algorithms).expect("a key set");
    JwtVerifier::new(settings, keys)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as f64
}

/// Claims that are accepted, changed by `change`.
fn claims(change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "shop:checkout", "exp": now() as u64 + 600 });
    change(claims.as_object_mut().expect("an object"));
    claims
}

fn verified(verifier: &JwtVerifier, token: &[u8]) -> Result<String, LoginFailure> {
    verifier.verify(token, SystemTime::now()).map(|verified| verified.subject)
}

#[test]
fn a_signed_jwt_names_its_subject_until_it_expires() {
    let key = SigningKey::new("one");
    let verifier = verifier(&[key.jwk(), SigningKey::new("two").jwk()]);
    assert_eq!(verified(&verifier, &key.sign(&claims(|_| {}))), Ok("shop:checkout".to_owned()));
    let several = claims(|claims| _ = claims.insert("aud".into(), json!(["other", AUDIENCE])));
    assert!(verified(&verifier, &key.sign(&several)).is_ok());
    let fact = verifier.verify(&key.sign(&claims(|_| {})), SystemTime::now()).expect("verified");
    assert!(fact.expires_at > SystemTime::now() + Duration::from_secs(600));
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let key = SigningKey::new("one");
    let verifier = verifier(&[key.jwk()]);
    let at = |seconds: f64| json!(now() + seconds);
    for (claim, value, failure) in [
        ("exp", Some(at(-31.0)), LoginFailure::Expired),
        ("exp", None, LoginFailure::MalformedJwt),
        ("exp", Some(json!("soon")), LoginFailure::MalformedJwt),
        ("exp", Some(at(3700.0)), LoginFailure::JwtLifetime),
        ("iat", Some(at(-3100.0)), LoginFailure::JwtLifetime),
        ("nbf", Some(at(60.0)), LoginFailure::NotYetValid),
        ("nbf", Some(json!("soon")), LoginFailure::MalformedJwt),
        ("iss", Some(json!("https://other.example")), LoginFailure::JwtIssuer),
        ("iss", None, LoginFailure::MalformedJwt),
        ("aud", Some(json!("other")), LoginFailure::JwtAudience),
        ("aud", Some(json!([])), LoginFailure::JwtAudience),
        ("aud", None, LoginFailure::MalformedJwt),
        ("sub", None, LoginFailure::MalformedJwt),
        ("sub", Some(json!(["shop:checkout"])), LoginFailure::MalformedJwt),
    ] {
        let changed = claims(|claims| {
            claims.remove(claim);
            claims.extend(value.clone().map(|value| (claim.to_owned(), value)));
        });
        assert_eq!(verified(&verifier, &key.sign(&changed)), Err(failure), "{claim}: {value:?}");
    }
    for accepted in [("exp", -20.0), ("nbf", 20.0), ("exp", 3610.0)] {
        let changed = claims(|claims| _ = claims.insert(accepted.0.into(), at(accepted.1)));
        assert!(verified(&verifier, &key.sign(&changed)).is_ok(), "{accepted:?}: within the leeway");
    }
}

#[test]
fn forged_jwts_are_refused() {
    let (key, other) = (SigningKey::new("one"), SigningKey::new("one"));
    let verifier = verifier(&[key.jwk(), SigningKey::new("two").jwk()]);
    let good = claims(|_| {});
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |alg: &str| format!("{}.{}.", part(&json!({ "alg": alg, "kid": "one" })), part(&good)).into_bytes();
    for alg in ["none", "None", "NONE", ""] {
        assert_eq!(verified(&verifier, &unsigned(alg)), Err(LoginFailure::MalformedJwt), "{alg}");
    }
    assert_eq!(verified(&verifier, &unsigned("ES256")), Err(LoginFailure::JwtSignature));
    // The public key as a shared secret.
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("one".to_owned());
    for secret in [key.pair.der_bytes().to_vec(), key.pair.public_key_pem().into_bytes(), key.jwk().to_string().into()]
    {
        let token = encode(&header, &good, &EncodingKey::from_secret(&secret).expect("a secret")).expect("signed");
        assert_eq!(verified(&verifier, token.as_bytes()), Err(LoginFailure::JwtAlgorithm));
    }
    assert_eq!(verified(&verifier, &other.sign(&good)), Err(LoginFailure::JwtSignature), "another key of this id");
    assert_eq!(verified(&verifier, &key.sign_as("two", &good)), Err(LoginFailure::JwtSignature), "the id of another");
    assert_eq!(verified(&verifier, &key.sign_as("three", &good)), Err(LoginFailure::JwtKey), "an unknown id");
    let signed = String::from_utf8(key.sign(&good)).expect("text");
    let (head, signature) = signed.rsplit_once('.').expect("three parts");
    let (header, _) = head.split_once('.').expect("three parts");
    let admin = claims(|claims| _ = claims.insert("sub".into(), json!("admin")));
    let swapped = format!("{header}.{}.{signature}", part(&admin));
    assert_eq!(verified(&verifier, swapped.as_bytes()), Err(LoginFailure::JwtSignature), "other claims");
    let long = format!("{head}.{signature}{}", "A".repeat(MAX_JWT_BYTES));
    assert_eq!(verified(&verifier, long.as_bytes()), Err(LoginFailure::MalformedJwt));
    for broken in ["..", "a.b.c", ".e30.", "e30.e30.e30"] {
        assert_eq!(verified(&verifier, broken.as_bytes()), Err(LoginFailure::MalformedJwt), "{broken}");
    }
}

#[test]
fn an_embedded_key_and_unknown_extensions_are_refused() {
    let (key, own) = (SigningKey::new("one"), SigningKey::new("one"));
    let verifier = verifier(&[key.jwk()]);
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.jwk = serde_json::from_value(own.jwk()).ok();
    let token = encode(&header, &claims(|_| {}), &EncodingKey::from_ec_der(&own.pair.serialize_der())).expect("signed");
    assert_eq!(verified(&verifier, token.as_bytes()), Err(LoginFailure::JwtSignature));
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.crit = Some(vec!["exp".to_owned()]);
    let token = encode(&header, &claims(|_| {}), &EncodingKey::from_ec_der(&key.pair.serialize_der())).expect("signed");
    assert_eq!(verified(&verifier, token.as_bytes()), Err(LoginFailure::MalformedJwt));
}

#[test]
fn a_key_set_holds_public_keys_that_fit() {
    let read = |keys: Value| {
        let text = json!({ "keys": keys }).to_string();
        key_set::read(text.as_bytes(), &settings().algorithms).map(|keys| keys.len())
    };
    let jwk = SigningKey::new("one").jwk();
    let with = |field: &str, value: Value| {
        let mut changed = jwk.clone();
        changed[field] = value;
        changed
    };
    assert_eq!(read(json!([jwk, with("use", json!("enc")), with("alg", json!("ES384")), { "kty": "new" }])), Ok(1));
    assert_eq!(read(json!([with("alg", json!("ES256"))])), Ok(1));
    let secret = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" });
    let refused = read(json!([jwk, secret])).expect_err("a shared secret");
    assert!(refused.contains("keys[1] is a shared secret") && !refused.contains("c2Vj"), "{refused}");
    for none in [json!([]), json!([with("use", json!("enc"))]), json!([with("crv", json!("P-384"))])] {
        assert!(read(none).expect_err("no key").contains("must hold a key"));
    }
    for text in ["", "{", "[]", "{\"keys\": 1}"] {
        let refused = key_set::read(text.as_bytes(), &settings().algorithms).err().expect("no set");
        assert!(refused.starts_with("must be a JSON Web Key Set: line"), "{refused}");
    }
}
