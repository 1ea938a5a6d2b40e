use std::time::Duration;

use super::*;
use crate::admin::diagnosis::finding::Hottest;
use crate::cache::fleet::replica::FleetReplica;
use crate::cache::fleet::report::{NamespaceReport, ReplicaReport};
use crate::cache::stats::{CertificateLife, Histogram, NamespaceCounts};
use crate::cache::tier::{L2Report, L2State};

const SECONDS: u64 = 5;

/// A busy replica on which nothing is wrong, before and after some seconds.
struct Scene {
    before: ReplicaReport,
    now: ReplicaReport,
    usual: Option<Duration>,
    fleet: Vec<FleetReplica>,
    hottest_rate: f64,
}

impl Scene {
    fn healthy() -> Scene {
        let (before, mut now) = (ReplicaReport::quiet(0), ReplicaReport::quiet(SECONDS));
        now.namespaces = vec![namespace("users", 9000, 600, 400), namespace("zones", 100, 0, 0)];
        now.l2.commands = 2000;
        now.latencies.l2_read = answers(1000, Duration::from_millis(1));
        let fleet = ["a", "b", "c"].map(|id| replica(id, Some(Duration::from_millis(500))));
        Scene { before, now, usual: Some(Duration::from_millis(1)), fleet: fleet.into(), hottest_rate: 90.0 }
    }

    fn findings(&self) -> Vec<Finding> {
        findings(&Signs {
            before: &self.before,
            now: &self.now,
            lately: &self.now.since(&self.before),
            usual: self.usual,
            fleet: &self.fleet,
            own: "a",
            hottest: Some(Hottest { shown: "#1", namespace: "users", rate: self.hottest_rate }),
        })
    }

    #[track_caller]
    fn finds(&self, kind: &str, title: &str) {
        let findings = self.findings();
        let [found] = &findings[..] else { panic!("not one: {findings:#?}") };
        assert_eq!((found.kind, found.title.as_str()), (kind, title));
        let texts = [&found.meaning, &found.evidence, &found.action.to_owned(), &found.runbook.to_owned()];
        assert!(texts.iter().all(|text| !text.is_empty()), "{found:#?}");
        let heading = format!("# {}\n", found.runbook);
        assert!(include_str!("../../../docs/runbooks.md").to_lowercase().contains(&heading), "{found:#?}");
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!(self.findings(), []);
    }

    fn namespace(&mut self, change: impl FnOnce(&mut NamespaceCounts)) {
        change(&mut self.now.namespaces[0].counts);
    }
}

fn namespace(name: &str, l1_hits: u64, l2_hits: u64, misses: u64) -> NamespaceReport {
    let counts = NamespaceCounts { l1_hits, l2_hits, misses, sets_stored: 200, ..NamespaceCounts::default() };
    NamespaceReport { name: name.to_owned(), counts, ..NamespaceReport::default() }
}

fn answers(count: usize, each: Duration) -> crate::cache::stats::Snapshot {
    let histogram = Histogram::default();
    (0..count).for_each(|_| histogram.observe(each));
    histogram.snapshot()
}

fn replica(id: &str, audit_age: Option<Duration>) -> FleetReplica {
    let age = Duration::from_secs(1);
    FleetReplica { id: id.to_owned(), version: "1".to_owned(), age, audit_age, ..FleetReplica::default() }
}

#[test]
fn a_verdict_leads_where_the_alerts_of_the_chart_do() {
    let mut scene = Scene::healthy();
    scene.hottest_rate = 1500.0;
    let url = scene.findings()[0].runbook_url();
    let base = url.strip_suffix("twintierhotkey").expect("its section");
    assert!(
        include_str!("../../../helm/twintier/rules/twintier.yaml").contains(&format!("runbook_url: {base}")),
        "{url}"
    );
}

#[test]
fn a_busy_replica_is_well() {
    Scene::healthy().is_well();
}

#[test]
fn a_replica_alone_on_its_memory_is_well() {
    let mut scene = Scene::healthy();
    scene.now.l2 = L2Report::default();
    scene.now.coherence.proof_age = Some(Duration::ZERO);
    scene.fleet = vec![replica("a", None)];
    scene.is_well();
}

