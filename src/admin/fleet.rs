//! The fleet on the dashboard: last report of each replica, its rates, and replicas that are
//! silent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::{millis, rounded, seconds};
use crate::cache::clock::Moment;
use crate::cache::fleet::replica::FleetReplica;

/// Most summaries of a replica that its rates span.
const MAX_SUMMARIES: usize = 4;
/// Least distance of two summaries: less is one that was read twice.
const APART: Duration = Duration::from_millis(500);
/// Age from which a summary gives no current rates.
const OLD: Duration = Duration::from_secs(20);
/// Time for which a silent replica is shown.
const SHOWN: Duration = Duration::from_secs(600);
/// Most replicas that are shown.
const MOST: usize = 300;

/// Known replicas.
#[derive(Default)]
pub struct FleetView {
    /// Replicas of the last query.
    heard: Vec<FleetReplica>,
    known: BTreeMap<String, Known>,
}

/// One replica.
struct Known {
    last: FleetReplica,
    /// Time of its last summary.
    at: Moment,
    /// Its last summaries, the oldest first.
    counts: VecDeque<Counts>,
}

#[derive(Clone, Copy)]
struct Counts {
    at: Moment,
    gets: [u64; 4],
    writes: u64,
}

/// Rates of a replica, per second.
#[derive(Debug, Default, PartialEq)]
struct Rates {
    gets: [f64; 4],
    writes: f64,
}

// === impl FleetView ===

impl FleetView {
    /// Returns the replicas of the last query.
    pub fn replicas(&self) -> &[FleetReplica] {
        &self.heard
    }

    /// Adds the result of a query at `now`.
    pub fn take(&mut self, heard: Vec<FleetReplica>, now: Moment) {
        for replica in &heard {
            let at = now.minus(replica.age);
            let known = self.known.entry(replica.id.clone()).or_insert_with(|| Known {
                last: replica.clone(),
                at,
                counts: VecDeque::new(),
            });
            known.add(replica, at);
        }
        self.known.retain(|_, known| now.since(known.at) < SHOWN);
        while self.known.len() > MOST {
            let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.at).map(|(id, _)| id.clone()) else {
                break;
            };
            self.known.remove(&oldest);
        }
        self.heard = heard;
    }

    /// Returns a row for each replica, by identity. The proof of `own` is newer here than in its
    /// report.
    pub fn rows(&self, own: &str, own_proof: Option<Duration>, now: Moment) -> Value {
        let rows = self.known.values().map(|known| known.row(own, own_proof, self.is_heard(&known.last.id), now));
        json!(rows.collect::<Vec<_>>())
    }

    fn is_heard(&self, id: &str) -> bool {
        self.heard.iter().any(|replica| replica.id == id)
    }
}

// === impl Known ===

impl Known {
    fn add(&mut self, replica: &FleetReplica, at: Moment) {
        (self.last, self.at) = (replica.clone(), at);
        self.counts.retain(|counts| at.since(counts.at) < OLD);
        if self.counts.back().is_some_and(|last| at.since(last.at) < APART) {
            return;
        }
        if self.counts.len() == MAX_SUMMARIES {
            self.counts.pop_front();
        }
        self.counts.push_back(Counts { at, gets: replica.gets, writes: replica.writes });
    }

    /// Returns its rates; `None` if too little is known.
    fn rates(&self) -> Option<Rates> {
        let (first, last) = (self.counts.front()?, self.counts.back()?);
        let seconds = last.at.since(first.at).as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        (seconds > 0.0).then(|| Rates {
            gets: std::array::from_fn(|i| rate(last.gets[i], first.gets[i])),
            writes: rate(last.writes, first.writes),
        })
    }

    fn row(&self, own: &str, own_proof: Option<Duration>, heard: bool, now: Moment) -> Value {
        let (replica, is_own) = (&self.last, self.last.id == own);
        let rates = self.rates().filter(|_| heard);
        let [l1, l2, stale, miss] = rates.as_ref().map_or([0.0; 4], |rates| rates.gets).map(rounded);
        let age = if is_own { Duration::ZERO } else { now.since(self.at) };
        let [entries, bytes, limit] = replica.l1;
        json!({
            "id": replica.id, "version": replica.version, "own": is_own, "heard": heard, "age": seconds(age),
            "state": replica.state, "started": replica.started.map(millis),
            "proof_age": if is_own { own_proof } else { replica.audit_age }.map(seconds),
            "gets": rates.as_ref().map(|_| json!({ "l1": l1, "l2": l2, "stale": stale, "miss": miss })),
            "writes": rates.as_ref().map(|rates| rounded(rates.writes)),
            "l1": { "entries": entries, "bytes": bytes, "limit": limit },
            "lag_p99": replica.lag_p99.map(|lag| (lag.as_secs_f64() * 1e7).round() / 10.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(1).plus(Duration::from_secs(seconds))
    }

    fn replica(id: &str, misses: u64, age: u64) -> FleetReplica {
        FleetReplica {
            id: id.to_owned(),
            age: Duration::from_secs(age),
            gets: [0, 0, 0, misses],
            state: "serving".to_owned(),
            ..FleetReplica::default()
        }
    }

    fn misses(view: &FleetView, now: u64, id: &str) -> Value {
        let rows = view.rows("own", None, at(now));
        let row = rows.as_array().expect("rows").iter().find(|row| row["id"] == id).expect("a row").clone();
        row["gets"]["miss"].clone()
    }

    #[test]
    fn rates_are_computed_from_summaries_of_different_times() {
        let mut view = FleetView::default();
        view.take(vec![replica("a", 100, 1)], at(50));
        assert_eq!(misses(&view, 50, "a"), Value::Null, "one summary has no rate");
        // Read again: the same summary, a second older.
        view.take(vec![replica("a", 100, 2)], at(51));
        assert_eq!(misses(&view, 51, "a"), Value::Null);
        view.take(vec![replica("a", 140, 0)], at(53));
        assert_eq!(misses(&view, 53, "a"), json!(10.0));
        // It restarted its counts: no rate is below 0.
        view.take(vec![replica("a", 0, 0)], at(55));
        assert_eq!(misses(&view, 55, "a"), json!(0.0));
    }

    #[test]
    fn a_replica_that_is_silent_is_shown_so_and_forgotten_in_the_end() {
        let mut view = FleetView::default();
        view.take(vec![replica("a", 0, 0), replica("own", 0, 0)], at(50));
        view.take(vec![replica("own", 5, 0)], at(100));
        let rows = view.rows("own", None, at(100));
        assert_eq!((&rows[0]["heard"], &rows[0]["age"], &rows[0]["gets"]), (&json!(false), &json!(50.0), &Value::Null));
        assert_eq!((&rows[1]["heard"], &rows[1]["own"]), (&json!(true), &json!(true)));
        assert_eq!(view.replicas().len(), 1);
        view.take(vec![replica("own", 5, 0)], at(700));
        assert_eq!(view.rows("own", None, at(700)).as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut view = FleetView::default();
        let fleet = |from: usize| (from..from + 200).map(|n| replica(&format!("{n:04}"), 0, 0)).collect::<Vec<_>>();
        view.take(fleet(0), at(50));
        view.take(fleet(200), at(60));
        assert_eq!(view.known.len(), MOST);
        assert!(fleet(200).iter().all(|replica| view.known.contains_key(&replica.id)), "the latest are kept");
    }
}
