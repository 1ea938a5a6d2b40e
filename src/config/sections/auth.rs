//! Settings of access: mode, anonymous grants, JWTs and the audit log.

use std::time::Duration;

use super::optional_path::optional_path;
use super::{grants, identities};
use crate::auth::{Algorithm, AuditLog, Auth, AuthMode, AuthSettings, JwtSettings};
use crate::cache::policy::Limits;
use crate::config::reader::{Declaration, Reader};
use crate::config::setting::SettingKind;

const MODES: [(&str, AuthMode); 3] =
    [("off", AuthMode::Off), ("shadow", AuthMode::Shadow), ("enforce", AuthMode::Enforce)];
const AUDITS: [(&str, AuditLog); 3] = [("off", AuditLog::Off), ("denied", AuditLog::Denied), ("all", AuditLog::All)];
const JWKS_FILE: &str = "auth.jwt.jwks_file";
const SECTION: &str = "auth.jwt";
const HOUR: Duration = Duration::from_secs(3600);

/// Reads the interval at which files are looked at for a reload.
pub(crate) fn read_reload_interval(reader: &mut Reader) -> Duration {
    let bounds = Duration::from_millis(100)..=HOUR;
    let doc = "interval at which the configuration file, certificates and keys are looked at for other content, which is then applied without a restart; SIGHUP applies it at once";
    reader.duration("auth.reload_interval", Duration::from_secs(10), bounds, doc)
}

/// Reads access: `auth`, `identities` and `audit`.
pub(crate) fn read(reader: &mut Reader, limits: &Limits) -> AuthSettings {
    let settings = AuthSettings {
        mode: reader.choice(
            "auth.mode",
            AuthMode::Off,
            &MODES,
            "off: everything is allowed; shadow: log and count what would be denied; enforce: deny what is not granted",
        ),
        anonymous: grants::read(
            reader,
            "auth.anonymous",
            "grants of callers without a credential, as those of an identity",
            limits,
        ),
        jwt: read_jwt(reader),
        identities: identities::read(reader, limits),
        audit: reader.choice(
            "audit.log",
            AuditLog::Denied,
            &AUDITS,
            "decisions on access that the audit log has; admin actions, reloads and failed logins are always in it",
        ),
    };
    let has_subjects = settings.identities.iter().find(|identity| !identity.jwt_subjects.is_empty());
    if let Some(identity) = has_subjects.filter(|_| settings.jwt.is_none()) {
        let path = format!("identities.{}.jwt_subjects", identity.name);
        reader.contradict(&path, JWKS_FILE, "must be absent without JWTs");
    }
    for problem in Auth::check(&settings) {
        let path = problem.path.clone();
        reader.problem_of(&path, problem.path, problem.rule);
    }
    settings
}

/// Reads the verification of JWTs; `None` if there are none.
fn read_jwt(reader: &mut Reader) -> Option<JwtSettings> {
    let jwks_file = optional_path(reader, JWKS_FILE, "file with the public keys of JWTs, a JSON Web Key Set");
    let issuer = reader.optional_text("auth.jwt.issuer", "issuer of JWTs: the claim iss");
    let audience = reader.optional_text("auth.jwt.audience", "audience that JWTs must name: the claim aud");
    let algorithms = read_algorithms(reader);
    let leeway = reader.duration(
        "auth.jwt.leeway",
        Duration::from_secs(30),
        Duration::ZERO..=Duration::from_secs(600),
        "allowance for clocks that differ, for the claims exp and nbf",
    );
    let max_lifetime = reader.duration(
        "auth.jwt.max_lifetime",
        24 * HOUR,
        Duration::from_secs(1)..=366 * 24 * HOUR,
        "longest lifetime of a JWT; one that lives longer is refused",
    );
    let claim = "auth.jwt.identity_claim";
    let identity_claim = reader.text(
        claim,
        "sub",
        "the name of a claim",
        |text| !text.is_empty(),
        "claim whose value names the identity, as in jwt_subjects",
    );
    let Some(jwks_file) = jwks_file else {
        for path in reader.given_in(SECTION) {
            reader.contradict(&path, JWKS_FILE, "must be absent without a file of keys");
        }
        return None;
    };
    for (path, is_set) in [("auth.jwt.issuer", issuer.is_some()), ("auth.jwt.audience", audience.is_some())] {
        if !is_set {
            reader.contradict(path, JWKS_FILE, "must be set with a file of keys");
        }
    }
    let (issuer, audience) = (issuer.unwrap_or_default(), audience.unwrap_or_default());
    Some(JwtSettings { jwks_file, issuer, audience, algorithms, leeway, max_lifetime, identity_claim })
}

fn read_algorithms(reader: &mut Reader) -> Vec<Algorithm> {
    let path = "auth.jwt.algorithms";
    let names = Algorithm::ALL.map(|(name, _)| name).join(", ");
    let expects = format!("a list of {names}");
    let parse = |text: &str| {
        let words: Vec<String> =
            serde_json::from_str(text).map_err(|_| format!("must be {expects}; as text, in JSON"))?;
        let find =
            |word: &String| Algorithm::ALL.iter().find(|(name, _)| name == word).map(|(_, algorithm)| *algorithm);
        let found: Option<Vec<_>> = words.iter().map(find).collect();
        found.filter(|found| !found.is_empty()).ok_or_else(|| format!("must be {expects}; was {text}"))
    };
    let show = |list: &Vec<Algorithm>| {
        let names: Vec<_> = list.iter().map(|algorithm| algorithm.name()).collect();
        Some(serde_json::json!(names).to_string())
    };
    let doc = "allowed algorithms of JWTs; each key is used with those that fit its type only";
    let declaration = Declaration { path, kind: SettingKind::List, expects: expects.clone(), doc };
    reader.read(declaration, vec![Algorithm::ES256].into(), parse, show)
}
