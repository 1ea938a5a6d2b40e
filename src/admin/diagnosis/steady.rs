//! Verdicts that stand still: one look that crosses a threshold is no verdict, and one look below it is no recovery.

use std::collections::BTreeMap;

use super::finding::Finding;

/// Kinds that follow from a Redis that is gone, and say nothing beside it.
const FOLLOWS: [&str; 2] = ["redis_slow", "subscription_broken"];

/// The findings of the last looks, by their kind.
#[derive(Default)]
pub struct Steady(BTreeMap<&'static str, Held>);

struct Held {
    finding: Finding,
    /// Looks in a row that found it, and that missed it.
    found: u32,
    missed: u32,
    told: bool,
}

// === impl Steady ===

impl Steady {
    /// Returns what is to be told after a look that found `found`, the worst first.
    pub fn after(&mut self, found: Vec<Finding>) -> Vec<Finding> {
        let is_gone = found.iter().any(|finding| finding.kind == "redis_gone");
        self.0.values_mut().for_each(|held| held.missed += 1);
        for finding in found {
            match self.0.get_mut(finding.kind) {
                Some(held) => held.find(finding),
                None => drop(self.0.insert(finding.kind, Held::new(finding))),
            }
        }
        self.0.retain(|kind, held| held.stays() && !(is_gone && FOLLOWS.contains(kind)));
        let mut told: Vec<_> = self.0.values().filter(|held| held.told).map(|held| held.finding.clone()).collect();
        told.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        told
    }
}

// === impl Held ===

impl Held {
    fn new(finding: Finding) -> Held {
        Held { told: appears(finding.kind) <= 1, finding, found: 1, missed: 0 }
    }

    fn find(&mut self, finding: Finding) {
        self.found = if self.missed > 1 { 1 } else { self.found + 1 };
        self.missed = 0;
        self.told |= self.found >= appears(finding.kind);
        self.finding = finding;
    }

    fn stays(&self) -> bool {
        self.missed == 0 || (self.told && self.missed < goes(self.finding.kind))
    }
}

/// Looks in a row that have to find something before it is told. A broken promise, and what this replica says of itself, need no second look.
fn appears(kind: &str) -> u32 {
    match kind {
        "not_ready" | "violation" => 1,
        "redis_gone" => 2,
        _ => 3,
    }
}

/// Looks in a row that have to miss something before it is not told any more.
fn goes(kind: &str) -> u32 {
    match kind {
        "not_ready" => 1,
        "redis_gone" => 3,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::diagnosis::finding::Level;

    fn finding(kind: &'static str, level: Level) -> Finding {
        let text = String::new();
        let (title, meaning, evidence) = (kind.to_owned(), text.clone(), text);
        Finding { level, kind, title, meaning, evidence, action: "", runbook: "" }
    }

    fn slow() -> Vec<Finding> {
        vec![finding("redis_slow", Level::Warning)]
    }

    /// What is told after each look; `!` stands for one that finds a slow Redis.
    fn looks(steady: &mut Steady, looks: &str) -> String {
        let found = |look| if look == '!' { slow() } else { Vec::new() };
        looks.chars().map(|look| if steady.after(found(look)).is_empty() { '.' } else { '!' }).collect()
    }

    #[test]
    fn it_appears_after_some_looks_and_goes_after_some_more() {
        assert_eq!(looks(&mut Steady::default(), "!!!!......"), "..!!!!!!..");
    }

    #[test]
    fn what_flaps_neither_appears_nor_disappears() {
        assert_eq!(looks(&mut Steady::default(), "!.!!.!.!!."), "..........");
        let mut steady = Steady::default();
        looks(&mut steady, "!!!");
        assert_eq!(looks(&mut steady, ".!..!....!"), "!!!!!!!!!!");
    }

    #[test]
    fn a_broken_promise_is_told_at_once_and_a_state_goes_at_once_too() {
        let mut steady = Steady::default();
        assert_eq!(steady.after(vec![finding("violation", Level::Critical)]).len(), 1);
        assert_eq!(steady.after(Vec::new()).len(), 1);
        let mut steady = Steady::default();
        assert_eq!(steady.after(vec![finding("not_ready", Level::Notice)]).len(), 1);
        assert_eq!(steady.after(Vec::new()), []);
    }

    #[test]
    fn what_is_told_is_the_latest_and_the_worst_comes_first() {
        let mut steady = Steady::default();
        looks(&mut steady, "!!");
        let hot = finding("hot_key", Level::Notice);
        steady.after([slow(), vec![hot.clone()]].concat());
        steady.after([vec![hot.clone()], slow()].concat());
        let late = Finding { evidence: "100 ms".to_owned(), ..finding("redis_slow", Level::Warning) };
        assert_eq!(steady.after(vec![hot.clone(), late.clone()]), [late, hot]);
    }

    #[test]
    fn a_redis_that_is_gone_is_not_slow_as_well() {
        let mut steady = Steady::default();
        looks(&mut steady, "!!!");
        let gone = finding("redis_gone", Level::Critical);
        steady.after(vec![gone.clone()]);
        assert_eq!(steady.after(vec![gone.clone()]), std::slice::from_ref(&gone));
        // For a moment it may be away.
        assert_eq!(Steady::default().after(vec![gone.clone()]), []);
        assert_eq!(
            (steady.after(Vec::new()).len(), steady.after(Vec::new()).len(), steady.after(Vec::new()).len()),
            (1, 1, 0)
        );
    }
}
