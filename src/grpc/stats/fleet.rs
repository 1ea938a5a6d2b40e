//! Stats of the fleet: the sum of the summaries that replicas publish in the shared store.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use tokio::time::sleep;

use super::additive::Additive;
use super::messages::{self, was_used};
use crate::cache::clock::Moment;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::fleet::report::ReplicaReport;
use crate::cache::fleet::shared_store::ReplicaNote;
use crate::cache::stats::Snapshot;
use crate::grpc::convert::to_wire;
use crate::pb;

/// Interval at which a summary is published.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);
/// Age up to which a summary counts.
const SUMMARY_LIFETIME: Duration = Duration::from_secs(10);
/// Timeout for the shared store.
const SHARED_STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of summaries that the reported lag spans.
const LAG_WINDOW_SUMMARIES: usize = 6;
/// Maximum size of a summary. A larger one leaves out the least used namespaces.
const MAX_SUMMARY_BYTES: usize = 256 << 10;

/// Publishes a summary of this replica periodically, until it is dropped.
pub async fn publish_summaries(observed: &ReplicaHandles, counted: impl Fn() -> ReplicaReport) {
    let Some(board) = &observed.shared_store else { return };
    let mut lags = LagWindow::default();
    loop {
        let deadline = observed.clock.now().plus(SHARED_STORE_TIMEOUT);
        let mut report = counted();
        report.l2.bus_lag = lags.recent(&observed.l2.report().bus_lag);
        // A failure is ignored: the next summary follows soon.
        let _ = board
            .publish_note(summary(messages::response(&observed.replica, &report)), SUMMARY_LIFETIME, deadline)
            .await;
        sleep(SUMMARY_INTERVAL).await;
    }
}

/// Message lags at the last summaries, so that the reported lag is the recent one and not that
/// since the start.
#[derive(Default)]
struct LagWindow(VecDeque<Snapshot>);

impl LagWindow {
    /// Returns the observations since the oldest of the last summaries.
    fn recent(&mut self, now: &Snapshot) -> Snapshot {
        if self.0.len() == LAG_WINDOW_SUMMARIES {
            self.0.pop_front();
        }
        self.0.push_back(now.clone());
        now.since(&self.0[0])
    }
}

/// Returns the report of the fleet. Without the shared store it is that of this replica alone.
pub async fn report(observed: &ReplicaHandles, own: pb::StatsResponse, deadline: Moment) -> pb::StatsResponse {
    let mut whole = own;
    let mut fleet: Vec<_> = wire_replica(&whole, Duration::ZERO).into_iter().collect();
    for (other, age) in other_summaries(observed, deadline).await {
        fleet.extend(wire_replica(&other, age));
        add(&mut whole, &other);
    }
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    pb::StatsResponse { fleet, ..whole }
}

/// Returns the replicas of the fleet, sorted by id. Without the shared store it is this one alone.
pub async fn replicas(observed: &ReplicaHandles, own: pb::StatsResponse) -> Vec<FleetReplica> {
    let own = (own, Duration::ZERO);
    let others = other_summaries(observed, Moment::FOREVER).await;
    let mut fleet: Vec<_> = others.iter().chain([&own]).filter_map(|(stats, age)| fleet_replica(stats, *age)).collect();
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    fleet
}

/// Returns the facts about a replica in its summary.
fn fleet_replica(stats: &pb::StatsResponse, age: Duration) -> Option<FleetReplica> {
    let (replica, coherence) = (stats.replica.as_ref()?, stats.coherence.unwrap_or_default());
    let l1 = stats.l1.unwrap_or_default();
    Some(FleetReplica {
        id: replica.id.clone(),
        version: replica.version.clone(),
        age,
        audit_age: coherence.audit_age.and_then(|age| age.try_into().ok()),
        started: replica.start_time.and_then(|time| SystemTime::try_from(time).ok()),
        state: replica.state.clone(),
        gets: messages::gets(&stats.namespaces),
        writes: messages::writes(&stats.namespaces),
        l1: [l1.entries, l1.bytes, l1.max_bytes],
        lag_p99: coherence.lag_p99.and_then(|lag| lag.try_into().ok()),
    })
}