#[test]
fn an_unavailable_redis_is_reported_without_its_effects() {
    let mut scene = Scene::healthy();
    scene.now.l2 =
        L2Report { state: L2State::Unavailable, errors: 500, reason: "refused".into(), ..L2Report::default() };
    scene.now.coherence.proven = 0;
    scene.now.coherence.proof_age = Some(Duration::from_secs(30));
    scene.fleet = vec![replica("a", Some(Duration::from_secs(30)))];
    scene.finds("redis_gone", "Redis is gone");
    assert_eq!(scene.findings()[0].level, Level::Critical);
}

#[test]
fn a_redis_that_answers_late_is_slow() {
    let mut scene = Scene::healthy();
    scene.now.latencies.l2_read = answers(1000, Duration::from_millis(80));
    scene.finds("redis_slow", "Redis is slow");
    // Against what is usual it need not be as late.
    scene.now.latencies.l2_read = answers(1000, Duration::from_millis(20));
    scene.finds("redis_slow", "Redis is slow");
    scene.usual = Some(Duration::from_millis(15));
    scene.is_well();
}

#[test]
fn a_redis_whose_commands_time_out_is_slow_and_one_that_failed_once_is_not() {
    let mut scene = Scene::healthy();
    scene.now.l2.errors = 4;
    scene.is_well();
    scene.now.l2.errors = 100;
    scene.finds("redis_slow", "Redis is slow");
}

#[test]
fn a_redis_that_is_far_away_is_slow_without_any_traffic() {
    let mut scene = Scene::healthy();
    scene.now.latencies.l2_read = answers(0, Duration::ZERO);
    scene.is_well();
    scene.now.l2.round_trip = Some(Duration::from_millis(120));
    scene.finds("redis_slow", "Redis is slow");
}

#[test]
fn few_late_answers_are_no_slow_redis() {
    let mut scene = Scene::healthy();
    scene.now.latencies.l2_read = answers(3, Duration::from_millis(80));
    scene.is_well();
}

#[test]
fn a_subscription_broken_here_differs_from_one_broken_everywhere() {
    let mut scene = Scene::healthy();
    scene.now.l2.state = L2State::Degraded;
    scene.now.coherence.proven = 0;
    scene.now.coherence.proof_age = Some(Duration::from_secs(9));
    scene.finds("subscription_broken", "This replica's subscription is broken");
    for replica in &mut scene.fleet {
        replica.audit_age = Some(Duration::from_secs(9));
    }
    scene.finds("subscription_broken", "No replica receives Redis' messages");
}

#[test]
fn the_broken_subscription_of_another_replica_is_reported_by_name() {
    for age in [Some(Duration::from_secs(9)), None] {
        let mut scene = Scene::healthy();
        scene.fleet[2].audit_age = age;
        scene.finds("subscription_broken", "The subscription of replica c is broken");
    }
}

#[test]
fn a_partition_that_is_unproven_for_a_moment_is_no_broken_subscription() {
    let mut scene = Scene::healthy();
    scene.now.coherence.proven = 63;
    scene.is_well();
    scene.before.coherence.proven = 63;
    scene.finds("subscription_broken", "This replica's subscription is broken");
}

#[test]
fn a_namespace_that_pushes_itself_out_of_full_memory_is_thrashing() {
    let mut scene = Scene::healthy();
    scene.now.l1.bytes = 99 << 20;
    scene.now.l1.counts.evicted_size = 3000;
    scene.namespace(|users| (users.l1_hits, users.l2_hits, users.misses) = (500, 3000, 400));
    scene.finds("thrashing", "Namespace users is thrashing");
    // Memory that is full and of use is as it should be.
    scene.namespace(|users| (users.l1_hits, users.l2_hits, users.misses) = (9000, 3000, 400));
    scene.is_well();
    // So is a miss without a want of room.
    scene.namespace(|users| (users.l1_hits, users.l2_hits, users.misses) = (500, 3000, 400));
    scene.now.l1.counts.evicted_size = 50;
    scene.is_well();
}

