//! Verification of JWTs: pinned algorithms, issuer, audience, times and lifetime.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::caller::LoginFailure;
use super::key_set::VerificationKey;

/// Longest JWT. A longer one is refused unread.
const MAX_JWT_BYTES: usize = 8 << 10;

/// Settings of JWTs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// File of the public keys.
    pub jwks_file: PathBuf,
    /// The issuer.
    pub issuer: String,
    /// The audience.
    pub audience: String,
    /// Allowed algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Allowance for clocks that differ.
    pub leeway: Duration,
    /// Longest lifetime.
    pub max_lifetime: Duration,
    /// Claim that names the identity.
    pub identity_claim: String,
}

/// Verifies JWTs.
pub(super) struct JwtVerifier {
    settings: JwtSettings,
    keys: Vec<VerificationKey>,
}

/// The facts of a verified JWT.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VerifiedJwt {
    /// Value of the claim that names the identity.
    pub subject: String,
    /// Time from which it is refused.
    pub expires_at: SystemTime,
}

// === impl JwtVerifier ===

impl JwtVerifier {
    /// Creates a verifier with these keys.
    pub fn new(settings: JwtSettings, keys: Vec<VerificationKey>) -> JwtVerifier {
        JwtVerifier { settings, keys }
    }

    /// Verifies a JWT.
    pub fn verify(&self, token: &[u8], now: SystemTime) -> Result<VerifiedJwt, LoginFailure> {
        if token.len() > MAX_JWT_BYTES {
            return Err(LoginFailure::MalformedJwt);
        }
        let header = decode_header(token).map_err(|_| LoginFailure::MalformedJwt)?;
        // Extensions that the issuer wants to be understood are not.
        if header.crit.is_some() {
            return Err(LoginFailure::MalformedJwt);
        }
        let key = self.key(header.kid.as_deref())?;
        let algorithm = key.algorithms.iter().find(|algorithm| algorithm.of_library() == header.alg);
        let algorithm = algorithm.ok_or(LoginFailure::JwtAlgorithm)?;
        let validation = self.validation(*algorithm);
        let claims =
            decode::<Map<String, Value>>(token, &key.key, &validation).map_err(|error| reason(error.kind()))?;
        self.facts(&claims.claims, now)
    }

    /// Returns the key with this id. A JWT without an id needs a set of one key.
    fn key(&self, id: Option<&str>) -> Result<&VerificationKey, LoginFailure> {
        match (id, &self.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)).ok_or(LoginFailure::JwtKey),
            (None, [only]) => Ok(only),
            (None, _) => Err(LoginFailure::JwtKey),
        }
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm.of_library());
        validation.leeway = self.settings.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }

    fn facts(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<VerifiedJwt, LoginFailure> {
        let JwtSettings { leeway, max_lifetime, identity_claim, .. } = &self.settings;
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (expires, issued) = (time("exp").ok_or(LoginFailure::MalformedJwt)?, time("iat"));
        let longest = max_lifetime.as_secs_f64();
        let is_long = expires - now > longest + leeway.as_secs_f64();
        if is_long || issued.is_some_and(|issued| expires - issued > longest) {
            return Err(LoginFailure::JwtLifetime);
        }
        let subject = claims.get(identity_claim).and_then(Value::as_str).ok_or(LoginFailure::MalformedJwt)?;
        let until = Duration::try_from_secs_f64(expires).map_err(|_| LoginFailure::MalformedJwt)?;
        let expires_at = UNIX_EPOCH.checked_add(until + *leeway).ok_or(LoginFailure::MalformedJwt)?;
        Ok(VerifiedJwt { subject: subject.to_owned(), expires_at })
    }
}

fn reason(error: &ErrorKind) -> LoginFailure {
    match error {
        ErrorKind::InvalidSignature => LoginFailure::JwtSignature,
        ErrorKind::ExpiredSignature => LoginFailure::Expired,
        ErrorKind::ImmatureSignature => LoginFailure::NotYetValid,
        ErrorKind::InvalidIssuer => LoginFailure::JwtIssuer,
        ErrorKind::InvalidAudience => LoginFailure::JwtAudience,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            LoginFailure::JwtAlgorithm
        }
        _ => LoginFailure::MalformedJwt,
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
