//! A limit on log lines: one line a second for each cause, with a count of the others. Lines of dependencies are limited as our own are.
//!
//! A cause is a place in the code, and the values of the few fields that tell things of one kind apart, such as the Redis server. All other
//! fields are details, which a peer may choose freely. A line that is left out takes no lock.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

use crate::cache::log_fields::SLOW_REQUESTS;

/// Shortest time between two lines of one cause, and between two counts of what was left out.
const PAUSE: Duration = Duration::from_secs(1);
/// Causes of one place that are told apart at a time.
const CAUSES: usize = 16;
/// Fields that tell causes of one place apart. The last two come with lines of the `log` crate, which all have the same place.
const TELLING: [&str; 8] = ["server", "warning", "variable", "what", "namespace", "field", "log.target", "log.line"];
/// The key of lines that are one cause, whatever they tell of.
const ONE: u64 = 1;
/// Longest text that is repeated of a line.
const TEXT: usize = 200;
/// The target of counts, which are not limited.
const COUNTS: &str = "twintier::telemetry::limit";

/// The limit on log lines.
#[derive(Clone)]
pub struct LogRateLimit(Arc<LimitState>);

struct LimitState {
    started: Instant,
    places: ArcSwap<HashMap<Identifier, Arc<CallSite>>>,
    adding: Mutex<()>,
    news: Notify,
}

/// A place in the code that logs.
struct CallSite {
    metadata: &'static Metadata<'static>,
    causes: Causes,
    /// Lines left out because there were more causes.
    others: AtomicU64,
}

#[derive(Default)]
struct Causes([LineCause; CAUSES]);

/// Lines that are one to a reader.
#[derive(Default)]
struct LineCause {
    /// Hash of the telling fields; 0: free.
    key: AtomicU64,
    /// When a line passed, in milliseconds since the start; 0: never.
    passed: AtomicU64,
    left_out: AtomicU64,
    /// Text of the line that passed.
    text: Mutex<String>,
}

// === impl Limit ===

impl LogRateLimit {
    /// No line was seen yet.
    pub fn new() -> LogRateLimit {
        LogRateLimit(Arc::new(LimitState {
            started: Instant::now(),
            places: ArcSwap::default(),
            adding: Mutex::default(),
            news: Notify::new(),
        }))
    }

    /// Logs the counts of what was left out, once a second while there are any. Runs until it is dropped.
    pub async fn count(self) {
        loop {
            self.0.news.notified().await;
            sleep(PAUSE).await;
            self.log_counts();
        }
    }

    /// Logs the counts of what was left out since the last time.
    pub fn log_counts(&self) {
        for place in self.0.places.load().values() {
            for cause in &place.causes.0 {
                let left_out = cause.left_out.swap(0, Ordering::Relaxed);
                if left_out > 0 {
                    let text = cause.text().clone();
                    log_count(place.metadata, &text, left_out);
                }
            }
            let left_out = place.others.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                log_count(place.metadata, "lines with many different causes", left_out);
            }
        }
    }

    fn passes(&self, event: &Event<'_>, now: u64) -> bool {
        let metadata = event.metadata();
        let place = self.place(metadata);
        let key = if metadata.target() == SLOW_REQUESTS { ONE } else { key_of(event) };
        let Some(cause) = place.causes.of(key, now) else {
            self.left_out(&place.others);
            return false;
        };
        let last = cause.passed.load(Ordering::Acquire);
        if is_over(last, now) && cause.passed.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            *cause.text() = text_of(event);
            return true;
        }
        self.left_out(&cause.left_out);
        false
    }

    fn left_out(&self, counter: &AtomicU64) {
        if counter.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.news.notify_one();
        }
    }

    fn place(&self, metadata: &'static Metadata<'static>) -> Arc<CallSite> {
        let callsite = metadata.callsite();
        if let Some(place) = self.0.places.load().get(&callsite) {
            return place.clone();
        }
        // Once for each place, of which there are as many as there are in the code.
        let _one_at_a_time = self.0.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = HashMap::clone(&self.0.places.load());
        let new = CallSite { metadata, causes: Causes::default(), others: AtomicU64::new(0) };
        let place = places.entry(callsite).or_insert_with(|| Arc::new(new)).clone();
        self.0.places.store(Arc::new(places));
        place
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

impl<S> Filter<S> for LogRateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Not always: the registry has to begin a pass for what may be filtered later, in `event_enabled`.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Who asks for debugging wants every line.
        *metadata.level() > Level::INFO || metadata.target() == COUNTS || self.passes(event, self.now())
    }
}

fn is_over(last: u64, now: u64) -> bool {
    last == 0 || now.saturating_sub(last) >= PAUSE.as_millis() as u64
}

fn log_count(metadata: &Metadata<'_>, text: &str, left_out: u64) {
    let (line, source) = (text, metadata.target());
    match *metadata.level() {
        Level::ERROR => tracing::error!(target: COUNTS, left_out, line, source, "log lines were left out"),
        Level::WARN => tracing::warn!(target: COUNTS, left_out, line, source, "log lines were left out"),
        _ => tracing::info!(target: COUNTS, left_out, line, source, "log lines were left out"),
    }
}

// === impl Causes ===

