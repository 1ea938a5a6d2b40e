//! `Auth`: the identities and credentials of one configuration, and the identity of a credential.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::audit::AuditLog;
use super::caller::{Authorization, Caller, KnownBy, LoginFailure};
use super::identity::Identity;
use super::jwt::JwtVerifier;
use super::key_set;
use super::settings::{ANONYMOUS, AuthMode, AuthSettings, IdentitySettings, UNKNOWN};
use super::token::TokenHash;
use crate::cache::clock::Moment;
use crate::cache::expiring_map::ExpiringMap;
use crate::net::certificate::ClientCertificate;
use crate::sync::Mutex;

/// Most verified JWTs that are remembered.
const MAX_REMEMBERED_JWTS: usize = 1024;
/// Largest file of hashes or keys.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The identities, credentials and grants of one configuration.
pub struct Auth {
    /// The effect of decisions.
    pub mode: AuthMode,
    /// Decisions that are logged.
    pub audit: AuditLog,
    pub(super) generation: u64,
    identities: BTreeMap<Arc<str>, Arc<Identity>>,
    anonymous: Option<Arc<Identity>>,
    unknown: Arc<Identity>,
    tokens: HashMap<TokenHash, Arc<Identity>>,
    certificates: HashMap<String, Arc<Identity>>,
    subjects: HashMap<String, Arc<Identity>>,
    jwt: Option<JwtVerifier>,
    /// Callers by the hashes of their verified JWTs.
    remembered: Mutex<ExpiringMap<TokenHash, Arc<Caller>>>,
}

/// A rule that a setting, or its file, breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthProblem {
    /// Path of the setting.
    pub path: String,
    /// The rule.
    pub rule: String,
}

/// Credentials by identity, and problems found so far.
#[derive(Default)]
struct Builder {
    problems: Vec<AuthProblem>,
    tokens: HashMap<TokenHash, Arc<Identity>>,
    certificates: HashMap<String, Arc<Identity>>,
    subjects: HashMap<String, Arc<Identity>>,
}

// === impl Auth ===

impl Auth {
    /// Builds a snapshot, and reads its files. Returns all problems.
    pub fn build(settings: &AuthSettings) -> Result<Auth, Vec<AuthProblem>> {
        Auth::build_from(settings, true)
    }

    /// Returns the problems that do not depend on files.
    pub fn check(settings: &AuthSettings) -> Vec<AuthProblem> {
        Auth::build_from(settings, false).err().unwrap_or_default()
    }

    fn build_from(settings: &AuthSettings, reads_files: bool) -> Result<Auth, Vec<AuthProblem>> {
        let mut builder = Builder::default();
        let mut identities = BTreeMap::new();
        for of_identity in &settings.identities {
            let identity = Arc::new(identity(of_identity));
            builder.add(of_identity, &identity, reads_files);
            identities.insert(identity.name.clone(), identity);
        }
        let jwt = settings.jwt.as_ref().filter(|_| reads_files).and_then(|jwt| {
            let text = builder.read("auth.jwt.jwks_file", &jwt.jwks_file)?;
            let keys = key_set::read(&text, &jwt.algorithms);
            let keys = keys.map_err(|rule| format!("{rule}: {}", jwt.jwks_file.display()));
            let keys = builder.take("auth.jwt.jwks_file", keys)?;
            Some(JwtVerifier::new(jwt.clone(), keys))
        });
        if !builder.problems.is_empty() {
            return Err(builder.problems);
        }
        let without_credentials = |name: &str, grants| {
            let settings = IdentitySettings { name: name.to_owned(), grants, ..IdentitySettings::default() };
            Arc::new(identity(&settings))
        };
        let anonymous = &settings.anonymous;
        Ok(Auth {
            mode: settings.mode,
            audit: settings.audit,
            generation: 0,
            identities,
            anonymous: (!anonymous.is_empty()).then(|| without_credentials(ANONYMOUS, anonymous.clone())),
            unknown: without_credentials(UNKNOWN, Vec::new()),
            tokens: builder.tokens,
            certificates: builder.certificates,
            subjects: builder.subjects,
            jwt,
            remembered: Mutex::new(ExpiringMap::new(MAX_REMEMBERED_JWTS)),
        })
    }

