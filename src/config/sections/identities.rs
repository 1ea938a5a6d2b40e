//! Identities: credentials, grants and limits in `identities.<name>`.

use std::collections::{BTreeMap, BTreeSet};

use super::grants;
use super::optional_path::optional_path;
use crate::auth::{IdentityLimits, IdentitySettings, RESERVED_NAMES, TokenHash};
use crate::cache::policy::{Limits, limits};
use crate::config::reader::{Declaration, Reader};
use crate::config::setting::{Origin, SettingKind};

const SECTION: &str = "identities";
const FIELDS: [&str; 10] = [
    "certificates",
    "token_hashes",
    "token_hashes_file",
    "jwt_subjects",
    "grants",
    "events",
    "max_in_flight",
    "max_connections",
    "max_watches",
    "max_namespaces",
];
/// Forms of the names in a certificate, without the part that differs.
const NAME_KINDS: [&str; 3] = ["dns:", "ip:", "email:"];
const NAMES: &str = "a list of whole subject alternative names: a URI such as spiffe://prod/checkout, dns:name, ip:address or email:address";
const LARGEST_LIMIT: usize = 1_000_000;

/// Reads every identity.
pub(crate) fn read(reader: &mut Reader, limits: &Limits) -> Vec<IdentitySettings> {
    let mut identities = BTreeMap::new();
    for (rest, empty, origin) in reader.section(SECTION) {
        let Some(name) = name(&rest, empty) else { continue };
        if !identities.contains_key(name) {
            check_name(reader, name, origin);
            identities.insert(name.to_owned(), read_identity(reader, name, limits));
        }
    }
    identities.into_values().collect()
}

/// Returns the identity that a path below the section configures: `team.a` of `team.a.grants`.
fn name(rest: &str, empty: bool) -> Option<&str> {
    match rest.rsplit_once('.') {
        Some((name, field)) if FIELDS.contains(&field) || !empty => Some(name),
        _ => empty.then_some(rest),
    }
}

fn check_name(reader: &mut Reader, name: &str, origin: Origin) {
    let path = format!("{SECTION}.{name}");
    if let Err(violation) = limits::namespace(&path, name) {
        reader.problem(path, format!("an identity {}", violation.description), origin);
    } else if RESERVED_NAMES.contains(&name) {
        let reserved = RESERVED_NAMES.join(" nor ");
        reader.problem(
            path,
            format!("an identity must be neither {reserved}: callers without one have these names"),
            origin,
        );
    }
}

/// Reads one identity.
pub(crate) fn read_identity(reader: &mut Reader, name: &str, limits: &Limits) -> IdentitySettings {
    let path = |field: &str| format!("{SECTION}.{name}.{field}");
    reader.section(&format!("{SECTION}.{name}"));
    let certificates = reader.texts(
        &path("certificates"),
        NAMES,
        "names of its certificates, each whole; the common name does not count",
    );
    for (index, name) in certificates.iter().enumerate().filter(|(_, name)| !is_certificate_name(name)) {
        let rule = format!("must be a URI, or begin with dns:, ip: or email:; was {name:?}");
        reader.problem_of(&path("certificates"), format!("{}[{index}]", path("certificates")), rule);
    }
    let jwt_subjects =
        reader.texts(&path("jwt_subjects"), "a list of texts", "values of auth.jwt.identity_claim in its JWTs");
    refuse_empty(reader, &path("jwt_subjects"), &jwt_subjects);
    let token_hashes_file = optional_path(
        reader,
        &path("token_hashes_file"),
        "file with more hashes, one a line; a line that begins with # is a comment",
    );
    IdentitySettings {
        name: name.to_owned(),
        certificates,
        token_hashes: read_hashes(reader, &path("token_hashes")),
        token_hashes_file,
        jwt_subjects,
        grants: grants::read(
            reader,
            &path("grants"),
            "what it may do: namespaces (a name, the beginning of names and *, or *), verbs (read, write, invalidate, watch, stats, admin), and keys, the beginnings of keys, for some keys only",
            limits,
        ),
        events: read_events(reader, &path("events")),
        limits: read_limits(reader, &path),
    }
}

