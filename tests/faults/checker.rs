//! Decides from a history alone if P1 to P5 and P10 held.
//!
//! Sound: reports only answers that no correct service can give.
//!
//! A write's version is its place in the order of writes. The checker first makes sure that
//! versions are such an order: unique, and in agreement with real time. It then compares every
//! answer with them. A miss is never too old. But a miss that Redis answered shows that every
//! change up to its position has been seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use twintier::cache::version::Version;

use super::history::{Action, Answer, At, Operation, Outcome};

/// Findings of a checker.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Number of checked operations.
    pub operations: usize,
    /// Reads answered with a value that was not flagged.
    pub fresh: usize,
    /// Descriptions of the broken promises.
    pub violations: Vec<String>,
    /// Time until each write was visible everywhere, sorted: from its acknowledgement to the start
    /// of the last Get, at any replica, that returned an older value unflagged; zero without such a
    /// Get. Counts acknowledged writes that a Get of the key followed. Only Gets can show an older
    /// value, so that this is the delay that callers saw, and a lower bound of the true delay.
    pub delays: Vec<Duration>,
}

impl Verdict {
    /// Share of writes that were visible everywhere within `limit`, in percent. `None` without
    /// writes.
    pub fn visible_within(&self, limit: Duration) -> Option<f64> {
        let visible = self.delays.partition_point(|delay| *delay <= limit);
        (!self.delays.is_empty()).then(|| 100.0 * visible as f64 / self.delays.len() as f64)
    }

    /// Delay that `per_mille` of the writes did not exceed. Zero without writes.
    pub fn delay(&self, per_mille: usize) -> Duration {
        let last = self.delays.len().saturating_sub(1);
        self.delays.get((last * per_mille).div_ceil(1000)).copied().unwrap_or_default()
    }
}

/// A write that took effect.
#[derive(Clone, Copy, Debug)]
struct Effect {
    version: Version,
    invoked: At,
    /// `None` if it was not acknowledged.
    acknowledged: Option<At>,
    /// The latest moment at which it can have taken effect.
    latest: At,
    /// Time at which its lease was granted, if it had one.
    leased: Option<At>,
    replica: u8,
}

/// Checks a history against a staleness bound.
pub fn check(history: &[Operation], bound: Duration) -> Verdict {
    let mut by_key: BTreeMap<u32, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        by_key.entry(operation.key).or_default().push(operation);
    }
    let mut verdict = Verdict { operations: history.len(), ..Verdict::default() };
    for (key, operations) in by_key {
        check_key(key, &operations, bound, &mut verdict);
    }
    verdict.delays.sort_unstable();
    verdict
}

fn check_key(key: u32, operations: &[&Operation], bound: Duration, verdict: &mut Verdict) {
    let effects = effects(key, operations, verdict);
    check_order(key, &effects, verdict);
    check_leases(key, &effects, verdict);
    let everywhere = Frontier::new(&effects, |_| true);
    let replicas: BTreeSet<u8> = effects.iter().map(|effect| effect.replica).collect();
    let here: HashMap<u8, Frontier> = replicas
        .into_iter()
        .map(|replica| (replica, Frontier::new(&effects, |effect| effect.replica == replica)))
        .collect();
    let shown = shown(&effects, operations);
    for operation in operations {
        let Action::Read { seen, strong, answer: Answer::Value { value, version, stale } } = &operation.action else {
            continue;
        };
        let describe = |promise: &str, needed: Version| {
            format!(
                "{promise}: key {key}, client {}, replica {}: a Get at {:?} answered value {value} of version {version}{}; {needed} was needed",
                operation.client,
                operation.replica,
                operation.invoked,
                if *stale { " (flagged stale)" } else { "" },
            )
        };
        if version < seen {
            verdict.violations.push(describe("P4 token", *seen));
        }
        if *stale {
            continue;
        }
        verdict.fresh += 1;
        let local = here.get(&operation.replica).map_or(Version::ZERO, |frontier| frontier.before(operation.invoked));
        if *version < local {
            verdict.violations.push(describe("P1 fresh here", local));
        }
        let before = shown.get(&operation.replica).map_or(Version::ZERO, |shown| shown.before(operation.invoked));
        if *version < before {
            verdict.violations.push(describe("P10 backwards", before));
        }
        let bound = if *strong { Duration::ZERO } else { bound };
        let global = operation.invoked.checked_sub(bound).map_or(Version::ZERO, |at| everywhere.before(at));
        if *version < global {
            verdict.violations.push(describe(if *strong { "P5 strong" } else { "P2 fresh everywhere" }, global));
        }
    }
    verdict.delays.extend(delays(&effects, operations));
}