impl Causes {
    /// The cause with this key; `None` if there are too many others.
    fn of(&self, key: u64, now: u64) -> Option<&LineCause> {
        self.0.iter().find(|cause| cause.claim(key, 0)).or_else(|| {
            let is_idle = |cause: &&LineCause| {
                cause.left_out.load(Ordering::Relaxed) == 0 && is_over(cause.passed.load(Ordering::Relaxed), now)
            };
            self.0.iter().filter(is_idle).find(|cause| cause.claim(key, cause.key.load(Ordering::Acquire)))
        })
    }
}

// === impl Cause ===

impl LineCause {
    /// Makes it that of `key`, if it is so already or was that of `before`.
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
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === what is read of an event ===

/// Hash of the telling fields; never 0.
fn key_of(event: &Event<'_>) -> u64 {
    struct Telling(DefaultHasher);
    impl fmt::Write for Telling {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    impl Visit for Telling {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if TELLING.contains(&field.name()) {
                self.0.write(field.name().as_bytes());
                _ = write!(self, "{value:?}");
            }
        }
    }
    let mut telling = Telling(DefaultHasher::new());
    event.record(&mut telling);
    telling.0.finish().max(1)
}

/// The message, not longer than `TEXT`.
fn text_of(event: &Event<'_>) -> String {
    struct MessageText(String);
    impl fmt::Write for MessageText {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let mut end = text.len().min(TEXT - self.0.len());
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
mod tests {
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::FilterExt as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The lines that pass, as field=value.
    #[derive(Clone, Default)]
    struct SuppressedLines(Arc<Mutex<Vec<String>>>);

    impl SuppressedLines {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().expect("no panic"))
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for SuppressedLines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            struct All(String);
            impl Visit for All {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    _ = write!(self.0, "{field}={value:?} ");
                }
            }
            let mut all = All(String::new());
            event.record(&mut all);
            self.0.lock().expect("no panic").push(all.0.trim_end().to_owned());
        }
    }

    fn limited(work: impl FnOnce(&LogRateLimit, &SuppressedLines)) {
        let (limit, lines) = (LogRateLimit::new(), SuppressedLines::default());
        let filter = LevelFilter::DEBUG.and(limit.clone());
        let subscriber = tracing_subscriber::registry().with(lines.clone().with_filter(filter));
        tracing::subscriber::with_default(subscriber, || work(&limit, &lines));
    }

    #[test]
    fn one_line_of_a_cause_passes_and_the_others_are_counted() {
        limited(|limit, lines| {
            for number in 0..1000 {
                tracing::warn!(number, "garbage");
            }
            assert_eq!(lines.take(), ["message=garbage number=0"]);
            limit.log_counts();
            let counts = lines.take();
            assert_eq!(counts.len(), 1, "{counts:?}");
            for part in ["message=log lines were left out", "left_out=999", "line=\"garbage\"", module_path!()] {
                assert!(counts[0].contains(part), "{counts:?}");
            }
            limit.log_counts();
            assert_eq!(lines.take(), [""; 0]);
        });
    }

    #[test]
    fn causes_of_one_place_are_told_apart_up_to_a_limit() {
        limited(|limit, lines| {
            let warn = |server: usize, why: usize| tracing::warn!(server, why, "lost");
            for why in 0..3 {
                warn(1, why);
                warn(2, why);
            }
            assert_eq!(lines.take().len(), 2);
            for server in 3..1000 {
                warn(server, 0);
            }
            assert_eq!(lines.take().len(), CAUSES - 2);
            limit.log_counts();
            let counts = lines.take();
            assert_eq!(counts.len(), 3, "{counts:?}");
            assert!(counts[2].contains("many different causes"), "{counts:?}");
        });
    }

    #[test]
    fn slow_requests_are_one_cause_whatever_their_namespaces() {
        limited(|limit, lines| {
            for namespace in ["users", "prices", "users"] {
                tracing::info!(target: SLOW_REQUESTS, namespace, "slow request");
            }
            assert_eq!(lines.take().len(), 1);
            limit.log_counts();
            let counts = lines.take();
            assert!(counts.len() == 1 && counts[0].contains("left_out=2"), "{counts:?}");
        });
    }

    #[test]
    fn other_places_and_debugging_are_not_concerned() {
        limited(|_, lines| {
            for _ in 0..3 {
                tracing::debug!("for debugging");
            }
            tracing::info!("one");
            tracing::info!("other");
            assert_eq!(lines.take().len(), 5);
        });
    }

    #[test]
    fn a_cause_takes_the_room_of_one_that_has_gone() {
        let causes = Causes::default();
        assert!((1..=CAUSES as u64).all(|key| causes.of(key, 1).is_some()));
        causes.0.iter().for_each(|cause| cause.passed.store(1, Ordering::Relaxed));
        assert!(causes.of(1, 500).is_some() && causes.of(99, 500).is_none());
        assert!(causes.of(99, 1001).is_some_and(|cause| std::ptr::eq(cause, &causes.0[0])));
        causes.0.iter().for_each(|cause| cause.left_out.store(1, Ordering::Relaxed));
        assert!(causes.of(100, 9999).is_none(), "what was not counted in the log yet is kept");
        assert!(is_over(0, 1) && is_over(1, 1001) && !is_over(1, 1000));
    }
}
