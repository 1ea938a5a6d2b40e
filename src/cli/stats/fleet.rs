//! Fleet and warm start on a stats page.

use std::time::SystemTime;

use crate::cli::table;
use crate::cli::units::{count, duration, wire_duration};
use crate::pb;

/// Formats a row per replica that is counted in, for a request with `--fleet`.
pub(super) fn replicas(stats: &pb::StatsResponse, now: SystemTime) -> String {
    if stats.fleet.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = stats.fleet.iter().map(|replica| row(replica, now)).collect();
    let mut text = format!("\n{}", table::aligned(&["FLEET", "VERSION", "UP", "REPORTED", "PROOF"], &rows));
    let healthy = [pb::RedisState::Healthy, pb::RedisState::Disabled];
    if stats.redis.as_ref().is_some_and(|redis| !healthy.contains(&redis.state())) && stats.fleet.len() == 1 {
        text += "The others could not be asked for: of this replica alone.\n";
    }
    text
}

fn row(replica: &pb::FleetReplica, now: SystemTime) -> Vec<String> {
    let start = replica.start_time.and_then(|time| SystemTime::try_from(time).ok());
    let up = start.map_or_else(|| "-".to_owned(), |start| duration(now.duration_since(start).unwrap_or_default()));
    let reported = format!("{} ago", wire_duration(replica.age));
    vec![replica.id.clone(), replica.version.clone(), up, reported, wire_duration(replica.audit_age)]
}

/// Formats what was loaded before this replica was ready.
pub(super) fn warm_start(warm_start: &pb::WarmStartStats) -> (&'static str, String) {
    let late = if warm_start.timed_out { ", ended as its time was up" } else { "" };
    let text = format!(
        "{} of {} hot keys loaded in {}{late}",
        count(warm_start.loaded),
        count(warm_start.listed),
        wire_duration(warm_start.duration)
    );
    ("Warm start", text)
}

/// Formats the start of counting, unless it is the start of the replica.
pub(super) fn reset(time: prost_types::Timestamp, now: SystemTime) -> (&'static str, String) {
    let since = SystemTime::try_from(time).ok().and_then(|reset| now.duration_since(reset).ok());
    ("Counted", format!("since a reset {} ago", since.map_or_else(|| "-".to_owned(), duration)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_fleet_table_has_a_row_per_replica_and_reports_unknown_others() {
        let replica = pb::FleetReplica {
            id: "r1".into(),
            version: "0.1.0".into(),
            start_time: Some(prost_types::Timestamp { seconds: 40, nanos: 0 }),
            age: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            audit_age: None,
        };
        let mut stats = pb::StatsResponse { fleet: vec![replica], ..Default::default() };
        let page = |stats: &pb::StatsResponse| replicas(stats, UNIX_EPOCH + Duration::from_secs(100));
        assert_eq!(page(&stats), "\nFLEET  VERSION  UP  REPORTED  PROOF\nr1       0.1.0  1m   1 s ago      -\n");
        let state = pb::RedisState::Unavailable.into();
        stats.redis = Some(pb::RedisStats { state, ..Default::default() });
        assert!(page(&stats).ends_with("of this replica alone.\n"));
        assert_eq!(replicas(&pb::StatsResponse::default(), UNIX_EPOCH), "");
    }
}