/// The highest version that unflagged answers have shown, by replica: the version of a value, or
/// for a miss that of the last acknowledged change up to its position.
fn shown(effects: &[Effect], operations: &[&Operation]) -> HashMap<u8, Frontier> {
    let mut acknowledged: Vec<Version> = Vec::new();
    acknowledged.extend(effects.iter().filter(|effect| effect.acknowledged.is_some()).map(|effect| effect.version));
    acknowledged.sort_unstable();
    let mut steps: HashMap<u8, Vec<(At, Version)>> = HashMap::new();
    for operation in operations {
        let version = match &operation.action {
            Action::Read { answer: Answer::Value { version, stale: false, .. }, .. } => Some(*version),
            Action::Read { answer: Answer::Miss(position), .. } => {
                let up_to = acknowledged.partition_point(|version| version <= position);
                up_to.checked_sub(1).map(|last| acknowledged[last])
            }
            _ => None,
        };
        let step = version.map(|version| (operation.returned, version));
        steps.entry(operation.replica).or_default().extend(step);
    }
    steps.into_iter().map(|(replica, steps)| (replica, Frontier::of(steps))).collect()
}

/// Time until each acknowledged write that a Get followed was visible everywhere.
fn delays(effects: &[Effect], operations: &[&Operation]) -> Vec<Duration> {
    let reads = || operations.iter().filter(|operation| matches!(operation.action, Action::Read { .. }));
    let last_read = reads().map(|operation| operation.invoked).max().unwrap_or_default();
    let mut older: Vec<(Version, At)> = reads()
        .filter_map(|operation| match operation.action {
            Action::Read { answer: Answer::Value { version, stale: false, .. }, .. } => {
                Some((version, operation.invoked))
            }
            _ => None,
        })
        .collect();
    older.sort_unstable();
    // Start of the last Get that returned this version or an older one, by version.
    let mut latest = At::ZERO;
    for (_, invoked) in &mut older {
        latest = latest.max(*invoked);
        *invoked = latest;
    }
    let delay = |effect: &Effect| {
        let acknowledged = effect.acknowledged.filter(|acknowledged| *acknowledged < last_read)?;
        let index = older.partition_point(|(version, _)| *version < effect.version);
        let last_older = index.checked_sub(1).map_or(At::ZERO, |index| older[index].1);
        Some(last_older.saturating_sub(acknowledged))
    };
    effects.iter().filter_map(delay).collect()
}

/// Writes of a key that have taken effect: acknowledged, or seen by a read. Reports impossible
/// values.
fn effects(key: u32, operations: &[&Operation], verdict: &mut Verdict) -> Vec<Effect> {
    let mut seen: HashMap<u64, Version> = HashMap::new();
    for operation in operations {
        let Action::Read { answer: Answer::Value { value, version, .. }, .. } = operation.action else { continue };
        let other = seen.insert(value, version).filter(|other| *other != version);
        if let Some(other) = other {
            verdict
                .violations
                .push(format!("key {key}: value {value} was answered as version {version} and as {other}"));
        }
    }
    let mut effects = Vec::new();
    for operation in operations {
        let Action::Write { value, leased, outcome } = operation.action else { continue };
        let observed = value.and_then(|value| seen.remove(&value));
        let (version, acknowledged, latest) = match (outcome, observed) {
            (Outcome::Ok(version), observed) => {
                if observed.is_some_and(|observed| observed != version) {
                    verdict
                        .violations
                        .push(format!("key {key}: the Set of version {version} was answered as {observed:?}"));
                }
                (version, Some(operation.returned), operation.returned)
            }
            (Outcome::Unknown(window), Some(version)) => (version, None, operation.returned + window),
            (Outcome::Failed, Some(version)) => {
                verdict.violations.push(format!("key {key}: a Set that failed was answered as version {version}"));
                continue;
            }
            (Outcome::Failed | Outcome::Unknown(_), None) => continue,
        };
        let (invoked, replica) = (operation.invoked, operation.replica);
        effects.push(Effect { version, invoked, acknowledged, latest, leased, replica });
    }
    for (value, version) in seen {
        verdict.violations.push(format!("key {key}: value {value} of version {version} was answered and never set"));
    }
    effects
}

