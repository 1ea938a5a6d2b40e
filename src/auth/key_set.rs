//! Public keys that verify JWTs, read from a JSON Web Key Set.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};

use super::algorithm::Algorithm;

/// Most keys of a set.
const MAX_KEYS: usize = 100;

/// A public key, and the allowed algorithms that fit it.
pub(super) struct VerificationKey {
    pub id: Option<String>,
    pub key: DecodingKey,
    pub algorithms: Vec<Algorithm>,
}

/// Reads the keys that fit an allowed algorithm. The error is a rule that the file breaks.
pub(super) fn read(text: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerificationKey>, String> {
    let set: JwkSet = serde_json::from_slice(text)
        .map_err(|error| format!("must be a JSON Web Key Set: line {}, column {}", error.line(), error.column()))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("must hold at most {MAX_KEYS} keys; has {}", set.keys.len()));
    }
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.iter().enumerate() {
        if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
            return Err(format!("must hold public keys only: keys[{index}] is a shared secret"));
        }
        let algorithms = fitting(jwk, allowed);
        if algorithms.is_empty() {
            continue;
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("keys[{index}] cannot be read: {error}"))?;
        keys.push(VerificationKey { id: jwk.common.key_id.clone(), key, algorithms });
    }
    if keys.is_empty() {
        return Err("must hold a key for signatures that fits one of auth.jwt.algorithms".to_owned());
    }
    Ok(keys)
}

/// Returns the allowed algorithms that fit the key: by its type, its curve, its use and its `alg`.
fn fitting(jwk: &Jwk, allowed: &[Algorithm]) -> Vec<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return Vec::new();
    }
    let declared = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    let fits = |algorithm: &&Algorithm| {
        let by_type = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => algorithm.is_rsa(),
            AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
                EllipticCurve::P256 => **algorithm == Algorithm::ES256,
                EllipticCurve::P384 => **algorithm == Algorithm::ES384,
                _ => false,
            },
            AlgorithmParameters::OctetKeyPair(parameters) => {
                parameters.curve == EllipticCurve::Ed25519 && **algorithm == Algorithm::EdDSA
            }
            _ => false,
        };
        by_type && declared.as_deref().is_none_or(|declared| declared == algorithm.name())
    };
    allowed.iter().filter(fits).copied().collect()
}
