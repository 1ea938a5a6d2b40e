//! The log level of this replica, which can be changed temporarily and reverts by itself.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::Level;

use super::convert::to_wire;
use crate::cache::error::{CacheError, Violation};
use crate::cache::log_fields::millis;
use crate::pb;
use crate::sync::Mutex;

/// Parses a filter, or returns the rule that it breaks.
pub type ReadFilter = Arc<dyn Fn(&str) -> Result<PutInForce, String> + Send + Sync>;
/// Applies a parsed filter to the log.
pub type PutInForce = Box<dyn FnOnce() + Send>;

/// The log level and its temporary change.
pub struct LogLevel {
    configured: String,
    read: ReadFilter,
    changed: Mutex<Option<Changed>>,
}

/// A temporary level.
struct Changed {
    level: String,
    expires_at: Instant,
    /// The task that reverts to the configured level.
    _revert: AbortOnDropHandle<()>,
}

// === impl LogLevel ===

impl LogLevel {
    /// Creates a log level. It is `configured` until it is changed to a filter that `read` accepts.
    pub fn new(configured: String, read: ReadFilter) -> Arc<LogLevel> {
        Arc::new(LogLevel { configured, read, changed: Mutex::default() })
    }

    /// Changes the level for `lasts`. Replaces an earlier change.
    pub fn change(self: &Arc<Self>, level: &str, lasts: Duration) -> Result<(), CacheError> {
        let new = (self.read)(level).map_err(|rule| Violation::new("level", rule))?;
        let mut changed = self.changed();
        apply(new, || {
            let (lasts_ms, configured) = (millis(lasts), self.configured.as_str());
            tracing::warn!(level, lasts_ms, configured, "log level changed temporarily");
        });
        let (expires_at, this) = (Instant::now() + lasts, Arc::downgrade(self));
        let back = tokio::spawn(async move {
            sleep_until(expires_at).await;
            if let Some(this) = this.upgrade() {
                this.end(expires_at);
            }
        });
        *changed = Some(Changed { level: level.to_owned(), expires_at, _revert: AbortOnDropHandle::new(back) });
        Ok(())
    }

    /// Reverts to the configured level.
    pub fn reset(&self) {
        if self.changed().take().is_some() {
            self.revert();
        }
    }

    /// Returns the level in force.
    pub fn in_force(&self) -> pb::SetLogLevelResponse {
        let changed = self.changed();
        // Whole seconds are precise enough.
        let left = |changed: &Changed| {
            let left = changed.expires_at.saturating_duration_since(Instant::now());
            to_wire(Duration::from_secs(left.as_secs_f64().ceil() as u64))
        };
        pb::SetLogLevelResponse {
            level: changed.as_ref().map_or(&self.configured, |changed| &changed.level).clone(),
            configured_level: self.configured.clone(),
            left: changed.as_ref().map(left),
        }
    }

    /// Ends the change that expires at `expires_at`, unless another replaced it.
    fn end(&self, expires_at: Instant) {
        let mut changed = self.changed();
        if changed.as_ref().is_some_and(|changed| changed.expires_at == expires_at) {
            self.revert();
            // This drops and so aborts the running task: it must be the last step.
            *changed = None;
        }
    }

    fn revert(&self) {
        // It was in force when the service started, so it is valid.
        if let Ok(configured) = (self.read)(&self.configured) {
            apply(configured, || {
                tracing::warn!(level = self.configured, "log level restored");
            });
        }
    }

    fn changed(&self) -> MutexGuard<'_, Option<Changed>> {
        self.changed.lock()
    }
}

/// Changes the filter and logs a line: before the change if the old filter passes it, else after.
fn apply(new: PutInForce, line: impl FnOnce()) {
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

    /// A level, and the filters that were applied.
    fn world() -> (Arc<LogLevel>, Arc<Mutex<Vec<String>>>) {
        let in_force = Arc::new(Mutex::new(Vec::new()));
        let log = in_force.clone();
        let read: ReadFilter = Arc::new(move |level: &str| {
            let (log, level) = (log.clone(), level.to_owned());
            match level.as_str() {
                "loud" => Err("must be a level; was loud".to_owned()),
                _ => Ok(Box::new(move || log.lock().push(level))),
            }
        });
        (LogLevel::new("info".to_owned(), read), in_force)
    }

    fn taken(in_force: &Mutex<Vec<String>>) -> Vec<String> {
        std::mem::take(&mut in_force.lock())
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_expires_and_replaces_an_earlier_one() {
        let (level, in_force) = world();
        level.change("debug", Duration::from_secs(60)).expect("a level");
        tokio::time::sleep(Duration::from_secs(50)).await;
        level.change("trace", Duration::from_secs(60)).expect("a level");
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(taken(&in_force), ["debug", "trace"]);
        let now = level.in_force();
        assert_eq!((now.level.as_str(), now.configured_level.as_str()), ("trace", "info"));
        assert_eq!(now.left.map(|left| left.seconds), Some(10));
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(taken(&in_force), ["info"]);
        assert_eq!((level.in_force().level.as_str(), level.in_force().left), ("info", None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_can_be_reset_and_an_invalid_one_has_no_effect() {
        let (level, in_force) = world();
        level.change("debug", Duration::from_secs(60)).expect("a level");
        let Err(CacheError::Invalid(violations)) = level.change("loud", Duration::from_secs(60)) else {
            panic!("taken")
        };
        assert_eq!(violations.named()[0].field, "level");
        assert_eq!(level.in_force().level, "debug");
        level.reset();
        level.reset();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(taken(&in_force), ["debug", "info"]);
    }
}
