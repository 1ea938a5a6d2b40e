//! Stats of the fleet: every replica leaves a summary on the board every two seconds; whoever is asked adds up those that are there.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use tokio::time::sleep;

use super::counts::Additive;
use super::snapshot::{StatsSnapshot, was_used};
use crate::cache::clock::Moment;
use crate::cache::fleet::replica::{FleetReplica, ReplicaHandles};
use crate::cache::fleet::shared_store::ReplicaNote;
use crate::cache::stats::Snapshot;
use crate::grpc::convert::to_wire;
use crate::pb;

/// How often a summary is left.
const EVERY: Duration = Duration::from_secs(2);
/// For how long it counts.
const LIFETIME: Duration = Duration::from_secs(10);
/// Longest wait for the board.
const PATIENCE: Duration = Duration::from_secs(1);
/// Summaries that a lag spans.
const SUMMARIES: usize = 6;
/// Longest summary, bytes: beyond it the namespaces used least are left out.
const MOST_BYTES: usize = 256 << 10;

/// Leaves summaries, for ever.
pub async fn publish_summaries(observed: &ReplicaHandles, snapshot: impl Fn() -> StatsSnapshot) {
    let Some(board) = &observed.board else { return };
    let mut lags = Lags::default();
    loop {
        let until = observed.clock.now().plus(PATIENCE);
        let mut counted = snapshot();
        counted.lag = lags.lately(&observed.l2.report().bus_lag);
        // The next one is soon enough.
        let _ = board.post(summary(counted), LIFETIME, until).await;
        sleep(EVERY).await;
    }
}

/// Lags of messages as they were at the last summaries: what is told is that of lately, and not since the start.
#[derive(Default)]
struct Lags(VecDeque<Snapshot>);

impl Lags {
    /// Returns what was observed since the oldest of the last summaries.
    fn lately(&mut self, now: &Snapshot) -> Snapshot {
        if self.0.len() == SUMMARIES {
            self.0.pop_front();
        }
        self.0.push_back(now.clone());
        now.since(&self.0[0])
    }
}

/// The report of the fleet, of one namespace or of all. When the board cannot be asked, that of this replica alone.
pub async fn report(
    observed: &ReplicaHandles,
    own: StatsSnapshot,
    namespace: &str,
    deadline: Moment,
) -> pb::StatsResponse {
    let mut whole = own;
    let own = replica(&whole.stats, Duration::ZERO);
    let mut fleet: Vec<_> = own.into_iter().collect();
    for (other, age) in others(observed, deadline).await {
        fleet.extend(replica(&other, age));
        add(&mut whole, &other);
    }
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    pb::StatsResponse { fleet, ..whole.render(namespace) }
}

/// The replicas of the fleet, sorted by identity. When the board cannot be asked, this one.
pub async fn replicas(observed: &ReplicaHandles, own: StatsSnapshot) -> Vec<FleetReplica> {
    let own = (own.render(""), Duration::ZERO);
    let others = others(observed, Moment::FOREVER).await;
    let mut fleet: Vec<_> = others.iter().chain([&own]).filter_map(|(stats, age)| said(stats, *age)).collect();
    fleet.sort_by(|one, other| one.id.cmp(&other.id));
    fleet
}

/// Returns what a replica says of itself.
fn said(stats: &pb::StatsResponse, age: Duration) -> Option<FleetReplica> {
    let (replica, coherence) = (stats.replica.as_ref()?, stats.coherence.unwrap_or_default());
    let sum = |count: fn(&pb::NamespaceStats) -> u64| stats.namespaces.iter().map(count).sum::<u64>();
    let l1 = stats.l1.unwrap_or_default();
    Some(FleetReplica {
        id: replica.id.clone(),
        version: replica.version.clone(),
        age,
        audit_age: coherence.audit_age.and_then(|age| age.try_into().ok()),
        started: replica.start_time.and_then(|time| SystemTime::try_from(time).ok()),
        state: replica.state.clone(),
        gets: [sum(|n| n.l1_hits), sum(|n| n.l2_hits), sum(|n| n.stale_hits), sum(|n| n.misses)],
        writes: sum(|n| n.sets_stored) + sum(|n| n.invalidations),
        l1: [l1.entries, l1.bytes, l1.max_bytes],
        lag_p99: coherence.lag_p99.and_then(|lag| lag.try_into().ok()),
    })
}

