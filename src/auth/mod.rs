//! Identities of callers, what they are granted, and the audit log.
//!
//! Decides without I/O on the request path, and knows no transport. Edges tell it the credential of
//! a caller and the demand of a request.

mod algorithm;
mod audit;
mod authority;
mod caller;
mod demand;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod grant;
mod identity;
mod jwt;
mod key_set;
mod settings;
mod snapshot;
mod token;
mod usage;
mod verb;

pub use algorithm::Algorithm;
pub use audit::{AdminAction, Audit, AuditLog};
pub use authority::{Authority, Denied};
pub use caller::{Authorization, Caller, KnownBy, LoginFailure};
pub use demand::{Ask, Demand, Names, Place};
pub use grant::{Grant, NamePattern};
pub use identity::{Identity, IdentityLimitReached, IdentityLimits};
pub use jwt::JwtSettings;
pub use settings::{AuthMode, AuthSettings, IdentitySettings, RESERVED_NAMES};
pub use snapshot::{Auth, AuthProblem};
pub use token::{NewToken, TokenHash};
pub use usage::{LimitedUse, NamespaceClaims, UsageGuard};
pub use verb::{Verb, Verbs};
