//! What administrators ask, and what they are told in words.

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

/// Most hot keys in one answer.
const MOST_HOT_KEYS: u32 = 100;
/// How many there are when none says how many.
const HOT_KEYS: u32 = 20;
/// Longest filter of the log, bytes.
const LONGEST_LEVEL: usize = 1024;
/// For how long a level of the log may be changed, and for how long when none says so.
const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const USUAL: Duration = Duration::from_secs(600);

/// The key to look at.
pub fn inspect(rules: &RequestContext, request: &pb::InspectRequest) -> Result<Key, CacheError> {
    let mut checks = Validator::default();
    let namespace = checks.namespace(rules.namespaces.get_to_read("namespace", &request.namespace))?;
    checks.take(rules.limits.key("key", request.key.as_bytes()));
    checks.done(namespace.map(|namespace| KeyRef::new(&namespace, request.key.as_bytes()).to_key()))
}

/// What was found of a key.
pub fn inspect_response(key: &Key, found: Inspection) -> pb::InspectResponse {
    let verdict = verdict(key.namespace(), &found);
    let at = found.at;
    let l1 = found.l1.map(|remembered| {
        let entry = inspected(&remembered.held.entry, at);
        pb::InspectedEntry { not_served: why_not(remembered.not_served.as_ref()), ..entry }
    });
    let (l2, l2_error) = match found.l2 {
        Ok(found) => (found, String::new()),
        Err(error) => (Inspected::default(), words(&error)),
    };
    pb::InspectResponse {
        verdict,
        partition: found.partition.into(),
        watermark: if found.watermark > Version::ZERO { found.watermark.to_string() } else { String::new() },
        proof_age: found.proof_age.map(to_wire),
        l1,
        l2: l2.stored.map(|stored| shared(&stored, at)),
        l2_error,
        lease: l2.lease.map(to_wire),
    }
}

fn shared(stored: &Stored, at: Moment) -> pb::InspectedEntry {
    let entry = stored.entry.as_ref().map(|entry| inspected(entry, at)).unwrap_or_default();
    let not_served = why_not(stored.not_served.as_ref());
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
        Some(held) => format!("what memory holds is not served: {}", why_not(held.not_served.as_ref())),
    };
    let in_redis = || match &found.l2 {
        Ok(Inspected { stored: None, .. }) => "Redis holds nothing".to_owned(),
        Ok(Inspected { stored: Some(stored), .. }) => {
            format!("what Redis holds is not served: {}", why_not(stored.not_served.as_ref()))
        }
        Err(error) => format!("Redis cannot be asked: {}", words(error)),
    };
    match &found.verdict {
        Verdict::Memory => "hit: memory holds it and may answer it as fresh".to_owned(),
        Verdict::Shared => format!("hit: Redis holds it; {in_memory}"),
        Verdict::Stale => format!("hit from memory, flagged stale: {}; {in_memory}", in_redis()),
        Verdict::Miss => format!("miss: {in_memory}; {}", in_redis()),
        Verdict::Degraded => format!("miss, flagged degraded: {}; {in_memory}", in_redis()),
        Verdict::Off(off) => {
            format!("miss: {} (namespace {:?})", why_not(Some(&NotServed::Off(*off))), namespace.name())
        }
        Verdict::Unavailable => format!("error: only Redis may answer here (consistency), and {}", in_redis()),
        Verdict::Halted(why) => format!("error: this replica does not serve: {why}"),
    }
}