fn read_limits(reader: &mut Reader, path: &dyn Fn(&str) -> String) -> IdentityLimits {
    IdentityLimits {
        in_flight: limit(
            reader,
            &path("max_in_flight"),
            "most requests in flight at once at a replica; when not set, no limit",
        ),
        connections: limit(
            reader,
            &path("max_connections"),
            "most connections at once at a replica; when not set, no limit",
        ),
        watches: limit(reader, &path("max_watches"), "most watches at once at a replica; when not set, no limit"),
        namespaces: limit(
            reader,
            &path("max_namespaces"),
            "most namespaces that it makes known to a replica, beside configured ones; when not set, no limit",
        ),
    }
}

fn read_hashes(reader: &mut Reader, path: &str) -> Vec<TokenHash> {
    let expects = "a list of hashes: sha256: and 64 hexadecimal digits each";
    let parse = |text: &str| -> Result<Vec<TokenHash>, String> {
        let texts: Vec<String> =
            serde_json::from_str(text).map_err(|_| format!("must be {expects}; as text, in JSON"))?;
        // The text may be a token: it is not shown.
        let hash = |(index, text): (usize, &String)| {
            TokenHash::parse(text).ok_or_else(|| format!("must be {expects}; [{index}] is none"))
        };
        texts.iter().enumerate().map(hash).collect()
    };
    let show = |hashes: &Vec<TokenHash>| {
        let texts: Vec<_> = hashes.iter().map(TokenHash::to_string).collect();
        (!texts.is_empty()).then(|| serde_json::json!(texts).to_string())
    };
    let doc = "hashes of its tokens, as `twintier auth new-token` prints them; two while a token is replaced";
    let declaration = Declaration { path, kind: SettingKind::Hashes, expects: expects.to_owned(), doc };
    reader.read(declaration, Vec::new().into(), parse, show)
}

fn read_events(reader: &mut Reader, path: &str) -> BTreeSet<String> {
    let events = reader.texts(
        path,
        "a list of names of events",
        "events that it may send; what they invalidate needs no other grant",
    );
    refuse_empty(reader, path, &events);
    events.into_iter().collect()
}

fn refuse_empty(reader: &mut Reader, path: &str, texts: &[String]) {
    for (index, _) in texts.iter().enumerate().filter(|(_, text)| text.is_empty()) {
        reader.problem_of(path, format!("{path}[{index}]"), "must not be empty".to_owned());
    }
}

fn limit(reader: &mut Reader, path: &str, doc: &'static str) -> Option<usize> {
    let expects = format!("a whole number from 1 to {LARGEST_LIMIT}");
    let parse = |text: &str| {
        let number = text.parse().ok().filter(|number| (1..=LARGEST_LIMIT).contains(number));
        number.map(Some).ok_or_else(|| format!("must be {expects}"))
    };
    let declaration = Declaration { path, kind: SettingKind::Count, expects: expects.clone(), doc };
    reader.read(declaration, None.into(), parse, |limit| limit.map(|limit: usize| limit.to_string()))
}

/// Returns true for a whole name: a URI, or a name after its kind.
fn is_certificate_name(name: &str) -> bool {
    let of_kind = NAME_KINDS.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
    let is_uri = name.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    (of_kind || is_uri) && !name.contains(['*', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_that_are_read() {
        let settings = crate::config::config::reference();
        let read = settings.iter().filter_map(|setting| setting.path.strip_prefix("identities.<name>."));
        let (mut read, mut fields) = (read.collect::<Vec<_>>(), FIELDS.to_vec());
        read.sort_unstable();
        fields.sort_unstable();
        assert_eq!(read, fields);
    }

    #[test]
    fn a_name_of_a_certificate_is_whole() {
        for whole in ["spiffe://prod/ns/shop", "dns:a.b", "ip:10.0.0.1", "email:a@b.example"] {
            assert!(is_certificate_name(whole), "{whole}");
        }
        for part in ["", "checkout", "dns:", "dns:*.shop.svc", "://a", "spiffe://", "CN=checkout", "dns:a b"] {
            assert!(!is_certificate_name(part), "{part}");
        }
    }
}