    /// Returns the identity of this name.
    pub fn identity(&self, name: &str) -> Option<&Arc<Identity>> {
        self.identities.get(name)
    }

    /// Returns the names of all identities.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.identities.keys().map(|name| &**name)
    }

    /// Returns the grants of callers without a credential. `None` if there are none.
    pub fn anonymous(&self) -> Option<&Arc<Identity>> {
        self.anonymous.as_ref()
    }

    /// Takes over what identities of the same name use of their limits.
    pub(super) fn adopt_usage(&mut self, earlier: &Auth) {
        let rename = |identity: &Arc<Identity>| match earlier.identities.get(&identity.name) {
            Some(before) => Arc::new(identity.with_usage_of(before)),
            None => identity.clone(),
        };
        let adopted: BTreeMap<_, _> = self.identities.iter().map(|(name, old)| (name.clone(), rename(old))).collect();
        let values = self.tokens.values_mut().chain(self.certificates.values_mut()).chain(self.subjects.values_mut());
        for identity in values {
            if let Some(new) = adopted.get(&identity.name) {
                *identity = new.clone();
            }
        }
        self.identities = adopted;
    }

    /// Returns the caller of this credential. The header wins over the certificate.
    pub fn identify(
        &self,
        authorization: Authorization<'_>,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Arc<Caller>, LoginFailure> {
        match (authorization, certificate) {
            (Authorization::One(value), _) => {
                let token = bearer_token(value).ok_or(LoginFailure::Malformed)?;
                if is_jwt(token) { self.by_jwt(token, now) } else { self.by_token(token) }
            }
            (Authorization::Several, _) => Err(LoginFailure::Malformed),
            (Authorization::Absent, Some(certificate)) => self.by_certificate(certificate, now),
            (Authorization::Absent, None) => {
                let anonymous = self.anonymous.as_ref().ok_or(LoginFailure::NoCredential)?;
                Ok(self.caller(anonymous, KnownBy::Anonymous, None))
            }
        }
    }

    /// Returns the caller that stands for a failed login in mode `shadow`.
    pub(super) fn unknown_caller(&self) -> Arc<Caller> {
        self.caller(&self.unknown, KnownBy::Anonymous, None)
    }

    fn by_token(&self, token: &[u8]) -> Result<Arc<Caller>, LoginFailure> {
        let hash = TokenHash::of(token);
        let found = self.tokens.get_key_value(&hash).filter(|(known, _)| known.matches(&hash));
        let (_, identity) = found.ok_or(LoginFailure::UnknownToken)?;
        Ok(self.caller(identity, KnownBy::Token, None))
    }

    fn by_jwt(&self, token: &[u8], now: SystemTime) -> Result<Arc<Caller>, LoginFailure> {
        // Without keys no JWT is known, as no other token is.
        let verifier = self.jwt.as_ref().ok_or(LoginFailure::UnknownToken)?;
        let hash = TokenHash::of(token);
        let at = moment(now);
        if let Some((caller, _)) = self.remembered.lock().get(&hash, at) {
            return Ok(caller.clone());
        }
        let verified = verifier.verify(token, now)?;
        let identity = self.subjects.get(&verified.subject).ok_or(LoginFailure::UnknownSubject)?;
        let caller = self.caller(identity, KnownBy::Jwt, Some(verified.expires_at));
        self.remembered.lock().insert(hash, caller.clone(), moment(verified.expires_at), at);
        Ok(caller)
    }

    fn by_certificate(&self, certificate: &ClientCertificate, now: SystemTime) -> Result<Arc<Caller>, LoginFailure> {
        if certificate.expires_at <= now {
            return Err(LoginFailure::Expired);
        }
        let mut found: Option<&Arc<Identity>> = None;
        for identity in certificate.names.iter().filter_map(|name| self.certificates.get(&normal_name(name))) {
            if found.is_some_and(|other| other.name != identity.name) {
                return Err(LoginFailure::AmbiguousCertificate);
            }
            found = Some(identity);
        }
        let identity = found.ok_or(LoginFailure::UnknownCertificate)?;
        Ok(self.caller(identity, KnownBy::Certificate, Some(certificate.expires_at)))
    }

    fn caller(&self, identity: &Arc<Identity>, known: KnownBy, expires_at: Option<SystemTime>) -> Arc<Caller> {
        let (enforced, generation) = (self.mode == AuthMode::Enforce, self.generation);
        Arc::new(Caller { identity: identity.clone(), known, expires_at, enforced, generation })
    }
}

