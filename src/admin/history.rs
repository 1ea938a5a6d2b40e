//! Last five minutes, a point per second: rates and latencies of the replica and its busiest
//! namespaces.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::cache::fleet::report::ReplicaReport;
use crate::cache::stats::{Gets, Snapshot};

/// Number of points.
pub const LENGTH: usize = 300;
/// Namespaces with points of their own; the others are summed.
pub const NAMESPACES: usize = 20;
/// Weight of past traffic after a second: the order of the table changes slowly.
const MEMORY: f64 = 0.97;
/// Traffic below this counts as none.
const LEAST: f64 = 1e-6;

/// Fields of a point, in this order. Rates are per second, latencies in microseconds; null if
/// nothing was observed.
pub const FIELDS: [&str; 20] = [
    "t",
    "l1",
    "l2",
    "stale",
    "miss",
    "sets",
    "invalidations",
    "messages",
    "coalesced",
    "waited",
    "evicted",
    "expired",
    "memory",
    "l1_p50",
    "l1_p99",
    "l2_p50",
    "l2_p99",
    "miss_p99",
    "redis_p99",
    "proof_age",
];
const REDIS_P99: usize = 18;

/// Points, and the traffic of namespaces.
#[derive(Default)]
pub struct History {
    points: VecDeque<[Option<f64>; FIELDS.len()]>,
    /// Traffic of every namespace that was used.
    traffic: BTreeMap<String, f64>,
    /// Names of the busiest namespaces, the busiest first.
    busiest: Vec<String>,
    /// Points of the busiest namespaces only.
    series: BTreeMap<String, GetSeries>,
}

/// Gets of one namespace by result, a point per second.
#[derive(Default)]
struct GetSeries(VecDeque<[f32; 4]>);

// === impl History ===

impl History {
    /// Adds what happened from `before` to `now`.
    pub fn add(&mut self, before: &ReplicaReport, now: &ReplicaReport) {
        let (lately, seconds) = (now.since(before), now.seconds_since(before));
        if self.points.len() == LENGTH {
            self.points.pop_front();
        }
        self.points.push_back(point(&lately, seconds));
        self.count(&lately);
        self.busiest = self.ranked();
        self.series.retain(|name, _| self.busiest.contains(name));
        for name in &self.busiest {
            let gets = lately.namespace(name).map_or(Gets::default(), |namespace| namespace.counts.gets());
            self.series.entry(name.clone()).or_default().add(gets, seconds);
        }
    }

    /// Returns the busiest namespaces, the busiest first.
    pub fn busiest(&self) -> &[String] {
        &self.busiest
    }

    /// Returns the usual p99 of Redis: the median of all but the latest points.
    pub fn usual_redis(&self) -> Option<Duration> {
        let earlier = self.points.len().saturating_sub(15);
        let mut known: Vec<f64> = self.points.iter().take(earlier).filter_map(|point| point[REDIS_P99]).collect();
        known.sort_by(f64::total_cmp);
        (known.len() >= 10).then(|| Duration::from_secs_f64(known[known.len() / 2] / 1e6))
    }

    /// Returns the latest point.
    pub fn latest(&self) -> Value {
        self.points.back().map_or(Value::Null, |point| json!(point))
    }

    /// Returns all points.
    pub fn points(&self) -> Value {
        json!(self.points)
    }

    /// Returns the Gets of the busiest namespaces, by name.
    pub fn namespaces(&self) -> Value {
        Value::Object(self.series.iter().map(|(name, series)| (name.clone(), json!(series.0))).collect())
    }

    fn count(&mut self, lately: &ReplicaReport) {
        for namespace in &lately.namespaces {
            let calls = namespace.counts.calls() as f64;
            match self.traffic.get_mut(&namespace.name) {
                Some(traffic) => *traffic = remembered(*traffic) + calls,
                None => drop(self.traffic.insert(namespace.name.clone(), calls)),
            }
        }
    }

    fn ranked(&self) -> Vec<String> {
        let mut all: Vec<_> = self.traffic.iter().collect();
        // Ties are ordered by name, so that the table does not flicker.
        let order =
            |one: &(&String, &f64), other: &(&String, &f64)| other.1.total_cmp(one.1).then_with(|| one.0.cmp(other.0));
        if all.len() > NAMESPACES {
            all.select_nth_unstable_by(NAMESPACES, order);
            all.truncate(NAMESPACES);
        }
        all.sort_unstable_by(order);
        all.into_iter().map(|(name, _)| name.clone()).collect()
    }
}

// === impl Series ===

impl GetSeries {
    fn add(&mut self, gets: Gets, seconds: f64) {
        if self.0.len() == LENGTH {
            self.0.pop_front();
        }
        let rate = |count: u64| (count as f64 / seconds * 10.0).round() as f32 / 10.0;
        self.0.push_back([rate(gets.l1), rate(gets.l2), rate(gets.stale), rate(gets.miss)]);
    }
}

/// Decays traffic by one second.
fn remembered(traffic: f64) -> f64 {
    let left = traffic * MEMORY;
    if left < LEAST { 0.0 } else { left }
}

