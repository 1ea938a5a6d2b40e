//! The level of this replica's log, as it can be changed for a while: it returns to the configured one by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::Level;

use super::convert::to_wire;
use crate::cache::error::{CacheError, Violation};
use crate::cache::log_fields::millis;
use crate::pb;

/// Reads a filter, or says which rule it breaks.
pub type ReadFilter = Arc<dyn Fn(&str) -> Result<PutInForce, String> + Send + Sync>;
/// Lets the log say what a filter lets through.
pub type PutInForce = Box<dyn FnOnce() + Send>;

/// The level of the log.
pub struct LogLevel {
    configured: String,
    read: ReadFilter,
    changed: Mutex<Option<Changed>>,
}

/// A level that is not the configured one.
struct Changed {
    level: String,
    until: Instant,
    /// Returns to the configured level.
    _return: AbortOnDropHandle<()>,
}

// === impl LogLevel ===

impl LogLevel {
    /// The level is `configured` and can be changed to what `read` takes.
    pub fn new(configured: String, read: ReadFilter) -> Arc<LogLevel> {
        Arc::new(LogLevel { configured, read, changed: Mutex::default() })
    }

    /// Changes the level for so long. A change that is in force already ends.
    pub fn change(self: &Arc<Self>, level: &str, lasts: Duration) -> Result<(), CacheError> {
        let new = (self.read)(level).map_err(|rule| Violation::new("level", rule))?;
        let mut changed = self.changed();
        put_in_force(new, || {
            let (lasts_ms, configured) = (millis(lasts), self.configured.as_str());
            tracing::warn!(level, lasts_ms, configured, "the log level is changed for a while");
        });
        let (until, this) = (Instant::now() + lasts, Arc::downgrade(self));
        let back = tokio::spawn(async move {
            sleep_until(until).await;
            if let Some(this) = this.upgrade() {
                this.end(until);
            }
        });
        *changed = Some(Changed { level: level.to_owned(), until, _return: AbortOnDropHandle::new(back) });
        Ok(())
    }

    /// Returns to the configured level at once.
    pub fn reset(&self) {
        if self.changed().take().is_some() {
            self.to_configured();
        }
    }

    /// Returns what is in force.
    pub fn told(&self) -> pb::SetLogLevelResponse {
        let changed = self.changed();
        // In whole seconds: nobody reads more.
        let left = |changed: &Changed| {
            let left = changed.until.saturating_duration_since(Instant::now());
            to_wire(Duration::from_secs(left.as_secs_f64().ceil() as u64))
        };
        pb::SetLogLevelResponse {
            level: changed.as_ref().map_or(&self.configured, |changed| &changed.level).clone(),
            configured_level: self.configured.clone(),
            left: changed.as_ref().map(left),
        }
    }

    /// The change that lasts until then is over, if no other has taken its place.
    fn end(&self, until: Instant) {
        let mut changed = self.changed();
        if changed.as_ref().is_some_and(|changed| changed.until == until) {
            self.to_configured();
            // Its own task: it may not be aborted before this is done.
            *changed = None;
        }
    }

    fn to_configured(&self) {
        // It was in force when the service began: it breaks no rule.
        if let Ok(configured) = (self.read)(&self.configured) {
            put_in_force(configured, || {
                tracing::warn!(level = self.configured, "the log level is the configured one again");
            });
        }
    }

    fn changed(&self) -> MutexGuard<'_, Option<Changed>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes the filter, and logs a line before if that lets it through, else after.
fn put_in_force(new: PutInForce, line: impl FnOnce()) {
    if tracing::enabled!(Level::WARN) {
        line();
        new();
    } else {
        new();
        line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A level, and the filters that were put in force.
    fn world() -> (Arc<LogLevel>, Arc<Mutex<Vec<String>>>) {
        let in_force = Arc::new(Mutex::new(Vec::new()));
        let log = in_force.clone();
        let read: ReadFilter = Arc::new(move |level: &str| {
            let (log, level) = (log.clone(), level.to_owned());
            match level.as_str() {
                "loud" => Err("must be a level; was loud".to_owned()),
                _ => Ok(Box::new(move || log.lock().expect("no panic").push(level))),
            }
        });
        (LogLevel::new("info".to_owned(), read), in_force)
    }

    fn taken(in_force: &Mutex<Vec<String>>) -> Vec<String> {
        std::mem::take(&mut in_force.lock().expect("no panic"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_ends_by_itself_and_takes_the_place_of_another() {
        let (level, in_force) = world();
        level.change("debug", Duration::from_secs(60)).expect("a level");
        tokio::time::sleep(Duration::from_secs(50)).await;
        level.change("trace", Duration::from_secs(60)).expect("a level");
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(taken(&in_force), ["debug", "trace"]);
        let told = level.told();
        assert_eq!((told.level.as_str(), told.configured_level.as_str()), ("trace", "info"));
        assert_eq!(told.left.map(|left| left.seconds), Some(10));
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(taken(&in_force), ["info"]);
        assert_eq!((level.told().level.as_str(), level.told().left), ("info", None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_can_be_taken_back_and_a_bad_one_changes_nothing() {
        let (level, in_force) = world();
        level.change("debug", Duration::from_secs(60)).expect("a level");
        let Err(CacheError::Invalid(violations)) = level.change("loud", Duration::from_secs(60)) else {
            panic!("taken")
        };
        assert_eq!(violations.named()[0].field, "level");
        assert_eq!(level.told().level, "debug");
        level.reset();
        level.reset();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(taken(&in_force), ["debug", "info"]);
    }
}
