//! Settings of identities and grants, as the configuration has them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::audit::AuditLog;
use super::grant::Grant;
use super::identity::IdentityLimits;
use super::jwt::JwtSettings;
use super::token::TokenHash;

/// Names that no identity may have: those of callers without one.
pub const RESERVED_NAMES: [&str; 2] = [ANONYMOUS, UNKNOWN];
/// Name of a caller without a credential.
pub(super) const ANONYMOUS: &str = "anonymous";
/// Name of a caller whose credential is missing or wrong, in mode `shadow`.
pub(super) const UNKNOWN: &str = "unknown";

/// The effect of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// No decision is made.
    #[default]
    Off,
    /// Denials are logged and counted. Nothing is denied.
    Shadow,
    /// Requests without a grant are denied.
    Enforce,
}

/// Settings of identities and grants.
#[derive(Clone, Debug, Default)]
pub struct AuthSettings {
    /// The effect of decisions.
    pub mode: AuthMode,
    /// Grants of callers without a credential.
    pub anonymous: Vec<Grant>,
    /// Verification of JWTs. `None` if there are none.
    pub jwt: Option<JwtSettings>,
    /// The identities, by name.
    pub identities: Vec<IdentitySettings>,
    /// Decisions that are logged.
    pub audit: AuditLog,
}

/// Settings of one identity.
#[derive(Clone, Debug, Default)]
pub struct IdentitySettings {
    /// Its name.
    pub name: String,
    /// Subject alternative names of its certificates, whole.
    pub certificates: Vec<String>,
    /// Hashes of its tokens.
    pub token_hashes: Vec<TokenHash>,
    /// File with more hashes, one a line.
    pub token_hashes_file: Option<PathBuf>,
    /// Values of the claim that names it in JWTs.
    pub jwt_subjects: Vec<String>,
    /// Its grants.
    pub grants: Vec<Grant>,
    /// Events that it may send.
    pub events: BTreeSet<String>,
    /// Its limits.
    pub limits: IdentityLimits,
}
