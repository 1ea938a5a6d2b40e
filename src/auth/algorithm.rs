//! Algorithms of JWTs that may be allowed.

/// An algorithm that may be allowed: with public keys only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

// === impl Algorithm ===

impl Algorithm {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Algorithm); 9] = [
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
        ("EdDSA", Algorithm::EdDSA),
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        Algorithm::ALL[self as usize].0
    }

    /// Returns true for algorithms of RSA keys.
    pub(super) fn is_rsa(self) -> bool {
        !matches!(self, Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA)
    }

    /// Returns the algorithm as the library names it.
    pub(super) fn of_library(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Library;
        match self {
            Algorithm::ES256 => Library::ES256,
            Algorithm::ES384 => Library::ES384,
            Algorithm::RS256 => Library::RS256,
            Algorithm::RS384 => Library::RS384,
            Algorithm::RS512 => Library::RS512,
            Algorithm::PS256 => Library::PS256,
            Algorithm::PS384 => Library::PS384,
            Algorithm::PS512 => Library::PS512,
            Algorithm::EdDSA => Library::EdDSA,
        }
    }
}