/// Versions are an order that agrees with real time: a write that could no longer take effect when
/// another one began has a lower version.
fn check_order(key: u32, effects: &[Effect], verdict: &mut Verdict) {
    let mut by_version: Vec<&Effect> = effects.iter().collect();
    by_version.sort_by_key(|effect| effect.version);
    for pair in by_version.windows(2) {
        if pair[0].version == pair[1].version {
            verdict.violations.push(format!("key {key}: two writes share version {}", pair[0].version));
        }
    }
    // From the newest version to the oldest: no write may have ended before one with a lower
    // version began.
    let mut first_end = Duration::MAX;
    for effect in by_version.iter().rev() {
        if first_end < effect.invoked {
            verdict.violations.push(format!(
                "key {key}: the write of version {} began at {:?}, after a write of a newer version had ended at {first_end:?}",
                effect.version, effect.invoked
            ));
        }
        first_end = first_end.min(effect.latest);
    }
}

/// A value under a lease does not follow a write that began after the lease was granted (P3).
fn check_leases(key: u32, effects: &[Effect], verdict: &mut Verdict) {
    let mut by_version: Vec<&Effect> = effects.iter().collect();
    by_version.sort_by_key(|effect| effect.version);
    // The latest start of the writes so far.
    let mut latest: Option<&Effect> = None;
    for effect in by_version {
        if let (Some(leased), Some(before)) = (effect.leased, latest)
            && before.invoked > leased
        {
            verdict.violations.push(format!(
                "P3 no resurrection: key {key}: the value of version {} was made under a lease of {leased:?}, and the write of version {} \
                 began at {:?}",
                effect.version, before.version, before.invoked
            ));
        }
        latest = latest.filter(|before| before.invoked >= effect.invoked).or(Some(effect));
    }
}

/// The highest version acknowledged, or shown, by time.
struct Frontier(Vec<(At, Version)>);

impl Frontier {
    fn new(effects: &[Effect], which: impl Fn(&Effect) -> bool) -> Frontier {
        let acknowledged = |effect: &Effect| effect.acknowledged.map(|at| (at, effect.version));
        Frontier::of(effects.iter().filter(|effect| which(effect)).filter_map(acknowledged).collect())
    }

    fn of(mut steps: Vec<(At, Version)>) -> Frontier {
        steps.sort_unstable();
        let mut highest = Version::ZERO;
        steps.retain(|(_, version)| {
            let higher = *version > highest;
            highest = highest.max(*version);
            higher
        });
        Frontier(steps)
    }

