use super::*;
use crate::cache::tier::L2State;

impl ReplicaReport {
    /// A replica with L2 after some seconds, on which nothing happened and nothing is wrong.
    pub fn quiet(seconds: u64) -> ReplicaReport {
        ReplicaReport {
            forgotten: NamespaceCounts::default(),
            at: Moment(1).plus(Duration::from_secs(seconds)),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            namespaces: Vec::new(),
            l1: L1Usage { bytes: 50 << 20, max_bytes: 100 << 20, ..L1Usage::default() },
            l2: L2Report {
                state: L2State::Healthy,
                round_trip: Some(Duration::from_micros(300)),
                ..L2Report::default()
            },
            health: Health { not_ready: None, l2: L2State::Healthy },
            switches: Switches::default(),
            latencies: LatencyReport::default(),
            coherence: CoherenceReport {
                max_staleness: Duration::from_secs(2),
                partitions: 64,
                proven: 64,
                proof_age: Some(Duration::from_millis(400)),
                ..CoherenceReport::default()
            },
            leases: LeaseCounts::default(),
            self_audit: SelfAuditCounts::default(),
            watches: WatchReport::default(),
            security: Default::default(),
            certificates: Default::default(),
            load: LoadReport { limit: 1024, ..LoadReport::default() },
            warm_start: None,
            access: AccessCounts::default(),
        }
    }
}

fn namespace(name: &str, misses: u64, entries: u64) -> NamespaceReport {
    let counts = NamespaceCounts { misses, entries, ..NamespaceCounts::default() };
    NamespaceReport { name: name.to_owned(), id: Some(0), counts, in_l2: None }
}

#[test]
fn counts_are_subtracted_by_name_and_the_state_is_that_of_now() {
    let (mut earlier, mut now) = (ReplicaReport::quiet(1), ReplicaReport::quiet(9));
    earlier.namespaces = vec![namespace("b", 3, 10)];
    now.namespaces = vec![namespace("a", 2, 20), namespace("b", 7, 5)];
    (earlier.load.shed, now.load.shed, now.load.in_flight) = (5, 6, 4);
    (earlier.l2.commands, now.l2.commands) = (100, 250);
    let lately = now.since(&earlier);
    assert_eq!(lately.namespaces, [namespace("a", 2, 20), namespace("b", 4, 5)]);
    assert_eq!((lately.load.shed, lately.load.in_flight, lately.l2.commands), (1, 4, 150));
    assert!((now.seconds_since(&earlier) - 8.0).abs() < 1e-9);
}

#[test]
fn a_namespace_is_used_if_it_counted_or_l2_has_keys_of_it() {
    let usage = |keys| Some(NamespaceUsage { keys, bytes: None });
    let mut report = ReplicaReport::quiet(1);
    report.namespaces = vec![namespace("counted", 1, 0), namespace("unused", 0, 0)];
    report.namespaces.push(NamespaceReport { in_l2: usage(0), ..namespace("without_keys", 0, 0) });
    report.namespaces.push(NamespaceReport { in_l2: usage(3), ..namespace("with_keys", 0, 0) });
    let used = report.of_used_namespaces();
    let names: Vec<_> = used.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["counted", "with_keys"]);
}
