//! Rate limit of log lines: one line per second for each cause, with a count of the others.
//!
//! A cause is a callsite and the values of a few fields that identify the subject, such as the
//! Redis server. All other fields are details, which a peer may choose freely. A suppressed line
//! takes no lock. Lines of dependencies are limited, too.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use crate::cache::log_fields::{AUDIT, SLOW_REQUESTS};
use crate::sync::Mutex;

/// Shortest time between two lines of one cause, and between two counts of suppressed lines.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Causes of one callsite that are limited separately at a time.
const MAX_CAUSES: usize = 16;
/// Fields that distinguish causes of one callsite. The last two come with lines of the `log` crate,
/// which share one callsite.
const CAUSE_FIELDS: [&str; 8] =
    ["server", "warning", "variable", "what", "namespace", "field", "log.target", "log.line"];
/// Key of callsites whose lines are one cause, whatever their fields.
const SINGLE_CAUSE_KEY: u64 = 1;
/// Length to which the text of a suppressed line is cut, in bytes.
const MAX_TEXT_BYTES: usize = 200;
/// Log target of the counts, which are not limited, as those of the audit log.
const COUNT_TARGET: &str = "twintier::telemetry::limit";

/// Rate limit of log lines.
#[derive(Clone)]
pub struct LogRateLimit(Arc<LimitState>);

struct LimitState {
    started_at: Instant,
    callsites: ArcSwap<HashMap<Identifier, Arc<CallSite>>>,
    /// Held while a callsite is added.
    insert_lock: Mutex<()>,
    /// Notified when the first line of a cause is suppressed.
    suppressed: Notify,
}

/// A callsite and its causes.
struct CallSite {
    metadata: &'static Metadata<'static>,
    causes: Causes,
    /// Number of lines suppressed because all causes were in use.
    overflow: AtomicU64,
}

#[derive(Default)]
struct Causes([LineCause; MAX_CAUSES]);

/// Lines of one callsite with the same cause fields.
#[derive(Default)]
struct LineCause {
    /// Hash of the cause fields. 0 if this slot is free.
    key: AtomicU64,
    /// Time of the last line that passed, in milliseconds since the start. 0 if there was none.
    last_passed: AtomicU64,
    /// Number of suppressed lines that were not counted in the log yet.
    suppressed: AtomicU64,
    /// Text of the last line that passed.
    text: Mutex<String>,
}

// === impl Limit ===

impl LogRateLimit {
    /// A limit without any callsite.
    pub fn new() -> LogRateLimit {
        LogRateLimit(Arc::new(LimitState {
            started_at: Instant::now(),
            callsites: ArcSwap::default(),
            insert_lock: Mutex::default(),
            suppressed: Notify::new(),
        }))
    }

    /// Logs the counts of suppressed lines, once a second while there are any. Runs until dropped.
    pub async fn run(self) {
        loop {
            self.0.suppressed.notified().await;
            sleep(MIN_INTERVAL).await;
            self.log_counts();
        }
    }

    /// Logs the counts of lines suppressed since the last call.
    pub fn log_counts(&self) {
        for site in self.0.callsites.load().values() {
            for cause in &site.causes.0 {
                let count = cause.suppressed.swap(0, Ordering::Relaxed);
                if count > 0 {
                    let text = cause.text().clone();
                    log_count(site.metadata, &text, count);
                }
            }
            let count = site.overflow.swap(0, Ordering::Relaxed);
            if count > 0 {
                log_count(site.metadata, "lines with many different causes", count);
            }
        }
    }