fn why_not(why: Option<&NotServed>) -> String {
    let Some(why) = why else { return String::new() };
    let named = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match why {
        NotServed::Off(Off::Service) => "the cache is switched off for the whole service".to_owned(),
        NotServed::Off(Off::Namespace) => "the cache is switched off for the namespace".to_owned(),
        NotServed::Off(Off::L1) => "memory is switched off".to_owned(),
        NotServed::Off(Off::L2) => "Redis is switched off".to_owned(),
        NotServed::Expired(ago) => format!("expired {} ago", rounded(*ago)),
        NotServed::Marked(ago) => format!("marked stale {} ago", rounded(*ago)),
        NotServed::Invalidated(InvalidationCause::Unknown) => "invalidated with what covers it".to_owned(),
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
        NotServed::Alone => "stored while Redis was switched off, and in no other replica".to_owned(),
        NotServed::Suspect(ago) => format!("suspect: last proven current {} ago", rounded(*ago)),
        NotServed::Epoch => {
            "of an epoch that is not trusted: another primary took over, or data was lost, since".to_owned()
        }
        NotServed::Unreadable => "damaged, or not written by this service".to_owned(),
    }
}

fn words(error: &L2Error) -> String {
    CacheError::from(error.clone()).to_string()
}

/// To the millisecond: nobody reads more.
fn rounded(duration: Duration) -> String {
    format_duration(whole_millis(duration))
}

/// Reads what to log and for how long; none: what is configured.
pub fn log_level(request: &pb::SetLogLevelRequest) -> Result<Option<(&str, Duration)>, CacheError> {
    let mut checks = Validator::default();
    let level = request.level.as_str();
    if level.len() > LONGEST_LEVEL {
        let limit = format!("must be at most {LONGEST_LEVEL} bytes; was {} bytes", level.len());
        checks.take::<()>(Err(Violation::new("level", limit)));
    }
    let asked = request.lasts.as_ref().and_then(|lasts| checks.take(duration("lasts", lasts)));
    if request.lasts.is_some() && level.is_empty() {
        checks.take::<()>(Err(Violation::new("lasts", "must be absent without level")));
    }
    if let Some(asked) = asked.filter(|asked| !LASTS.contains(asked)) {
        let limits = format!(
            "must be from {} to {}; was {}",
            format_duration(*LASTS.start()),
            format_duration(*LASTS.end()),
            format_duration(asked)
        );
        checks.take::<()>(Err(Violation::new("lasts", limits)));
    }
    checks.done(Some((!level.is_empty()).then_some((level, asked.unwrap_or(USUAL)))))
}

/// Which hot keys to list, and how many.
pub fn hot_keys(
    rules: &RequestContext,
    request: &pb::HotKeysRequest,
) -> Result<(Option<Arc<Namespace>>, usize), CacheError> {
    let mut checks = Validator::default();
    let namespace = match request.namespace.as_str() {
        "" => None,
        name => checks.namespace(rules.namespaces.get_to_read("namespace", name))?,
    };
    let limit = checks.take(match request.limit {
        0 => Ok(HOT_KEYS),
        limit if limit <= MOST_HOT_KEYS => Ok(limit),
        limit => Err(Violation::new("limit", format!("must be at most {MOST_HOT_KEYS}; was {limit}"))),
    });
    checks.done(limit.map(|limit| (namespace, limit as usize)))
}

/// The keys read most.
pub fn hot_keys_response(hottest: Vec<HotKey>) -> pb::HotKeysResponse {
    let hot_key = |hot: HotKey| pb::HotKey {
        namespace: hot.key.namespace().name().to_owned(),
        key: String::from_utf8_lossy(hot.key.bytes()).into_owned(),
        gets_per_second: hot.rate,
    };
    pb::HotKeysResponse { keys: hottest.into_iter().map(hot_key).collect() }
}

/// Whether to report on the fleet, and on which namespace; empty: on all.
pub fn stats(request: &pb::StatsRequest) -> Result<(bool, &str), CacheError> {
    let mut checks = Validator::default();
    if !request.namespace.is_empty() {
        checks.take(limits::namespace("namespace", &request.namespace));
    }
    let fleet = checks.take(match pb::StatsScope::try_from(request.scope) {
        Ok(pb::StatsScope::Unspecified | pb::StatsScope::Replica) => Ok(false),
        Ok(pb::StatsScope::Fleet) => Ok(true),
        Err(_) => Err(Violation::new("scope", format!("must be a StatsScope; was {}", request.scope))),
    });
    checks.done(fleet.map(|fleet| (fleet, request.namespace.as_str())))
}
