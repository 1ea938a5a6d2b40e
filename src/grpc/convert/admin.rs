//! Inspect, HotKeys, SetLogLevel and Stats: checks requests, renders responses and verdicts.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::validator::{RequestContext, Validator, duration, to_wire, whole_millis};
use crate::cache::clock::Moment;
use crate::cache::entry::{Content, Entry};
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::{Key, KeyRef};
use crate::cache::namespace::Namespace;
use crate::cache::policy::limits;
use crate::cache::stats::hot_keys::HotKey;
use crate::cache::tier::L2Error;
use crate::cache::tier::inspect::{Inspected, InvalidationCause, NotServed, Off, Stored};
use crate::cache::tiered::{Inspection, Verdict};
use crate::cache::version::Version;
use crate::pb;
use crate::units::format_duration;

/// Maximum number of hot keys in one response.
const MAX_HOT_KEYS: u32 = 100;
/// Default number of hot keys in one response.
const DEFAULT_HOT_KEYS: u32 = 20;
/// Maximum length of a log filter in bytes.
const MAX_LEVEL_BYTES: usize = 1024;
/// Allowed and default duration of a change of the log level.
const LOG_LEVEL_LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const DEFAULT_LOG_LEVEL_LIFETIME: Duration = Duration::from_secs(600);

/// Checks an Inspect.
pub fn inspect(context: &RequestContext, request: &pb::InspectRequest) -> Result<Key, CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get_to_read("namespace", &request.namespace))?;
    validator.take(context.limits.key("key", request.key.as_bytes()));
    validator.done(namespace.map(|namespace| KeyRef::new(&namespace, request.key.as_bytes()).to_key()))
}

/// Returns the response to an Inspect.
pub fn inspect_response(key: &Key, found: Inspection) -> pb::InspectResponse {
    let verdict = verdict(key.namespace(), &found);
    let at = found.at;
    let l1 = found.l1.map(|remembered| {
        let entry = inspected(&remembered.held.entry, at);
        pb::InspectedEntry { not_served: not_served_text(remembered.not_served.as_ref()), ..entry }
    });
    let (l2, l2_error) = match found.l2 {
        Ok(found) => (found, String::new()),
        Err(error) => (Inspected::default(), error_text(&error)),
    };
    pb::InspectResponse {
        verdict,
        partition: found.partition.into(),
        watermark: if found.watermark > Version::ZERO { found.watermark.to_string() } else { String::new() },
        proof_age: found.proof_age.map(to_wire),
        l1,
        l2: l2.stored.map(|stored| inspected_in_redis(&stored, at)),
        l2_error,
        lease: l2.lease.map(to_wire),
    }
}

fn inspected_in_redis(stored: &Stored, at: Moment) -> pb::InspectedEntry {
    let entry = stored.entry.as_ref().map(|entry| inspected(entry, at)).unwrap_or_default();
    let not_served = not_served_text(stored.not_served.as_ref());
    pb::InspectedEntry { size: stored.size, stored_size: stored.stored_size, not_served, ..entry }
}

fn inspected(entry: &Entry, at: Moment) -> pb::InspectedEntry {
    let left = |moment: Moment| (moment != Moment::FOREVER).then(|| to_wire(moment.since(at)));
    pb::InspectedEntry {
        version: entry.version.to_string(),
        age: Some(to_wire(at.since(entry.written_at))),
        ttl: left(entry.expires_at),
        soft_ttl: left(entry.due_at),
        known_absent: entry.content == Content::KnownAbsent,
        size: entry.content.len() as u64,
        stored_size: 0,
        content_type: entry.content_type.to_string(),
        tags: entry.tags.iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(),
        source_version: entry.source_version,
        not_served: String::new(),
    }
}

fn verdict(namespace: &Namespace, found: &Inspection) -> String {
    let in_memory = match &found.l1 {
        None => "memory holds nothing".to_owned(),
        Some(held) => format!("the entry in memory is not served: {}", not_served_text(held.not_served.as_ref())),
    };
    let in_redis = || match &found.l2 {
        Ok(Inspected { stored: None, .. }) => "Redis holds nothing".to_owned(),
        Ok(Inspected { stored: Some(stored), .. }) => {
            format!("the entry in Redis is not served: {}", not_served_text(stored.not_served.as_ref()))
        }
        Err(error) => format!("Redis is not available: {}", error_text(error)),
    };
    match &found.verdict {
        Verdict::Memory => "hit: memory holds it, proven fresh".to_owned(),
        Verdict::Shared => format!("hit: Redis holds it; {in_memory}"),
        Verdict::Stale => format!("hit from memory, flagged stale: {}; {in_memory}", in_redis()),
        Verdict::Miss => format!("miss: {in_memory}; {}", in_redis()),
        Verdict::Degraded => format!("miss, flagged degraded: {}; {in_memory}", in_redis()),
        Verdict::Off(off) => {
            format!("miss: {} (namespace {:?})", not_served_text(Some(&NotServed::Off(*off))), namespace.name())
        }
        Verdict::Unavailable => format!("error: this consistency needs Redis: {}", in_redis()),
        Verdict::Halted(why) => format!("error: this replica does not serve: {why}"),
    }
}