/// What the other replicas have left on the board, and how long ago.
async fn others(observed: &ReplicaHandles, deadline: Moment) -> Vec<(pb::StatsResponse, Duration)> {
    let until = observed.clock.now().plus(observed.cache.config().read_budget.min(PATIENCE)).min(deadline);
    let notes = match &observed.board {
        Some(board) => board.notes(LIFETIME, until).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let read = |note: ReplicaNote| Some((pb::StatsResponse::decode(note.text).ok()?, note.age));
    notes.into_iter().filter_map(read).collect()
}

/// What other replicas are told.
fn summary(counted: StatsSnapshot) -> Bytes {
    let whole = counted.render("");
    let mut summary = pb::StatsResponse {
        replica: whole.replica,
        namespaces: whole.namespaces,
        l1: whole.l1,
        coherence: whole.coherence,
        leases: whole.leases,
        watches: whole.watches,
        ..Default::default()
    };
    if summary.encoded_len() > MOST_BYTES {
        let used = |stats: &pb::NamespaceStats| stats.l1_hits + stats.l2_hits + stats.misses + stats.sets_stored;
        summary.namespaces.sort_by_key(|stats| std::cmp::Reverse(used(stats)));
        while summary.encoded_len() > MOST_BYTES {
            summary.namespaces.truncate(summary.namespaces.len() / 2);
        }
        summary.namespaces.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    }
    summary.encode_to_vec().into()
}

fn replica(stats: &pb::StatsResponse, age: Duration) -> Option<pb::FleetReplica> {
    let replica = stats.replica.as_ref()?;
    Some(pb::FleetReplica {
        id: replica.id.clone(),
        version: replica.version.clone(),
        start_time: replica.start_time,
        age: Some(to_wire(age)),
        audit_age: stats.coherence.as_ref().and_then(|coherence| coherence.audit_age),
    })
}

/// Sums; of proofs the worst of all replicas.
fn add(whole: &mut StatsSnapshot, other: &pb::StatsResponse) {
    let stats = &mut whole.stats;
    stats.namespaces.add(&other.namespaces.iter().filter(|stats| was_used(stats)).cloned().collect());
    stats.l1.add(&other.l1);
    stats.leases.add(&other.leases);
    stats.watches.add(&other.watches);
    stats.coherence.add(&other.coherence);
    if let (Some(coherence), Some(other)) = (&mut stats.coherence, &other.coherence) {
        coherence.partitions_proven = coherence.partitions_proven.min(other.partitions_proven);
        let nanos = |duration: &prost_types::Duration| (duration.seconds, duration.nanos);
        // Absent when one of them has a partition that was never proven.
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

    fn counted(misses: u64, namespaces: usize) -> StatsSnapshot {
        let namespace = |n: usize| pb::NamespaceStats {
            namespace: format!("n{n:06}"),
            misses: misses + n as u64,
            ..Default::default()
        };
        let stats = pb::StatsResponse {
            replica: Some(pb::ReplicaStats { id: "r".into(), ..Default::default() }),
            namespaces: (0..namespaces).map(namespace).collect(),
            l1: Some(pb::L1Stats { bytes: 5, ..Default::default() }),
            redis: Some(pb::RedisStats { commands: 9, ..Default::default() }),
            ..Default::default()
        };
        let at = std::time::SystemTime::UNIX_EPOCH;
        StatsSnapshot { at, stats, latencies: Vec::new(), staleness: Snapshot::default(), lag: Snapshot::default() }
    }

    #[test]
    fn a_summary_is_added_but_for_what_each_replica_sees_for_itself() {
        let mut whole = counted(1, 2);
        let other = pb::StatsResponse::decode(summary(counted(10, 3))).expect("read");
        add(&mut whole, &other);
        let misses: Vec<_> = whole.stats.namespaces.iter().map(|stats| stats.misses).collect();
        assert_eq!(misses, [11, 13, 12]);
        assert_eq!(whole.stats.l1.map(|l1| l1.bytes), Some(10));
        assert_eq!(whole.stats.redis.map(|redis| redis.commands), Some(9));
    }

    #[test]
    fn a_replica_says_its_state_and_what_a_fleet_is_made_of() {
        let mut counted = counted(10, 2);
        counted.stats.namespaces[0].l1_hits = 70;
        counted.stats.namespaces[1].sets_stored = 3;
        counted.stats.replica =
            counted.stats.replica.map(|replica| pb::ReplicaStats { state: "drained".into(), ..replica });
        let read = pb::StatsResponse::decode(summary(counted)).expect("read");
        let said = said(&read, Duration::from_secs(1)).expect("a replica");
        assert_eq!((said.id.as_str(), said.state.as_str(), said.writes), ("r", "drained", 3));
        assert_eq!((said.gets, said.l1), ([70, 0, 0, 21], [0, 5, 0]));
    }

    #[test]
    fn a_lag_is_that_of_the_last_summaries() {
        let (histogram, mut lags) = (Histogram::default(), Lags::default());
        histogram.observe(Duration::from_secs(1));
        assert_eq!(lags.lately(&histogram.snapshot()).count, 0, "what was before the first");
        histogram.observe(Duration::from_millis(1));
        assert_eq!(lags.lately(&histogram.snapshot()).count, 1);
        (0..SUMMARIES).for_each(|_| _ = lags.lately(&histogram.snapshot()));
        assert_eq!(lags.lately(&histogram.snapshot()).count, 0, "it has gone by");
    }

    #[test]
    fn a_summary_has_a_largest_size_and_keeps_the_namespaces_used_most() {
        let note = summary(counted(1, 60_000));
        assert!(note.len() <= MOST_BYTES && note.len() > MOST_BYTES / 4, "{}", note.len());
        let read = pb::StatsResponse::decode(note).expect("read");
        assert!(read.namespaces.iter().any(|stats| stats.namespace == "n059999"));
        assert!(read.namespaces.is_sorted_by(|one, other| one.namespace < other.namespace));
    }
}
