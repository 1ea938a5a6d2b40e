use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// Records the lines that pass, as field=value.
#[derive(Clone, Default)]
struct PassedLines(Arc<Mutex<Vec<String>>>);

impl PassedLines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl<S: tracing::Subscriber> Layer<S> for PassedLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct All(String);
        impl Visit for All {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut all = All(String::new());
        event.record(&mut all);
        self.0.lock().push(all.0.trim_end().to_owned());
    }
}

fn limited(work: impl FnOnce(&LogRateLimit, &PassedLines)) {
    let (limit, lines) = (LogRateLimit::new(), PassedLines::default());
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
fn causes_of_one_callsite_are_limited_separately_up_to_a_maximum() {
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
        assert_eq!(lines.take().len(), MAX_CAUSES - 2);
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
fn debug_lines_and_other_callsites_are_not_limited() {
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
fn a_new_cause_takes_the_slot_of_an_idle_one() {
    let causes = Causes::default();
    assert!((1..=MAX_CAUSES as u64).all(|key| causes.find_or_claim(key, 1).is_some()));
    causes.0.iter().for_each(|cause| cause.last_passed.store(1, Ordering::Relaxed));
    assert!(causes.find_or_claim(1, 500).is_some() && causes.find_or_claim(99, 500).is_none());
    assert!(causes.find_or_claim(99, 1001).is_some_and(|cause| std::ptr::eq(cause, &causes.0[0])));
    causes.0.iter().for_each(|cause| cause.suppressed.store(1, Ordering::Relaxed));
    assert!(causes.find_or_claim(100, 9999).is_none(), "what was not counted in the log yet is kept");
    assert!(interval_is_over(0, 1) && interval_is_over(1, 1001) && !interval_is_over(1, 1000));
}