fn point(lately: &ReplicaReport, seconds: f64) -> [Option<f64>; FIELDS.len()] {
    let (latencies, coherence) = (&lately.latencies, &lately.coherence);
    let total = lately.total();
    let gets = total.gets();
    let rate = |count: u64| Some((count as f64 / seconds * 100.0).round() / 100.0);
    [
        Some(lately.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64),
        rate(gets.l1),
        rate(gets.l2),
        rate(gets.stale),
        rate(gets.miss),
        rate(total.sets_stored),
        rate(total.invalidations),
        rate(coherence.counts.messages()),
        rate(total.coalesced),
        rate(lately.leases.waited()),
        rate(lately.l1.counts.evicted_size),
        rate(lately.l1.counts.evicted_expired),
        Some(lately.l1.bytes as f64),
        micros(&latencies.get_l1, 0.5),
        micros(&latencies.get_l1, 0.99),
        micros(&latencies.get_l2, 0.5),
        micros(&latencies.get_l2, 0.99),
        micros(&latencies.get_miss, 0.99),
        micros(&latencies.l2(), 0.99),
        coherence.proof_age.map(|age| (age.as_secs_f64() * 1000.0).round() / 1000.0),
    ]
}

/// Returns a quantile in microseconds; `None` if nothing was observed.
pub fn micros(snapshot: &Snapshot, q: f64) -> Option<f64> {
    (snapshot.count > 0).then(|| (snapshot.quantile(q).as_secs_f64() * 1e7).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fleet::report::NamespaceReport;
    use crate::cache::stats::{Histogram, NamespaceCounts};

    /// `count` namespaces after so many seconds; the one with number n has had n Gets a second, all misses.
    fn sample(seconds: u64, count: u64) -> ReplicaReport {
        let namespace = |n| NamespaceReport {
            name: format!("n{n:02}"),
            counts: NamespaceCounts { misses: n * seconds, ..NamespaceCounts::default() },
            ..NamespaceReport::default()
        };
        ReplicaReport { namespaces: (0..count).map(namespace).collect(), ..ReplicaReport::quiet(seconds) }
    }

    fn history(seconds: u64, count: u64) -> History {
        let mut history = History::default();
        (0..seconds).for_each(|second| history.add(&sample(second, count), &sample(second + 1, count)));
        history
    }

    #[test]
    fn a_point_says_rates_and_what_was_not_observed_is_null() {
        let point = history(3, 5).latest();
        let place = |field| FIELDS.iter().position(|known| *known == field).expect("a field");
        assert_eq!(point[place("t")], json!(3000.0));
        assert_eq!(point[place("miss")], json!(10.0));
        assert_eq!(point[place("proof_age")], json!(0.4));
        assert_eq!((&point[place("l1")], &point[place("l1_p99")]), (&json!(0.0), &Value::Null));
    }

    #[test]
    fn the_last_minutes_of_the_busiest_namespaces_are_kept_and_no_more() {
        let history = history(LENGTH as u64 + 7, 25);
        assert_eq!(history.points().as_array().map(Vec::len), Some(LENGTH));
        let busiest = history.busiest();
        assert_eq!((busiest.len(), busiest[0].as_str(), busiest[19].as_str()), (NAMESPACES, "n24", "n05"));
        let kept = history.namespaces();
        assert_eq!(kept["n24"].as_array().map(Vec::len), Some(LENGTH));
        assert_eq!(kept["n24"][0], json!([0.0, 0.0, 0.0, 24.0]));
        assert!(kept.get("n04").is_none() && history.series.len() == NAMESPACES);
    }

    #[test]
    fn of_many_that_are_equally_busy_no_more_keep_points() {
        let equal = |seconds: u64| {
            let mut sample = sample(seconds, 1000);
            sample.namespaces.iter_mut().for_each(|namespace| namespace.counts.misses = seconds.min(10));
            sample.namespaces.sort_by(|one, other| one.name.cmp(&other.name));
            sample
        };
        let mut history = History::default();
        for second in 0..30 {
            history.add(&equal(second), &equal(second + 1));
            assert_eq!((history.series.len(), history.busiest().len()), (NAMESPACES, NAMESPACES));
        }
        let first = equal(1).namespaces.into_iter().map(|namespace| namespace.name).take(NAMESPACES);
        assert_eq!(history.busiest(), first.collect::<Vec<_>>());
        assert_eq!((remembered(LEAST), remembered(1.0)), (0.0, MEMORY), "what is long ago is forgotten");
    }

    #[test]
    fn what_is_usual_is_not_moved_by_the_last_seconds() {
        let histogram = Histogram::default();
        let mut history = History::default();
        let mut before = ReplicaReport::quiet(0);
        for second in 1..=60 {
            let slow = second > 50;
            histogram.observe(Duration::from_millis(if slow { 500 } else { 1 }));
            let mut now = ReplicaReport::quiet(second);
            now.latencies.l2_read = histogram.snapshot();
            history.add(&before, &now);
            before = now;
            if second == 20 {
                assert_eq!(history.usual_redis(), None, "too little is known");
            }
        }
        let usual = history.usual_redis().expect("known");
        assert!(usual < Duration::from_millis(2), "{usual:?}");
    }
}
