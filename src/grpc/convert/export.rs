//! ExportEntries: checks the request and its cursor, and renders entries.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::validator::{RequestContext, Validator, to_wire, whole_millis};
use crate::cache::clock::Moment;
use crate::cache::entry::{Content, Entry};
use crate::cache::error::{CacheError, Violation};
use crate::cache::invalidation::selector;
use crate::cache::key::Key;
use crate::cache::quoted::quoted;
use crate::cache::tier::{ScanPosition, ScannedKey};
use crate::pb;
use crate::pb::exported_entry::Content as WireContent;

/// Number of keys that a step of a scan looks at: the first one, and the bounds of the later ones.
const FIRST_COUNT: u32 = 250;
const COUNTS: RangeInclusive<u32> = 1..=1000;

/// A checked ExportEntries.
pub struct ParsedExport {
    /// Names of the namespaces. `None` for all.
    namespaces: Option<BTreeSet<Box<str>>>,
    /// Prefix of the keys. `None` for all.
    prefix: Option<Box<str>>,
    /// Position from which to continue.
    pub from: ExportCursor,
}

/// Position of an export, as its caller holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportCursor {
    /// Position of the scan.
    pub at: ScanPosition,
    /// Number of keys that the next step looks at.
    pub count: u32,
}

/// Checks an ExportEntries.
pub fn export(context: &RequestContext, request: &pb::ExportEntriesRequest) -> Result<ParsedExport, CacheError> {
    let mut validator = Validator::default();
    let limit = context.limits.namespaces;
    if request.namespaces.len() > limit {
        validator.0.push(Violation::too_large("namespaces", request.namespaces.len(), limit, "namespaces"));
    }
    let mut names = BTreeSet::new();
    for (index, name) in request.namespaces.iter().take(limit).enumerate() {
        let found = context.namespaces.get_to_read(&format!("namespaces[{index}]"), name);
        names.extend(validator.namespace(found)?.map(|namespace| namespace.name().into()));
    }
    let prefix = Some(&request.prefix).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.and_then(|prefix| validator.take(context.limits.prefix("prefix", prefix.as_bytes())));
    let prefix = prefix.map(|prefix| String::from_utf8_lossy(prefix).into());
    let from = match request.cursor.as_str() {
        "" => Some(ExportCursor::default()),
        text => validator.take(text.parse()),
    };
    let namespaces = (!request.namespaces.is_empty()).then_some(names);
    validator.done(from.map(|from| ParsedExport { namespaces, prefix, from }))
}

/// Renders a live entry.
pub fn exported_entry(key: &Key, entry: Entry, now: Moment) -> pb::ExportedEntry {
    let left = |moment: Moment| (moment != Moment::FOREVER).then(|| to_wire(whole_millis(moment.since(now))));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let sliding =
        entry.sliding.map(|sliding| pb::Sliding { idle: Some(to_wire(sliding.idle)), max_ttl: left(sliding.until) });
    pb::ExportedEntry {
        namespace: key.namespace().name().to_owned(),
        key: text(key.bytes()),
        content_type: entry.content_type.to_string(),
        ttl: left(entry.expires_at),
        soft_ttl: left(entry.due_at),
        sliding,
        tags: entry.tags.iter().map(|tag| text(tag)).collect(),
        source_version: entry.source_version,
        version: entry.version.to_string(),
        content: Some(match entry.content {
            Content::Value(value) => WireContent::Value(value),
            Content::KnownAbsent => WireContent::KnownAbsent(pb::KnownAbsent {}),
        }),
    }
}

// === impl ParsedExport ===

impl ParsedExport {
    /// Returns the only namespace, and what its keys begin with. `None` to scan all namespaces.
    pub fn scope(&self) -> (Option<&str>, &str) {
        let mut names = self.namespaces.iter().flatten();
        match (names.next(), names.next()) {
            (Some(only), None) => (Some(only), self.prefix.as_deref().unwrap_or_default()),
            _ => (None, ""),
        }
    }

    /// Returns true if the key was requested.
    pub fn selects(&self, scanned: &ScannedKey) -> bool {
        let is_below = |prefix: &str| selector::prefixes(&scanned.key).any(|one| one == prefix.as_bytes());
        self.namespaces.as_ref().is_none_or(|names| names.contains(&scanned.namespace))
            && self.prefix.as_deref().is_none_or(is_below)
    }
}

// === impl ExportCursor ===

impl Default for ExportCursor {
    fn default() -> ExportCursor {
        ExportCursor { at: ScanPosition::default(), count: FIRST_COUNT }
    }
}

impl ExportCursor {
    /// Returns the number of keys that the next step looks at: more after a small step, fewer after
    /// a large one.
    pub fn count_after(&self, is_small: bool) -> u32 {
        let count = if is_small { self.count.saturating_mul(2) } else { self.count / 4 };
        count.clamp(*COUNTS.start(), *COUNTS.end())
    }

    /// Encodes the cursor.
    pub fn encode(&self) -> String {
        let ExportCursor { at: ScanPosition { generation, part, cursor }, count } = self;
        format!("{generation:x}-{part}-{cursor}-{count}")
    }
}

impl FromStr for ExportCursor {
    type Err = Violation;

    fn from_str(text: &str) -> Result<ExportCursor, Violation> {
        let read = || {
            let mut parts = text.split('-');
            let generation = u64::from_str_radix(parts.next()?, 16).ok()?;
            let (part, cursor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let count = parts.next()?.parse().ok().filter(|count| COUNTS.contains(count))?;
            let at = ScanPosition { generation, part, cursor };
            parts.next().is_none().then_some(ExportCursor { at, count })
        };
        let rule = || format!("must be the cursor of an earlier response; was {}", quoted(text));
        read().ok_or_else(|| Violation::new("cursor", rule()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let at = ScanPosition { generation: u64::MAX, part: 3, cursor: u64::MAX };
        for cursor in [ExportCursor::default(), ExportCursor { at, count: 1 }] {
            assert_eq!(cursor.encode().parse(), Ok(cursor));
        }
        for wrong in ["1", "1-2-3", "1-2-3-0", "1-2-3-1001", "1-2-3-4-5", "x-2-3-4", "1--3-4", "1-2-3-4 "] {
            let violation = wrong.parse::<ExportCursor>().expect_err(wrong);
            assert_eq!(violation.field, "cursor");
            assert!(violation.description.contains(wrong), "{violation:?}");
        }
    }

    #[test]
    fn a_scan_of_one_namespace_is_narrowed_by_its_prefix() {
        let parsed = |names: &[&str], prefix: Option<&str>| ParsedExport {
            namespaces: (!names.is_empty()).then(|| names.iter().map(|name| Box::from(*name)).collect()),
            prefix: prefix.map(Box::from),
            from: ExportCursor::default(),
        };
        assert_eq!(parsed(&["a"], Some("user")).scope(), (Some("a"), "user"));
        assert_eq!(parsed(&["a", "b"], Some("user")).scope(), (None, ""));
        assert_eq!(parsed(&[], None).scope(), (None, ""));
        let selects = |names: &[&str], namespace: &str, key: &'static str| {
            let scanned = ScannedKey { namespace: namespace.into(), key: key.into() };
            parsed(names, Some("user:1")).selects(&scanned)
        };
        assert!(selects(&["a"], "a", "user:1") && selects(&[], "b", "user:1:x"));
        assert!(!selects(&["a"], "b", "user:1") && !selects(&["a"], "a", "user:12"));
    }
}