fn not_served_text(why: Option<&NotServed>) -> String {
    let Some(why) = why else { return String::new() };
    let named = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match why {
        NotServed::Off(Off::Service) => "the cache is switched off for the whole service".to_owned(),
        NotServed::Off(Off::Namespace) => "the cache is switched off for the namespace".to_owned(),
        NotServed::Off(Off::L1) => "memory is switched off".to_owned(),
        NotServed::Off(Off::L2) => "Redis is switched off".to_owned(),
        NotServed::Expired(ago) => format!("expired {} ago", rounded(*ago)),
        NotServed::Marked(ago) => format!("marked stale {} ago", rounded(*ago)),
        NotServed::Invalidated(InvalidationCause::Unknown) => "invalidated with a selector that covers it".to_owned(),
        NotServed::Invalidated(InvalidationCause::Namespace) => "invalidated with its whole namespace".to_owned(),
        NotServed::Invalidated(InvalidationCause::Prefix(None)) => "invalidated with a prefix of its key".to_owned(),
        NotServed::Invalidated(InvalidationCause::Prefix(Some(prefix))) => {
            format!("invalidated with prefix {:?}", named(prefix))
        }
        NotServed::Invalidated(InvalidationCause::Tag(tag)) => format!("invalidated with tag {:?}", named(tag)),
        NotServed::Invalidated(InvalidationCause::Pattern(pattern)) => {
            format!("invalidated with pattern {:?}", named(pattern))
        }
        NotServed::TooLong(longest) => format!("in memory for longer than {} (l1_ttl)", rounded(*longest)),
        NotServed::Alone => "stored while Redis was switched off: in this replica only".to_owned(),
        NotServed::Suspect(ago) => format!("suspect: last proven current {} ago", rounded(*ago)),
        NotServed::Epoch => "of an untrusted epoch: a failover or a loss of data followed".to_owned(),
        NotServed::Unreadable => "damaged, or not written by this service".to_owned(),
    }
}

fn error_text(error: &L2Error) -> String {
    CacheError::from(error.clone()).to_string()
}

/// Formats a duration, rounded to milliseconds.
fn rounded(duration: Duration) -> String {
    format_duration(whole_millis(duration))
}

/// Checks a SetLogLevel. Returns the filter and its duration, or `None` for the configured level.
pub fn log_level(request: &pb::SetLogLevelRequest) -> Result<Option<(&str, Duration)>, CacheError> {
    let mut validator = Validator::default();
    let level = request.level.as_str();
    if level.len() > MAX_LEVEL_BYTES {
        let limit = format!("must be at most {MAX_LEVEL_BYTES} bytes; was {} bytes", level.len());
        validator.take::<()>(Err(Violation::new("level", limit)));
    }
    let lifetime = request.lasts.as_ref().and_then(|lasts| validator.take(duration("lasts", lasts)));
    if request.lasts.is_some() && level.is_empty() {
        validator.take::<()>(Err(Violation::new("lasts", "must be absent without level")));
    }
    if let Some(lifetime) = lifetime.filter(|lifetime| !LOG_LEVEL_LIFETIMES.contains(lifetime)) {
        let limits = format!(
            "must be from {} to {}; was {}",
            format_duration(*LOG_LEVEL_LIFETIMES.start()),
            format_duration(*LOG_LEVEL_LIFETIMES.end()),
            format_duration(lifetime)
        );
        validator.take::<()>(Err(Violation::new("lasts", limits)));
    }
    validator.done(Some((!level.is_empty()).then_some((level, lifetime.unwrap_or(DEFAULT_LOG_LEVEL_LIFETIME)))))
}

/// Checks a HotKeys. Returns the namespace to list, if any, and the number of keys.
pub fn hot_keys(
    context: &RequestContext,
    request: &pb::HotKeysRequest,
) -> Result<(Option<Arc<Namespace>>, usize), CacheError> {
    let mut validator = Validator::default();
    let namespace = match request.namespace.as_str() {
        "" => None,
        name => validator.namespace(context.namespaces.get_to_read("namespace", name))?,
    };
    let limit = validator.take(match request.limit {
        0 => Ok(DEFAULT_HOT_KEYS),
        limit if limit <= MAX_HOT_KEYS => Ok(limit),
        limit => Err(Violation::new("limit", format!("must be at most {MAX_HOT_KEYS}; was {limit}"))),
    });
    validator.done(limit.map(|limit| (namespace, limit as usize)))
}

/// Returns the response to a HotKeys.
pub fn hot_keys_response(hottest: Vec<HotKey>) -> pb::HotKeysResponse {
    let hot_key = |hot: HotKey| pb::HotKey {
        namespace: hot.key.namespace().name().to_owned(),
        key: String::from_utf8_lossy(hot.key.bytes()).into_owned(),
        gets_per_second: hot.rate,
    };
    pb::HotKeysResponse { keys: hottest.into_iter().map(hot_key).collect() }
}

/// Checks a Stats. Returns true for the whole fleet, and the namespace; an empty one means all.
pub fn stats(request: &pb::StatsRequest) -> Result<(bool, &str), CacheError> {
    let mut validator = Validator::default();
    if !request.namespace.is_empty() {
        validator.take(limits::namespace("namespace", &request.namespace));
    }
    let fleet = validator.take(match pb::StatsScope::try_from(request.scope) {
        Ok(pb::StatsScope::Unspecified | pb::StatsScope::Replica) => Ok(false),
        Ok(pb::StatsScope::Fleet) => Ok(true),
        Err(_) => Err(Violation::new("scope", format!("must be a StatsScope; was {}", request.scope))),
    });
    validator.done(fleet.map(|fleet| (fleet, request.namespace.as_str())))
}
