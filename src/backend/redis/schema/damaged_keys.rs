//! Log of keys of this service that held foreign data: scripts delete them.

use std::time::Duration;

use fred::types::Value;

use crate::cache::clock::Moment;
use crate::sync::Mutex;

/// Shortest time between two lines in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Number of names in one line, and bytes of each.
const LISTED_NAMES: (usize, usize) = (8, 200);

/// Names repaired since the last line in the log.
#[derive(Default)]
pub struct DamagedKeys(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    logged_at: Option<Moment>,
    count: usize,
    names: Vec<String>,
}

// === impl DamagedKeys ===

impl DamagedKeys {
    /// Logs the `names` that a script deleted, at most one line a second.
    ///
    /// Names that are not logged now are counted in the next line.
    pub fn repaired(&self, names: &Value, now: Moment) {
        let Value::Array(names) = names else { return };
        if let Some((count, names)) = self.add(names, now) {
            let names = names.join(", ");
            tracing::warn!(count, names, "redis: deleted keys that held foreign data");
        }
    }

    fn add(&self, names: &[Value], now: Moment) -> Option<(usize, Vec<String>)> {
        let mut pending = self.0.lock();
        pending.count += names.len();
        let room = LISTED_NAMES.0.saturating_sub(pending.names.len());
        let listed = names.iter().filter_map(Value::as_bytes).take(room);
        let listed = listed.map(|name| String::from_utf8_lossy(&name[..name.len().min(LISTED_NAMES.1)]).into_owned());
        pending.names.extend(listed);
        if pending.logged_at.is_some_and(|at| now.since(at) < LOG_INTERVAL) {
            return None;
        }
        pending.logged_at = Some(now);
        Some((std::mem::take(&mut pending.count), std::mem::take(&mut pending.names)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_all_and_lists_some() {
        let damages = DamagedKeys::default();
        let names = |name: &str| vec![Value::from(name); 5];
        let at = |millis| Moment(1).plus(Duration::from_millis(millis));
        let first = damages.add(&names("a"), at(0)).expect("the first is logged");
        assert_eq!(first, (5, vec!["a".to_owned(); 5]));
        assert_eq!(damages.add(&names("b"), at(1)), None);
        let (count, listed) = damages.add(&names(&"c".repeat(1000)), at(1001)).expect("a second has passed");
        assert_eq!((count, listed.len()), (10, LISTED_NAMES.0));
        assert!(listed.iter().all(|name| name.len() <= LISTED_NAMES.1));
    }
}