#[test]
fn a_namespace_thrashes_within_its_quota_too() {
    let mut scene = Scene::healthy();
    scene.namespace(|users| {
        (users.l1_hits, users.l2_hits, users.misses) = (100, 3000, 0);
        users.over_quota = 2900;
    });
    scene.finds("thrashing", "Namespace users is thrashing within its quota");
}

#[test]
fn a_key_that_takes_a_large_part_of_the_traffic_is_hot() {
    let mut scene = Scene::healthy();
    scene.hottest_rate = 1500.0;
    scene.finds("hot_key", "One key takes a large part of the traffic");
    assert_eq!(scene.findings()[0].level, Level::Notice);
    // One of a handful of Gets is not.
    scene.now.namespaces = vec![namespace("users", 100, 0, 0)];
    scene.hottest_rate = 20.0;
    scene.is_well();
}

#[test]
fn many_callers_that_wait_for_what_others_make_are_a_stampede() {
    let mut scene = Scene::healthy();
    scene.namespace(|users| (users.coalesced, users.misses) = (900, 1000));
    scene.finds("stampede", "A stampede");
    let mut scene = Scene::healthy();
    scene.now.leases.served = 800;
    scene.finds("stampede", "A stampede, held back by leases");
    let mut scene = Scene::healthy();
    scene.now.leases.waiting = 50;
    scene.finds("stampede", "A stampede, held back by leases");
    // Some always meet.
    let mut scene = Scene::healthy();
    scene.namespace(|users| users.coalesced = 50);
    scene.now.leases.waiting = 3;
    scene.is_well();
}

#[test]
fn the_worst_finding_comes_first() {
    let mut scene = Scene::healthy();
    scene.hottest_rate = 1500.0;
    scene.now.load.shed = 100;
    (scene.now.self_audit.checked, scene.now.self_audit.violations) = (10, 1);
    let kinds: Vec<_> = scene.findings().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, ["violation", "overload", "hot_key"]);
    // An earlier violation is no finding now.
    scene.before.self_audit = scene.now.self_audit.clone();
    scene.before.load.shed = 100;
    scene.hottest_rate = 1.0;
    scene.is_well();
}

#[test]
fn a_replica_that_is_not_ready_says_why() {
    let titles = [
        (NotReady::Starting, "This replica is starting"),
        (NotReady::Drained, "This replica is drained"),
        (NotReady::Ending, "This replica is ending"),
        (NotReady::Halted, "This replica must not serve"),
    ];
    for (why, title) in titles {
        let mut scene = Scene::healthy();
        scene.now.health.not_ready = Some(why);
        scene.finds("not_ready", title);
    }
}

#[test]
fn limits_and_settings_that_matter_are_reported() {
    let mut scene = Scene::healthy();
    scene.namespace(|users| users.throttled = 500);
    scene.finds("throttled", "Namespace users has more requests than its limit");
    let mut scene = Scene::healthy();
    scene.now.l2.server.warnings = ["maxmemory-policy allkeys-lru".to_owned()].into();
    scene.finds("redis_settings", "Redis' settings weaken the promise");
    scene.now.l2.server.evicted_keys = 40;
    scene.finds("redis_settings", "Redis is full and evicts");
}

#[test]
fn a_certificate_that_ends_is_found_before_it_does() {
    const DAY: Duration = Duration::from_secs(86_400);
    let scene = |left_days: i32| {
        let mut scene = Scene::healthy();
        let now = scene.now.wall;
        let end = if left_days < 0 { now - DAY * left_days.unsigned_abs() } else { now + DAY * left_days as u32 };
        let life = CertificateLife { not_before: now - 300 * DAY, not_after: end };
        scene.now.certificates.client_ca = Some(life);
        scene
    };
    scene(31).is_well();
    scene(29).finds("certificate_ends", "The authority of client certificates ends soon");
    scene(-1).finds("certificate_ends", "The authority of client certificates has expired");
    let mut both = scene(29);
    let now = both.now.wall;
    both.now.certificates.server = Some(CertificateLife { not_before: now - 300 * DAY, not_after: now + DAY });
    both.finds("certificate_ends", "The certificate of the service ends soon");
}
