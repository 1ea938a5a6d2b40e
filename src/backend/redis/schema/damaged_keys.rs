//! Log of keys of this service that held foreign data: scripts delete them.

use fred::types::Value;

use super::log_interval::LogInterval;
use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// Number of names in one line, and bytes of each.
const LISTED_NAMES: (usize, usize) = (8, 200);

/// Names repaired since the last line in the log.
#[derive(Default)]
pub struct DamagedKeys {
    log: LogInterval,
    /// Some of the names.
    names: Mutex<Vec<String>>,
}

// === impl DamagedKeys ===

impl DamagedKeys {
    /// Logs the `names` that a script deleted, at most one line a minute.
    ///
    /// Names that are not logged now are counted in the next line.
    pub fn repaired(&self, names: &Value, now: Moment) {
        let Value::Array(names) = names else { return };
        if let Some((count, names)) = self.add(names, now) {
            let names = names.join(", ");
            tracing::warn!(count, names, "redis: deleted keys that held foreign data");
        }
    }

    fn add(&self, names: &[Value], now: Moment) -> Option<(u64, Vec<String>)> {
        let mut unlogged = self.names.lock();
        let room = LISTED_NAMES.0.saturating_sub(unlogged.len());
        let listed = names.iter().filter_map(Value::as_bytes).take(room);
        let listed = listed.map(|name| String::from_utf8_lossy(&name[..name.len().min(LISTED_NAMES.1)]).into_owned());
        unlogged.extend(listed);
        let count = self.log.add(names.len() as u64, now)?;
        Some((count, std::mem::take(&mut unlogged)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_line_a_minute_counts_all_and_lists_some() {
        let damages = DamagedKeys::default();
        let names = |name: &str| vec![Value::from(name); 5];
        let at = |seconds| Moment(1).plus(Duration::from_secs(seconds));
        let first = damages.add(&names("a"), at(0)).expect("the first is logged");
        assert_eq!(first, (5, vec!["a".to_owned(); 5]));
        assert_eq!(damages.add(&names("b"), at(1)), None);
        let (count, listed) = damages.add(&names(&"c".repeat(1000)), at(60)).expect("a minute has passed");
        assert_eq!((count, listed.len()), (10, LISTED_NAMES.0));
        assert!(listed.iter().all(|name| name.len() <= LISTED_NAMES.1));
    }
}