    /// The highest version acknowledged, or shown, before `at`.
    fn before(&self, at: At) -> Version {
        let index = self.0.partition_point(|(acknowledged, _)| *acknowledged < at);
        index.checked_sub(1).map_or(Version::ZERO, |index| self.0[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> At {
        Duration::from_millis(millis)
    }

    fn version(sequence: u64) -> Version {
        Version::new(7, sequence)
    }

    fn operation(replica: u8, invoked: u64, returned: u64, action: Action) -> Operation {
        Operation { client: 0, replica, key: 1, invoked: at(invoked), returned: at(returned), action }
    }

    fn set(replica: u8, invoked: u64, returned: u64, sequence: u64) -> Operation {
        let outcome = Outcome::Ok(version(sequence));
        operation(replica, invoked, returned, Action::Write { value: Some(sequence), leased: None, outcome })
    }

    fn invalidate(replica: u8, invoked: u64, returned: u64, sequence: u64) -> Operation {
        let outcome = Outcome::Ok(version(sequence));
        operation(replica, invoked, returned, Action::Write { value: None, leased: None, outcome })
    }

    fn get(replica: u8, invoked: u64, sequence: u64) -> Operation {
        read(replica, invoked, sequence, 0, false, false)
    }

    fn read(replica: u8, invoked: u64, sequence: u64, seen: u64, strong: bool, stale: bool) -> Operation {
        let answer = Answer::Value { value: sequence, version: version(sequence), stale };
        let seen = if seen == 0 { Version::ZERO } else { version(seen) };
        operation(replica, invoked, invoked + 1, Action::Read { seen, strong, answer })
    }

    fn unknown(replica: u8, invoked: u64, returned: u64, value: u64, window: u64) -> Operation {
        let outcome = Outcome::Unknown(at(window));
        operation(replica, invoked, returned, Action::Write { value: Some(value), leased: None, outcome })
    }

    #[track_caller]
    fn assert_accepted(history: &[Operation]) {
        assert_eq!(check(history, BOUND).violations, Vec::<String>::new());
    }

    #[track_caller]
    fn assert_rejected(history: &[Operation], word: &str) {
        let violations = check(history, BOUND).violations;
        assert!(violations.iter().any(|violation| violation.contains(word)), "{word}: {violations:?}");
    }

    #[test]
    fn an_old_value_at_another_replica_is_allowed_within_the_bound() {
        assert_accepted(&[set(0, 0, 1, 1), set(0, 10, 11, 2), get(1, 111, 1)]);
        assert_rejected(&[set(0, 0, 1, 1), set(0, 10, 11, 2), get(1, 112, 1)], "P2");
    }

    /// Delays of a history, in milliseconds.
    fn delays_of(history: &[Operation]) -> Vec<u128> {
        check(history, BOUND).delays.iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn a_write_is_visible_everywhere_after_the_last_older_answer() {
        let writes = [set(0, 0, 1, 1), set(0, 10, 11, 2)];
        let and = |reads: &[Operation]| delays_of(&[&writes[..], reads].concat());
        assert_eq!(and(&[get(1, 61, 1)]), [0, 50]);
        assert_eq!(and(&[get(1, 61, 1), get(2, 31, 1), get(1, 80, 2)]), [0, 50]);
        assert_eq!(and(&[get(1, 12, 2)]), [0, 0]);
        // A Get that began before the acknowledgement, or was flagged, proves nothing about the
        // write.
        assert_eq!(and(&[get(1, 10, 1), get(1, 80, 2)]), [0, 0]);
        assert_eq!(and(&[read(1, 61, 1, 0, false, true)]), [0, 0]);
    }

    #[test]
    fn an_old_value_delays_every_newer_write() {
        let history = [set(0, 0, 1, 1), set(0, 10, 11, 2), invalidate(0, 20, 21, 3), get(1, 61, 1)];
        assert_eq!(delays_of(&history), [0, 40, 50]);
    }

    #[test]
    fn an_unread_or_unacknowledged_write_is_not_counted() {
        assert_eq!(delays_of(&[set(0, 0, 1, 1), get(1, 5, 1), set(0, 10, 11, 2)]), [0]);
        assert_eq!(delays_of(&[unknown(0, 0, 1, 1, 5), get(1, 5, 1)]), []);
    }

    #[test]
    fn shares_and_percentiles_are_of_all_writes_counted() {
        let delays = [0, 0, 1, 50].map(at).to_vec();
        let verdict = Verdict { delays, ..Verdict::default() };
        assert_eq!(verdict.visible_within(at(0)), Some(50.0));
        assert_eq!(verdict.visible_within(at(1)), Some(75.0));
        assert_eq!(verdict.visible_within(at(50)), Some(100.0));
        assert_eq!((verdict.delay(0), verdict.delay(500), verdict.delay(1000)), (at(0), at(1), at(50)));
        assert_eq!(Verdict::default().visible_within(at(1)), None);
        assert_eq!(Verdict::default().delay(999), at(0));
    }

    #[test]
    fn an_old_value_at_the_acknowledging_replica_is_never_allowed() {
        assert_rejected(&[set(0, 0, 1, 1), set(0, 10, 11, 2), get(0, 12, 1)], "P1");
        assert_rejected(&[set(0, 0, 1, 1), invalidate(0, 10, 11, 2), get(0, 12, 1)], "P1");
        // A Get that began before the acknowledgement may return either value.
        assert_accepted(&[set(0, 0, 1, 1), set(0, 10, 20, 2), get(0, 20, 1)]);
    }

    #[test]
    fn an_invalidated_value_does_not_come_back() {
        assert_accepted(&[set(0, 0, 1, 1), invalidate(0, 10, 11, 2), get(1, 50, 1)]);
        assert_rejected(&[set(0, 0, 1, 1), invalidate(0, 10, 11, 2), get(1, 500, 1)], "P2");
    }

    #[test]
    fn a_flagged_answer_may_be_old_but_not_older_than_a_token() {
        assert_accepted(&[set(0, 0, 1, 1), set(0, 10, 11, 2), read(1, 500, 1, 0, false, true)]);
        assert_rejected(&[set(0, 0, 1, 1), set(0, 10, 11, 2), read(1, 500, 1, 2, false, true)], "P4");
        assert_rejected(&[set(0, 0, 1, 1), set(0, 10, 11, 2), read(1, 12, 1, 2, false, false)], "P4");
    }

    #[test]
    fn a_strong_read_has_no_bound() {
        assert_rejected(&[set(0, 0, 1, 1), set(0, 10, 11, 2), read(1, 12, 1, 0, true, false)], "P5");
        assert_accepted(&[set(0, 0, 1, 1), set(0, 10, 11, 2), read(1, 12, 2, 0, true, false)]);
    }

    fn miss(replica: u8, invoked: u64, position: u64) -> Operation {
        let answer = Answer::Miss(if position == 0 { Version::ZERO } else { version(position) });
        operation(replica, invoked, invoked + 1, Action::Read { seen: Version::ZERO, strong: false, answer })
    }

    #[test]
    fn an_older_value_after_a_newer_one_is_never_allowed() {
        let writes = [set(0, 0, 1, 1), set(0, 10, 11, 2)];
        let and = |reads: &[Operation]| [&writes[..], reads].concat();
        assert_rejected(&and(&[get(1, 12, 2), get(1, 14, 1)]), "P10");
        // The Get began before the newer answer, was at another replica, or was flagged.
        assert_accepted(&and(&[get(1, 12, 2), get(1, 13, 1)]));
        assert_accepted(&and(&[get(1, 12, 2), get(2, 14, 1)]));
        assert_accepted(&and(&[get(1, 12, 2), read(1, 14, 1, 0, false, true)]));
        assert_accepted(&and(&[read(1, 12, 2, 0, false, true), get(1, 14, 1)]));
    }

    #[test]
    fn a_removed_value_after_a_miss_is_never_allowed() {
        let writes = [set(0, 0, 1, 1), invalidate(0, 10, 11, 2)];
        let and = |reads: &[Operation]| [&writes[..], reads].concat();
        assert_rejected(&and(&[miss(1, 12, 2), get(1, 14, 1)]), "P10");
        // The miss is older than the removal, or its position is not known.
        assert_accepted(&and(&[miss(1, 12, 1), get(1, 14, 1)]));
        assert_accepted(&and(&[miss(1, 12, 0), get(1, 14, 1)]));
        assert_accepted(&and(&[miss(1, 12, 2), get(2, 14, 1)]));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_seen_or_not() {
        assert_accepted(&[set(0, 0, 1, 1), unknown(0, 10, 20, 2, 5), get(0, 18, 1), get(0, 500, 1)]);
        assert_accepted(&[set(0, 0, 1, 1), unknown(0, 10, 20, 2, 5), get(0, 500, 2)]);
    }

    #[test]
    fn a_write_of_unknown_outcome_does_not_take_effect_after_its_window() {
        // Version 3 belongs to the unknown write. It came after version 2, which began after the
        // window.
        assert_rejected(
            &[unknown(0, 10, 20, 3, 5), set(0, 30, 31, 2), get(0, 40, 3)],
            "after a write of a newer version",
        );
        assert_accepted(&[unknown(0, 10, 20, 3, 50), set(0, 30, 31, 2), get(0, 40, 3)]);
    }

    #[test]
    fn a_value_that_was_never_set_or_failed_is_not_answered() {
        assert_rejected(&[get(0, 5, 9)], "never set");
        let failed = operation(0, 0, 1, Action::Write { value: Some(9), leased: None, outcome: Outcome::Failed });
        assert_rejected(&[failed, get(0, 5, 9)], "failed");
    }

    #[test]
    fn a_value_made_before_a_write_is_not_stored_after_it() {
        let leased = |invoked: u64, leased: u64, sequence: u64| {
            let outcome = Outcome::Ok(version(sequence));
            let action = Action::Write { value: Some(sequence), leased: Some(at(leased)), outcome };
            operation(0, invoked, invoked + 1, action)
        };
        assert_rejected(&[set(0, 0, 1, 1), invalidate(1, 10, 11, 2), leased(20, 5, 3)], "P3");
        assert_rejected(&[invalidate(1, 10, 11, 2), set(0, 0, 30, 3), leased(20, 5, 4)], "P3");
        assert_accepted(&[set(0, 0, 1, 1), invalidate(1, 10, 11, 2), leased(20, 12, 3)]);
        assert_accepted(&[set(0, 0, 1, 1), leased(20, 5, 2), invalidate(1, 10, 30, 3)]);
    }

    #[test]
    fn versions_agree_with_real_time_and_are_unique() {
        assert_rejected(&[set(0, 0, 1, 2), set(1, 10, 11, 1)], "after a write of a newer version");
        assert_rejected(&[set(0, 0, 1, 2), invalidate(1, 0, 1, 2)], "share version");
        assert_accepted(&[set(0, 0, 20, 2), set(1, 10, 11, 1)]);
    }

    #[test]
    fn a_million_operations_are_checked_quickly() {
        let history: Vec<Operation> = (0..1_000_000u64)
            .map(|n| {
                let mut operation = if n % 10 == 0 { set(0, n, n + 1, n + 1) } else { get(0, n, n / 10 * 10 + 1) };
                operation.key = 1;
                operation
            })
            .collect();
        assert_eq!(check(&history, BOUND).violations.len(), 0);
    }
}