/// Reads the summaries of the other replicas, with their ages.
async fn other_summaries(observed: &ReplicaHandles, deadline: Moment) -> Vec<(pb::StatsResponse, Duration)> {
    let deadline =
        observed.clock.now().plus(observed.cache.config().read_timeout.min(SHARED_STORE_TIMEOUT)).min(deadline);
    let notes = match &observed.shared_store {
        Some(board) => board.notes(SUMMARY_LIFETIME, deadline).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let read = |note: ReplicaNote| Some((pb::StatsResponse::decode(note.text).ok()?, note.age));
    notes.into_iter().filter_map(read).collect()
}

/// Encodes the summary that other replicas read.
fn summary(whole: pb::StatsResponse) -> Bytes {
    let mut summary = pb::StatsResponse {
        replica: whole.replica,
        namespaces: whole.namespaces,
        l1: whole.l1,
        coherence: whole.coherence,
        leases: whole.leases,
        watches: whole.watches,
        ..Default::default()
    };
    if summary.encoded_len() > MAX_SUMMARY_BYTES {
        summary.namespaces.sort_by_key(|stats| std::cmp::Reverse(messages::use_of(stats)));
        while summary.encoded_len() > MAX_SUMMARY_BYTES {
            summary.namespaces.truncate(summary.namespaces.len() / 2);
        }
        summary.namespaces.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    }
    summary.encode_to_vec().into()
}

fn wire_replica(stats: &pb::StatsResponse, age: Duration) -> Option<pb::FleetReplica> {
    let replica = stats.replica.as_ref()?;
    Some(pb::FleetReplica {
        id: replica.id.clone(),
        version: replica.version.clone(),
        start_time: replica.start_time,
        age: Some(to_wire(age)),
        audit_age: stats.coherence.as_ref().and_then(|coherence| coherence.audit_age),
    })
}

/// Adds the summary of another replica. Of proofs, keeps the worst of all replicas.
fn add(stats: &mut pb::StatsResponse, other: &pb::StatsResponse) {
    stats.namespaces.add(&other.namespaces.iter().filter(|stats| was_used(stats)).cloned().collect());
    stats.l1.add(&other.l1);
    stats.leases.add(&other.leases);
    stats.watches.add(&other.watches);
    stats.coherence.add(&other.coherence);
    if let (Some(coherence), Some(other)) = (&mut stats.coherence, &other.coherence) {
        coherence.partitions_proven = coherence.partitions_proven.min(other.partitions_proven);
        let nanos = |duration: &prost_types::Duration| (duration.seconds, duration.nanos);
        // Absent if one of them has a partition that was never proven.
        coherence.audit_age = coherence
            .audit_age
            .zip(other.audit_age)
            .map(|(one, other)| if nanos(&one) > nanos(&other) { one } else { other });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::stats::Histogram;

    fn counted(misses: u64, namespaces: usize) -> pb::StatsResponse {
        let namespace = |n: usize| pb::NamespaceStats {
            namespace: format!("n{n:06}"),
            misses: misses + n as u64,
            ..Default::default()
        };
        pb::StatsResponse {
            replica: Some(pb::ReplicaStats { id: "r".into(), ..Default::default() }),
            namespaces: (0..namespaces).map(namespace).collect(),
            l1: Some(pb::L1Stats { bytes: 5, ..Default::default() }),
            redis: Some(pb::RedisStats { commands: 9, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_summary_is_added_without_the_numbers_of_redis() {
        let mut whole = counted(1, 2);
        let other = pb::StatsResponse::decode(summary(counted(10, 3))).expect("read");
        add(&mut whole, &other);
        let misses: Vec<_> = whole.namespaces.iter().map(|stats| stats.misses).collect();
        assert_eq!(misses, [11, 13, 12]);
        assert_eq!(whole.l1.map(|l1| l1.bytes), Some(10));
        assert_eq!(whole.redis.map(|redis| redis.commands), Some(9));
    }

    #[test]
    fn a_summary_contains_the_state_and_counters_of_a_replica() {
        let mut counted = counted(10, 2);
        counted.namespaces[0].l1_hits = 70;
        counted.namespaces[1].sets_stored = 3;
        counted.replica = counted.replica.map(|replica| pb::ReplicaStats { state: "drained".into(), ..replica });
        let read = pb::StatsResponse::decode(summary(counted)).expect("read");
        let replica = fleet_replica(&read, Duration::from_secs(1)).expect("a replica");
        assert_eq!((replica.id.as_str(), replica.state.as_str(), replica.writes), ("r", "drained", 3));
        assert_eq!((replica.gets, replica.l1), ([70, 0, 0, 21], [0, 5, 0]));
    }

    #[test]
    fn the_lag_spans_the_last_summaries() {
        let (histogram, mut lags) = (Histogram::default(), LagWindow::default());
        histogram.observe(Duration::from_secs(1));
        assert_eq!(lags.recent(&histogram.snapshot()).count, 0, "observations before the first summary do not count");
        histogram.observe(Duration::from_millis(1));
        assert_eq!(lags.recent(&histogram.snapshot()).count, 1);
        (0..LAG_WINDOW_SUMMARIES).for_each(|_| _ = lags.recent(&histogram.snapshot()));
        assert_eq!(lags.recent(&histogram.snapshot()).count, 0, "the observation is outside the window");
    }

    #[test]
    fn a_summary_over_its_limit_keeps_the_most_used_namespaces() {
        let note = summary(counted(1, 60_000));
        assert!(note.len() <= MAX_SUMMARY_BYTES && note.len() > MAX_SUMMARY_BYTES / 4, "{}", note.len());
        let read = pb::StatsResponse::decode(note).expect("read");
        assert!(read.namespaces.iter().any(|stats| stats.namespace == "n059999"));
        assert!(read.namespaces.is_sorted_by(|one, other| one.namespace < other.namespace));
    }
}
