//! Targets of fuzzing: JWTs and sets of public keys.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::jwt::{JwtSettings, JwtVerifier};
use super::key_set;

/// End of the seeds: the library compares it with the clock of the machine.
const EXPIRES: u64 = 4_102_444_800;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(EXPIRES - 600)
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes")
}

fn key_set_text() -> Vec<u8> {
    let x = BASE64_URL_SAFE_NO_PAD.encode(key().public_key());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "x": x }] }).to_string().into()
}

fn verifier(text: &[u8]) -> Option<JwtVerifier> {
    let settings = JwtSettings {
        jwks_file: PathBuf::new(),
        issuer: "https://issuer.example".to_owned(),
        audience: "twintier".to_owned(),
        algorithms: Algorithm::ALL.map(|(_, algorithm)| algorithm).into(),
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(3600),
        identity_claim: "sub".to_owned(),
    };
    let keys = key_set::read(text, &settings.algorithms).ok()?;
    Some(JwtVerifier::new(settings, keys))
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.example", "aud": "twintier", "sub": "shop:checkout", "exp": EXPIRES })
}

fn signed(header: &Value, claims: &Value) -> Vec<u8> {
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key().sign(text.as_bytes()));
    format!("{text}.{signature}").into()
}

/// A JWT, or a set of keys if it begins as JSON.
pub fn jwt(bytes: &[u8]) {
    let seeds = jwt_seeds();
    if bytes.first() == Some(&b'{') {
        if let Some(verifier) = verifier(bytes) {
            // No seed may end the process, with any set of keys.
            seeds.iter().for_each(|(_, seed)| _ = verifier.verify(seed, now()));
        }
        return;
    }
    let verifier = verifier(&key_set_text()).expect("a set of one key");
    if verifier.verify(bytes, now()).is_err() {
        return;
    }
    // The signed part of an accepted JWT is that of a seed.
    let covered = |token: &[u8]| token.rsplitn(2, |byte| *byte == b'.').nth(1).map(<[u8]>::to_vec);
    assert!(seeds.iter().any(|(_, seed)| covered(seed) == covered(bytes)), "a forged JWT is accepted");
}

/// Seeds of `jwt`.
pub fn jwt_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let header = json!({ "alg": "EdDSA", "kid": "one" });
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signed(&header, &claims)
    };
    vec![
        ("valid", signed(&header, &claims())),
        ("without-key-id", signed(&json!({ "alg": "EdDSA", "typ": "JWT" }), &claims())),
        ("audiences", with("aud", json!(["other", "twintier"]))),
        ("fraction", with("exp", json!(EXPIRES as f64 - 0.5))),
        ("not-yet-valid", with("nbf", json!(EXPIRES))),
        ("no-algorithm", signed(&json!({ "alg": "none" }), &claims())),
        ("shared-secret", signed(&json!({ "alg": "HS256", "kid": "one" }), &claims())),
        ("critical", signed(&json!({ "alg": "EdDSA", "crit": ["exp"] }), &claims())),
        ("key-set", key_set_text()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_seed_is_accepted() {
        let verifier = verifier(&key_set_text()).expect("a set of one key");
        let verified = |name: &str| {
            let (_, seed) = jwt_seeds().into_iter().find(|(seed, _)| *seed == name).expect("a seed");
            verifier.verify(&seed, now()).map(|verified| verified.subject)
        };
        for name in ["valid", "without-key-id", "audiences", "fraction"] {
            assert_eq!(verified(name).as_deref(), Ok("shop:checkout"), "{name}");
        }
        for name in ["not-yet-valid", "no-algorithm", "shared-secret", "critical"] {
            assert!(verified(name).is_err(), "{name}");
        }
    }
}
