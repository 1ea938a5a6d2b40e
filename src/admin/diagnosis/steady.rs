//! Smoothing of findings: one sample above a threshold is no finding, one below is no recovery.

use std::collections::BTreeMap;

use super::finding::Finding;

/// Kinds that follow from an unavailable Redis, and add nothing to that finding.
const REDIS_GONE_EFFECTS: [&str; 2] = ["redis_slow", "subscription_broken"];

/// Findings of the last samples, by kind.
#[derive(Default)]
pub struct Steady(BTreeMap<&'static str, Held>);

struct Held {
    finding: Finding,
    /// Consecutive samples that found it, and that missed it.
    found: u32,
    missed: u32,
    shown: bool,
}

// === impl Steady ===

impl Steady {
    /// Returns the findings to show after a sample with the findings `found`, the worst first.
    pub fn after(&mut self, found: Vec<Finding>) -> Vec<Finding> {
        let is_gone = found.iter().any(|finding| finding.kind == "redis_gone");
        self.0.values_mut().for_each(|held| held.missed += 1);
        for finding in found {
            match self.0.get_mut(finding.kind) {
                Some(held) => held.find(finding),
                None => drop(self.0.insert(finding.kind, Held::new(finding))),
            }
        }
        self.0.retain(|kind, held| held.stays() && !(is_gone && REDIS_GONE_EFFECTS.contains(kind)));
        let mut shown: Vec<_> = self.0.values().filter(|held| held.shown).map(|held| held.finding.clone()).collect();
        shown.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        shown
    }
}

// === impl Held ===

impl Held {
    fn new(finding: Finding) -> Held {
        Held { shown: samples_to_show(finding.kind) <= 1, finding, found: 1, missed: 0 }
    }

    fn find(&mut self, finding: Finding) {
        self.found = if self.missed > 1 { 1 } else { self.found + 1 };
        self.missed = 0;
        self.shown |= self.found >= samples_to_show(finding.kind);
        self.finding = finding;
    }

    fn stays(&self) -> bool {
        self.missed == 0 || (self.shown && self.missed < samples_to_hide(self.finding.kind))
    }
}

/// Consecutive samples with a finding before it is shown. A broken promise, and the state of this
/// replica, are shown at once.
fn samples_to_show(kind: &str) -> u32 {
    match kind {
        "not_ready" | "violation" | "certificate_ends" => 1,
        "redis_gone" => 2,
        _ => 3,
    }
}

/// Consecutive samples without a finding before it is hidden.
fn samples_to_hide(kind: &str) -> u32 {
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

    /// Shows what is reported after each sample; `!` is one with a slow Redis.
    fn looks(steady: &mut Steady, looks: &str) -> String {
        let found = |look| if look == '!' { slow() } else { Vec::new() };
        looks.chars().map(|look| if steady.after(found(look)).is_empty() { '.' } else { '!' }).collect()
    }

    #[test]
    fn a_finding_is_shown_and_hidden_after_some_samples() {
        assert_eq!(looks(&mut Steady::default(), "!!!!......"), "..!!!!!!..");
    }

    #[test]
    fn what_flaps_neither_appears_nor_dissamples_to_show() {
        assert_eq!(looks(&mut Steady::default(), "!.!!.!.!!."), "..........");
        let mut steady = Steady::default();
        looks(&mut steady, "!!!");
        assert_eq!(looks(&mut steady, ".!..!....!"), "!!!!!!!!!!");
    }

    #[test]
    fn a_broken_promise_is_shown_and_a_state_hidden_at_once() {
        let mut steady = Steady::default();
        assert_eq!(steady.after(vec![finding("violation", Level::Critical)]).len(), 1);
        assert_eq!(steady.after(Vec::new()).len(), 1);
        let mut steady = Steady::default();
        assert_eq!(steady.after(vec![finding("not_ready", Level::Notice)]).len(), 1);
        assert_eq!(steady.after(Vec::new()), []);
    }

    #[test]
    fn the_latest_findings_are_shown_the_worst_first() {
        let mut steady = Steady::default();
        looks(&mut steady, "!!");
        let hot = finding("hot_key", Level::Notice);
        steady.after([slow(), vec![hot.clone()]].concat());
        steady.after([vec![hot.clone()], slow()].concat());
        let late = Finding { evidence: "100 ms".to_owned(), ..finding("redis_slow", Level::Warning) };
        assert_eq!(steady.after(vec![hot.clone(), late.clone()]), [late, hot]);
    }

    #[test]
    fn an_unavailable_redis_is_not_reported_as_slow() {
        let mut steady = Steady::default();
        looks(&mut steady, "!!!");
        let gone = finding("redis_gone", Level::Critical);
        steady.after(vec![gone.clone()]);
        assert_eq!(steady.after(vec![gone.clone()]), std::slice::from_ref(&gone));
        // It may be a moment only.
        assert_eq!(Steady::default().after(vec![gone.clone()]), []);
        assert_eq!(
            (steady.after(Vec::new()).len(), steady.after(Vec::new()).len(), steady.after(Vec::new()).len()),
            (1, 1, 0)
        );
    }
}