/// Returns the identity that these settings describe.
fn identity(settings: &IdentitySettings) -> Identity {
    Identity {
        name: settings.name.as_str().into(),
        grants: settings.grants.clone(),
        events: settings.events.clone(),
        event_rule: format!("identities.{}.events", settings.name).into(),
        limits: settings.limits,
        usage: Arc::default(),
    }
}

/// Returns the name of a certificate in the form that is compared: host names have no case.
fn normal_name(name: &str) -> String {
    if name.starts_with("dns:") { name.to_ascii_lowercase() } else { name.to_owned() }
}

/// Returns the token of a header `Bearer <token>`.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Returns true if a token has three parts between dots.
fn is_jwt(token: &[u8]) -> bool {
    token.iter().filter(|byte| **byte == b'.').count() == 2
}

/// Returns a time as the map of expiring values counts it.
fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment::NEVER.plus(since)
}

// === impl Builder ===

impl Builder {
    fn add(&mut self, settings: &IdentitySettings, identity: &Arc<Identity>, reads_files: bool) {
        let path = |field: &str| format!("identities.{}.{field}", settings.name);
        let hashes = settings.token_hashes.iter().map(|hash| (path("token_hashes"), *hash));
        let mut hashes: Vec<_> = hashes.collect();
        if let Some(file) = settings.token_hashes_file.as_ref().filter(|_| reads_files) {
            let in_file = self.hashes_of_file(&path("token_hashes_file"), file);
            hashes.extend(in_file.into_iter().map(|hash| (path("token_hashes_file"), hash)));
        }
        for (path, hash) in hashes {
            let taken = self.tokens.insert(hash, identity.clone());
            self.check_owner(path, &hash, taken, identity);
        }
        for name in &settings.certificates {
            let taken = self.certificates.insert(normal_name(name), identity.clone());
            self.check_owner(path("certificates"), name, taken, identity);
        }
        for subject in &settings.jwt_subjects {
            let taken = self.subjects.insert(subject.clone(), identity.clone());
            self.check_owner(path("jwt_subjects"), subject, taken, identity);
        }
    }

    /// Checks that a credential did not belong to another identity.
    fn check_owner(
        &mut self,
        path: String,
        credential: &dyn std::fmt::Display,
        taken: Option<Arc<Identity>>,
        identity: &Arc<Identity>,
    ) {
        if let Some(other) = taken.filter(|other| other.name != identity.name) {
            let rule = format!("must be of one identity; {credential} is also of identities.{}", other.name);
            self.problems.push(AuthProblem { path, rule });
        }
    }

    /// Reads hashes, one a line. A line that begins with `#` is a comment.
    fn hashes_of_file(&mut self, path: &str, file: &Path) -> Vec<TokenHash> {
        let Some(bytes) = self.read(path, file) else { return Vec::new() };
        let text = String::from_utf8_lossy(&bytes);
        let mut hashes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match TokenHash::parse(line) {
                Some(hash) => hashes.push(hash),
                // The line may be a token: it is not shown.
                None => {
                    let file = file.display();
                    self.refuse(path, format!("line {} of {file} must be {}", index + 1, TokenHash::FORM));
                }
            }
        }
        hashes
    }

    fn read(&mut self, path: &str, file: &Path) -> Option<Vec<u8>> {
        let size = std::fs::metadata(file).map(|metadata| metadata.len());
        let read = size.and_then(|size| if size > MAX_FILE_BYTES { Ok(None) } else { std::fs::read(file).map(Some) });
        match read {
            Ok(Some(bytes)) => Some(bytes),
            Ok(None) => {
                self.refuse(path, format!("must be a file of at most {MAX_FILE_BYTES} bytes: {}", file.display()));
                None
            }
            Err(error) => {
                self.refuse(path, format!("must be a readable file: {}: {error}", file.display()));
                None
            }
        }
    }

    fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|rule| self.refuse(path, rule)).ok()
    }

    fn refuse(&mut self, path: &str, rule: String) {
        self.problems.push(AuthProblem { path: path.to_owned(), rule });
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