    fn passes(&self, event: &Event<'_>, now: u64) -> bool {
        let metadata = event.metadata();
        let site = self.callsite(metadata);
        let key = if metadata.target() == SLOW_REQUESTS { SINGLE_CAUSE_KEY } else { key_of(event) };
        let Some(cause) = site.causes.find_or_claim(key, now) else {
            self.suppress(&site.overflow);
            return false;
        };
        let last = cause.last_passed.load(Ordering::Acquire);
        if interval_is_over(last, now)
            && cause.last_passed.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            *cause.text() = text_of(event);
            return true;
        }
        self.suppress(&cause.suppressed);
        false
    }

    fn suppress(&self, counter: &AtomicU64) {
        if counter.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.suppressed.notify_one();
        }
    }

    fn callsite(&self, metadata: &'static Metadata<'static>) -> Arc<CallSite> {
        let id = metadata.callsite();
        if let Some(site) = self.0.callsites.load().get(&id) {
            return site.clone();
        }
        // Once for each callsite. Their number is fixed by the code.
        let _guard = self.0.insert_lock.lock();
        let mut callsites = HashMap::clone(&self.0.callsites.load());
        let new = CallSite { metadata, causes: Causes::default(), overflow: AtomicU64::new(0) };
        let site = callsites.entry(id).or_insert_with(|| Arc::new(new)).clone();
        self.0.callsites.store(Arc::new(callsites));
        site
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started_at.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

impl<S> Filter<S> for LogRateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // With `always` the registry would not start a pass for events that `event_enabled`
        // may filter.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // A level of debug means that every line is wanted.
        *metadata.level() > Level::INFO
            || [AUDIT, COUNT_TARGET].contains(&metadata.target())
            || self.passes(event, self.now())
    }
}

fn interval_is_over(last: u64, now: u64) -> bool {
    last == 0 || now.saturating_sub(last) >= MIN_INTERVAL.as_millis() as u64
}

fn log_count(metadata: &Metadata<'_>, text: &str, count: u64) {
    let (line, source) = (text, metadata.target());
    match *metadata.level() {
        Level::ERROR => {
            tracing::error!(target: COUNT_TARGET, left_out = count, line, source, "log lines were left out")
        }
        Level::WARN => tracing::warn!(target: COUNT_TARGET, left_out = count, line, source, "log lines were left out"),
        _ => tracing::info!(target: COUNT_TARGET, left_out = count, line, source, "log lines were left out"),
    }
}

// === impl Causes ===

impl Causes {
    /// Finds the cause with this key, or claims a free or idle slot for it. `None` if all are in
    /// use.
    fn find_or_claim(&self, key: u64, now: u64) -> Option<&LineCause> {
        self.0.iter().find(|cause| cause.claim(key, 0)).or_else(|| {
            let is_idle = |cause: &&LineCause| {
                cause.suppressed.load(Ordering::Relaxed) == 0
                    && interval_is_over(cause.last_passed.load(Ordering::Relaxed), now)
            };
            self.0.iter().filter(is_idle).find(|cause| cause.claim(key, cause.key.load(Ordering::Acquire)))
        })
    }
}

// === impl Cause ===

impl LineCause {
    /// Gives the slot to `key` if it belongs to `before`. Returns true if it now belongs to `key`.
    fn claim(&self, key: u64, before: u64) -> bool {
        let was = self.key.load(Ordering::Acquire);
        was == key
            || (was == before
                && match self.key.compare_exchange(before, key, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => true,
                    Err(other) => other == key,
                })
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock()
    }
}

// === fields of an event ===

/// Hash of the cause fields. Never 0.
fn key_of(event: &Event<'_>) -> u64 {
    struct CauseHasher(DefaultHasher);
    impl fmt::Write for CauseHasher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    impl Visit for CauseHasher {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if CAUSE_FIELDS.contains(&field.name()) {
                self.0.write(field.name().as_bytes());
                _ = write!(self, "{value:?}");
            }
        }
    }
    let mut hasher = CauseHasher(DefaultHasher::new());
    event.record(&mut hasher);
    hasher.0.finish().max(1)
}

/// The message, cut to `MAX_TEXT_BYTES`.
fn text_of(event: &Event<'_>) -> String {
    struct MessageText(String);
    impl fmt::Write for MessageText {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let mut end = text.len().min(MAX_TEXT_BYTES - self.0.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.0.push_str(&text[..end]);
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    impl Visit for MessageText {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                _ = write!(self, "{value:?}");
            }
        }
    }
    let mut text = MessageText(String::new());
    event.record(&mut text);
    text.0
}

#[cfg(test)]
#[path = "log_rate_limit_tests.rs"]
mod tests;
