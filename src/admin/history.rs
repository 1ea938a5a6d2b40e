//! The last five minutes, a point a second: rates and latencies of the replica, and of the namespaces with the most traffic.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::sample::{Gets, NamespaceSample, Sample};
use crate::cache::stats::Snapshot;

/// Points that are kept.
pub const LENGTH: usize = 300;
/// Namespaces told apart; the others are summed up.
pub const NAMESPACES: usize = 20;
/// What of a namespace's traffic is remembered a second later: the order of the table changes slowly.
const MEMORY: f64 = 0.97;

/// What a point says, in this order. Rates are a second, latencies in microseconds; null where nothing was observed.
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

/// Points, and what they were made of last.
#[derive(Default)]
pub struct History {
    points: VecDeque<[Option<f64>; FIELDS.len()]>,
    namespaces: BTreeMap<String, Series>,
}

/// The Gets of one namespace, a point a second, by what they were answered with.
#[derive(Default)]
struct Series {
    points: VecDeque<[f32; 4]>,
    traffic: f64,
}

// === impl History ===

impl History {
    /// Adds what happened from `before` to `now`.
    pub fn add(&mut self, before: &Sample, now: &Sample) {
        let seconds = now.seconds_since(before).max(0.001);
        if self.points.len() == LENGTH {
            self.points.pop_front();
        }
        self.points.push_back(point(before, now, seconds));
        for namespace in &now.namespaces {
            let lately = namespace.since(&before.namespace(&namespace.name));
            let series = self.namespaces.entry(namespace.name.clone()).or_default();
            series.traffic = series.traffic * MEMORY + traffic(&lately) as f64;
            series.add(lately.gets, seconds);
        }
        let least = self.ranked().get(NAMESPACES - 1).map(|(_, traffic)| *traffic);
        // A namespace that falls out keeps its place in the ranking, and no more.
        if let Some(least) = least {
            let minor = self.namespaces.values_mut().filter(|series| series.traffic < least);
            minor.for_each(|series| series.points = VecDeque::new());
        }
    }

    /// The namespaces with the most traffic, the busiest first.
    pub fn busiest(&self) -> Vec<&str> {
        self.ranked().into_iter().take(NAMESPACES).map(|(name, _)| name).collect()
    }

    /// What the slowest hundredth of Redis' answers took, in the median of all but the latest points.
    pub fn usual_redis(&self) -> Option<Duration> {
        let earlier = self.points.len().saturating_sub(15);
        let mut known: Vec<f64> = self.points.iter().take(earlier).filter_map(|point| point[REDIS_P99]).collect();
        known.sort_by(f64::total_cmp);
        (known.len() >= 10).then(|| Duration::from_secs_f64(known[known.len() / 2] / 1e6))
    }

    /// The latest point.
    pub fn latest(&self) -> Value {
        self.points.back().map_or(Value::Null, |point| json!(point))
    }

    /// All points.
    pub fn points(&self) -> Value {
        json!(self.points)
    }

    /// The Gets of the busiest namespaces, by name.
    pub fn namespaces(&self) -> Value {
        let series = |name: &&str| ((*name).to_owned(), json!(self.namespaces[*name].points));
        Value::Object(self.busiest().iter().map(series).collect())
    }

    fn ranked(&self) -> Vec<(&str, f64)> {
        let mut ranked: Vec<_> = self.namespaces.iter().map(|(name, series)| (name.as_str(), series.traffic)).collect();
        // Of two that are equal the first by name, so that the table stands still.
        ranked.sort_by(|one, other| other.1.total_cmp(&one.1));
        ranked
    }
}

// === impl Series ===

impl Series {
    fn add(&mut self, gets: Gets, seconds: f64) {
        if self.points.len() == LENGTH {
            self.points.pop_front();
        }
        let rate = |count: u64| (count as f64 / seconds * 10.0).round() as f32 / 10.0;
        self.points.push_back([rate(gets.l1), rate(gets.l2), rate(gets.stale), rate(gets.miss)]);
    }
}

fn traffic(lately: &NamespaceSample) -> u64 {
    lately.gets.all() + lately.sets + lately.invalidations
}

fn point(before: &Sample, now: &Sample, seconds: f64) -> [Option<f64>; FIELDS.len()] {
    let gets = now.gets().since(before.gets());
    let latencies = now.latencies.since(&before.latencies);
    let rate = |now: u64, before: u64| Some((now.saturating_sub(before) as f64 / seconds * 100.0).round() / 100.0);
    let summed = |count: fn(&NamespaceSample) -> u64| rate(now.sum(count), before.sum(count));
    [
        Some(now.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64),
        rate(gets.l1, 0),
        rate(gets.l2, 0),
        rate(gets.stale, 0),
        rate(gets.miss, 0),
        summed(|namespace| namespace.sets),
        summed(|namespace| namespace.invalidations),
        rate(now.coherence.applied + now.coherence.own, before.coherence.applied + before.coherence.own),
        summed(|namespace| namespace.coalesced),
        rate(now.leases.waited, before.leases.waited),
        rate(now.l1.evicted_size, before.l1.evicted_size),
        rate(now.l1.evicted_expired, before.l1.evicted_expired),
        Some(now.l1.bytes as f64),
        micros(&latencies.l1, 0.5),
        micros(&latencies.l1, 0.99),
        micros(&latencies.l2, 0.5),
        micros(&latencies.l2, 0.99),
        micros(&latencies.miss, 0.99),
        micros(&latencies.redis, 0.99),
        now.coherence.proof_age.map(|age| (age.as_secs_f64() * 1000.0).round() / 1000.0),
    ]
}

/// A quantile in microseconds; none when nothing was observed.
pub fn micros(snapshot: &Snapshot, q: f64) -> Option<f64> {
    (snapshot.count > 0).then(|| (snapshot.quantile(q).as_secs_f64() * 1e7).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::stats::Histogram;

    /// `count` namespaces after so many seconds; the one with number n has had n Gets a second, all misses.
    fn sample(seconds: u64, count: u64) -> Sample {
        let namespace = |n| NamespaceSample {
            name: format!("n{n:02}"),
            gets: Gets { miss: n * seconds, ..Gets::default() },
            ..NamespaceSample::default()
        };
        Sample { namespaces: (0..count).map(namespace).collect(), ..Sample::quiet(seconds) }
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
        assert_eq!((busiest.len(), busiest[0], busiest[19]), (NAMESPACES, "n24", "n05"));
        let kept = history.namespaces();
        assert_eq!(kept["n24"].as_array().map(Vec::len), Some(LENGTH));
        assert_eq!(kept["n24"][0], json!([0.0, 0.0, 0.0, 24.0]));
        assert!(kept.get("n04").is_none() && history.namespaces["n04"].points.is_empty());
    }

    #[test]
    fn what_is_usual_is_not_moved_by_the_last_seconds() {
        let histogram = Histogram::default();
        let mut history = History::default();
        let mut before = Sample::quiet(0);
        for second in 1..=60 {
            let slow = second > 50;
            histogram.observe(Duration::from_millis(if slow { 500 } else { 1 }));
            let mut now = Sample::quiet(second);
            now.latencies.redis = histogram.snapshot();
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
