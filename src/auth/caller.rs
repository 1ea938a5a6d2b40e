//! The caller of a request, its credential, and why a credential is not accepted.

use std::sync::Arc;
use std::time::SystemTime;

use super::identity::Identity;

/// The authenticated caller of a request.
#[derive(Debug)]
pub struct Caller {
    /// Its identity.
    pub identity: Arc<Identity>,
    /// How it is known.
    pub known: KnownBy,
    /// End of its credential. `None` if it does not expire.
    pub expires_at: Option<SystemTime>,
    /// True if denials take effect, false in mode `shadow`.
    pub enforced: bool,
    /// Generation of the snapshot that knows it.
    pub(super) generation: u64,
}

/// The credential by which a caller is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// A token.
    Token,
    /// A JWT.
    Jwt,
    /// A client certificate.
    Certificate,
    /// No credential.
    Anonymous,
}

/// The header `authorization` of a request.
#[derive(Clone, Copy)]
pub enum Authorization<'a> {
    /// There is none.
    Absent,
    /// Its value.
    One(&'a [u8]),
    /// There are several.
    Several,
}

/// Reason for which a credential is not accepted. Callers are not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// There is no credential, and no anonymous access.
    NoCredential,
    /// The header is not one `Bearer` and a token.
    Malformed,
    /// No identity has the token.
    UnknownToken,
    /// No identity has a name of the certificate.
    UnknownCertificate,
    /// Names of the certificate belong to several identities.
    AmbiguousCertificate,
    /// The certificate or the JWT has expired.
    Expired,
    /// The JWT is not valid yet.
    NotYetValid,
    /// The JWT has no readable header or claims, or lacks a required one.
    MalformedJwt,
    /// The algorithm of the JWT is not allowed, or does not fit its key.
    JwtAlgorithm,
    /// No key verifies the JWT.
    JwtKey,
    /// The signature of the JWT is wrong.
    JwtSignature,
    /// The issuer of the JWT is another.
    JwtIssuer,
    /// The JWT is for another audience.
    JwtAudience,
    /// The JWT lives for too long.
    JwtLifetime,
    /// No identity has the subject of the JWT.
    UnknownSubject,
}

// === impl KnownBy ===

impl KnownBy {
    /// Returns the name in the log.
    pub fn name(self) -> &'static str {
        match self {
            KnownBy::Token => "token",
            KnownBy::Jwt => "jwt",
            KnownBy::Certificate => "certificate",
            KnownBy::Anonymous => "anonymous",
        }
    }
}

// === impl LoginFailure ===

impl LoginFailure {
    /// All reasons, in the order of their counters.
    pub const ALL: [LoginFailure; 15] = [
        LoginFailure::NoCredential,
        LoginFailure::Malformed,
        LoginFailure::UnknownToken,
        LoginFailure::UnknownCertificate,
        LoginFailure::AmbiguousCertificate,
        LoginFailure::Expired,
        LoginFailure::NotYetValid,
        LoginFailure::MalformedJwt,
        LoginFailure::JwtAlgorithm,
        LoginFailure::JwtKey,
        LoginFailure::JwtSignature,
        LoginFailure::JwtIssuer,
        LoginFailure::JwtAudience,
        LoginFailure::JwtLifetime,
        LoginFailure::UnknownSubject,
    ];

    /// Returns the name in log and metrics.
    pub fn name(self) -> &'static str {
        crate::cache::stats::FAILED_LOGINS[self as usize]
    }
}
