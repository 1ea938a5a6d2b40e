use super::*;
use crate::cache::clock::ManualClock;

/// Captures what is written.
#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `work` logs at this level and above.
fn logged(level: tracing::Level, work: impl FnOnce(&PrimaryHealth)) -> Vec<String> {
    let written = CapturedLog::default();
    let writer = {
        let written = written.clone();
        move || written.clone()
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(writer);
    tracing::subscriber::with_default(subscriber.finish(), || {
        let health = RedisHealth::new(Arc::new(ManualClock::default()));
        work(&health.primary(&Address::Tcp { host: "redis".into(), port: 1 }, 2));
    });
    let bytes = written.0.lock().clone();
    String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn an_outage_is_one_warning() {
    let work = |primary: &PrimaryHealth| {
        primary.commands_work(0, "7");
        primary.commands_work(1, "7");
        primary.subscription_works();
        primary.subscription_fails("reset");
        primary.commands_fail(0, "reset");
        primary.commands_fail(1, "reset");
        primary.commands_fail(0, "refused");
        primary.subscription_fails("refused");
        primary.commands_fail(1, "refused");
        primary.subscription_fails("refused");
    };
    let warnings = logged(tracing::Level::WARN, work);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("commands do not work") && warnings[0].contains("reset"), "{warnings:?}");
    let all = logged(tracing::Level::INFO, work);
    assert!(all.iter().any(|line| line.contains("still do not work") && line.contains("refused")), "{all:?}");
}

#[test]
fn a_subscription_that_cannot_be_renewed_is_one_warning() {
    let warnings = logged(tracing::Level::WARN, |primary| {
        primary.commands_work(0, "7");
        primary.subscription_fails("reset");
        primary.subscription_works();
        // Only from the second attempt on: the first one may succeed.
        for why in ["reset", "no echo", "refused", "no echo"] {
            primary.subscription_fails(why);
        }
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("subscription not proven") && warnings[0].contains("no echo"), "{warnings:?}");
}

#[test]
fn a_redis_that_was_never_there_is_one_warning() {
    let warnings = logged(tracing::Level::WARN, |primary| {
        for why in ["refused", "refused", "no such host"] {
            primary.subscription_fails(why);
            primary.commands_fail(0, why);
            primary.commands_fail(1, why);
        }
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}
