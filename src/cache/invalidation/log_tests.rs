use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::cache::invalidation::coverage::Mark;
use crate::cache::invalidation::pattern::Pattern;
use crate::cache::invalidation::selector::prefixes;
use crate::cache::invalidation::table_half::weight;

const PARTITIONS: u16 = 2;

fn at(sequence: u64) -> Version {
    Version::new(7, sequence)
}

fn moment(sequence: u64) -> Moment {
    Moment(1_000 + sequence)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn tags(tags: &[&str]) -> Vec<Bytes> {
    tags.iter().map(|tag| bytes(tag)).collect()
}

impl InvalidationLog {
    fn removed(&self, selector: &Selector, sequence: u64) {
        self.record(0, selector, at(sequence), None);
    }

    fn marked(&self, selector: &Selector, sequence: u64) {
        self.record(0, selector, at(sequence), Some(moment(sequence)));
    }

    /// Returns how an entry of `key` is covered that was written and known at `sequence`.
    fn cover(&self, key: &str, with: &[&str], sequence: u64) -> Coverage {
        self.known(key, with, sequence, sequence)
    }

    fn known(&self, key: &str, with: &[&str], sequence: u64, position: u64) -> Coverage {
        let (version, position, known_at, tags) = (at(sequence), at(position), moment(sequence), tags(with));
        let judged = EntryFacts { partition: 0, key: key.as_bytes(), tags: &tags, version, position, known_at };
        self.judge(&judged).0
    }
}

fn small(limit: usize, bytes: usize) -> Arc<InvalidationLog> {
    member(&Budget::new(bytes), limit)
}

fn large(limit: usize) -> Arc<InvalidationLog> {
    small(limit, usize::MAX)
}

fn member(budget: &Arc<Budget>, limit: usize) -> Arc<InvalidationLog> {
    InvalidationLog::within(budget, PARTITIONS, limit)
}

/// Returns the bytes of the prefixes and tags, counted from the table.
fn taken(tombstones: &InvalidationLog) -> usize {
    let table = tombstones.read();
    let of_map = |map: &HashMap<Bytes, Row>| {
        // One eighth of a hash table stays free.
        let places = map.capacity() * 8 / 7 * (size_of::<(Bytes, Row)>() + 1);
        let rows = map.iter().map(|(name, row)| {
            let marks = row.iter().filter(|stone| stone.marked.is_some()).count();
            name.len() + size_of_val(&row[..]) + marks * size_of::<Mark>()
        });
        places + rows.sum::<usize>()
    };
    [&table.young, &table.old].iter().map(|rows| of_map(&rows.prefixes) + of_map(&rows.tags)).sum()
}

fn tag(name: &str) -> Selector {
    Selector::Tag(bytes(name))
}

fn prefix(name: &str) -> Selector {
    Selector::Prefix(bytes(name))
}

#[test]
fn an_invalidation_only_moves_forward_and_stays_in_its_partition() {
    let tombstones = large(10);
    tombstones.removed(&Selector::Namespace, 7);
    let changes = tombstones.changes(0);
    tombstones.removed(&Selector::Namespace, 5);
    tombstones.record(0, &Selector::Namespace, Version::new(6, 100), None);
    assert_eq!((tombstones.changes(0), tombstones.changes(1)), (changes, 0), "nothing new");
    assert_eq!((tombstones.latest(0), tombstones.latest(1)), (at(7), Version::ZERO));
    assert_eq!([6, 7].map(|sequence| tombstones.cover("k", &[], sequence)), [Coverage::Gone, Coverage::Clear]);
}

#[test]
fn each_selector_covers_what_it_selects() {
    let covers = |selector: &Selector, key, with: &[&str]| {
        let tombstones = large(10);
        tombstones.removed(selector, 5);
        tombstones.cover(key, with, 4) == Coverage::Gone
    };
    assert!(covers(&prefix("user"), "user:42", &[]) && !covers(&prefix("user"), "users", &[]));
    assert!(covers(&tag("a"), "k", &["b", "a"]) && !covers(&tag("a"), "a", &["b"]));
    let pattern = Selector::Pattern(bytes("u*:?"));
    assert!(covers(&pattern, "user:4", &[]) && !covers(&pattern, "user:42", &[]));
    assert!(covers(&Selector::Namespace, "anything", &[]));
}

#[test]
fn what_was_known_to_be_current_later_is_not_covered() {
    let tombstones = large(10);
    tombstones.removed(&tag("a"), 5);
    assert_eq!(tombstones.known("k", &["a"], 3, 4), Coverage::Gone);
    assert_eq!(tombstones.known("k", &["a"], 3, 5), Coverage::Clear, "who knew it then knew of the invalidation");
}

#[test]
fn what_is_marked_more_than_once_is_marked_since_the_first_time_or_longer() {
    let tombstones = large(10);
    tombstones.marked(&tag("a"), 5);
    assert_eq!(tombstones.cover("k", &["a"], 4), Coverage::Marked(moment(5)));
    tombstones.marked(&tag("a"), 9);
    assert_eq!(tombstones.cover("k", &["a"], 4), Coverage::Marked(moment(4)), "not before it was written");
    assert_eq!(tombstones.cover("k", &["a"], 6), Coverage::Marked(moment(9)));
    tombstones.marked(&tag("a"), 7);
    assert_eq!(tombstones.cover("k", &["a"], 6), Coverage::Marked(moment(6)), "heard of late");
    tombstones.removed(&prefix("k"), 8);
    assert_eq!(
        [7, 8].map(|sequence| tombstones.cover("k", &["a"], sequence)),
        [Coverage::Gone, Coverage::Marked(moment(9))]
    );
}

#[test]
fn what_is_forgotten_is_asked_for_again() {
    let tombstones = large(10);
    for sequence in 1..=21 {
        tombstones.removed(&tag(&sequence.to_string()), sequence);
    }
    assert_eq!(tombstones.cover("k", &[], 9), Coverage::Gone, "ten of them are forgotten");
    assert_eq!(tombstones.known("k", &[], 9, 10), Coverage::Clear, "it was known after the last of those");
    assert_eq!(tombstones.cover("k", &["11"], 10), Coverage::Gone);
    assert_eq!(tombstones.cover("k", &["11"], 11), Coverage::Clear);
    for sequence in 22..=21 + MAX_PATTERNS as u64 + 1 {
        tombstones.removed(&Selector::Pattern(bytes(&format!("{sequence}*"))), sequence);
    }
    assert_eq!([21, 22].map(|sequence| tombstones.cover("k", &[], sequence)), [Coverage::Gone, Coverage::Clear]);
    assert!(!tombstones.has_room_for(b"new") && tombstones.has_room_for(b"23*"));
    tombstones.drop_reclaimed(b"23*", &[at(22), Version::ZERO]);
    assert!(!tombstones.has_room_for(b"new"), "it was invalidated again since");
    tombstones.drop_reclaimed(b"23*", &[at(23), Version::ZERO]);
    assert!(tombstones.has_room_for(b"new"));
}

#[test]
fn a_number_line_that_starts_over_knows_nothing() {
    let tombstones = large(1);
    for selector in [Selector::Namespace, prefix("k"), tag("a"), tag("b"), Selector::Pattern(bytes("*"))] {
        tombstones.removed(&selector, 9);
        tombstones.record(1, &selector, at(9), None);
    }
    let changes = tombstones.changes(0);
    tombstones.forget(0);
    assert!(tombstones.changes(0) > changes, "who has looked looks again");
    assert_eq!(tombstones.cover("k", &["a", "b"], 1), Coverage::Clear);
    assert_eq!(tombstones.latest(1), at(9), "the others go on");
}

#[test]
fn bytes_are_counted_as_they_are() {
    let (budget, most) = (Budget::new(usize::MAX), 1000);
    let tombstones = member(&budget, most);
    for number in 0..2 * most as u64 {
        let selector =
            if number % 2 == 0 { tag(&format!("tag {number}")) } else { prefix(&format!("prefix {number}")) };
        match number % 3 {
            0 => tombstones.marked(&selector, number + 1),
            _ => tombstones.removed(&selector, number + 1),
        }
        // A known invalidation adds nothing.
        tombstones.removed(&selector, number + 1);
    }
    let (counted, taken_now) = (tombstones.bytes(), taken(&tombstones));
    assert_eq!(budget.used(), counted);
    assert!((taken_now..2 * taken_now).contains(&counted), "{counted} bytes are counted, {taken_now} are taken");
    tombstones.forget(0);
    let unmarked = tombstones.bytes();
    assert!(unmarked < counted && unmarked >= taken(&tombstones), "{unmarked} bytes are counted");
    tombstones.halve();
    tombstones.halve();
    while tombstones.bytes() > 0 {
        tombstones.halve();
    }
    assert_eq!((budget.used(), taken(&tombstones)), (0, 0));
}

#[test]
fn beyond_the_budget_the_older_half_of_the_largest_is_forgotten() {
    let budget = Budget::new(100 * weight(&bytes("tag 000"), PARTITIONS.into()));
    let (large, small) = (member(&budget, 1000), member(&budget, 1000));
    (1..=10).for_each(|sequence| small.removed(&tag(&format!("tag {sequence:03}")), sequence));
    (1..=90).for_each(|sequence| large.removed(&tag(&format!("tag {sequence:03}")), sequence));
    assert_eq!([&small, &large].map(|tombstones| tombstones.cover("k", &[], 0)), [Coverage::Clear; 2]);
    large.removed(&tag("tag 091"), 91);
    // 46 of 91 are forgotten: entries known before the last of them have to be fetched again.
    assert_eq!([45, 46].map(|sequence| large.cover("k", &[], sequence)), [Coverage::Gone, Coverage::Clear]);
    assert_eq!([59, 60].map(|sequence| large.cover("k", &["tag 060"], sequence)), [Coverage::Gone, Coverage::Clear]);
    assert_eq!(small.cover("k", &[], 0), Coverage::Clear, "the other namespace forgets nothing");
    for sequence in 92..1000 {
        large.removed(&tag(&format!("tag {sequence:03}")), sequence);
        assert!(budget.used() <= 100 * weight(&bytes("tag 000"), PARTITIONS.into()));
        assert_eq!(large.cover("k", &[&format!("tag {sequence:03}")], sequence - 1), Coverage::Gone);
    }
    assert!(large.cover("k", &[], 980) == Coverage::Clear && small.cover("k", &[], 0) == Coverage::Clear);
    assert_eq!(small.cover("k", &["tag 005"], 4), Coverage::Gone);
}

#[derive(Clone, Debug)]
enum Step {
    Invalidate(usize, bool),
    Look(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..9, any::<bool>()).prop_map(|(selector, marks)| Step::Invalidate(selector, marks)),
        (0usize..4, 0u64..40).prop_map(|(entry, ago)| Step::Look(entry, ago)),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Compares with a list of all invalidations: never milder, and no harsher when nothing is
    /// forgotten.
    #[test]
    fn it_agrees_with_a_full_memory(steps in steps(), limit in 1usize..8, rows in 1usize..8) {
        let selectors = [
            Selector::Namespace, prefix("a"), prefix("a:b"), prefix("c"), tag("s"), tag("t"), tag("u"),
            Selector::Pattern(bytes("*b")), Selector::Pattern(bytes("a?b")),
        ];
        let entries: [(&str, &[&str]); 4] = [("a:b", &["s"]), ("c", &[]), ("a/x", &["t", "u"]), ("b", &["s", "t"])];
        let selects = |selector: &Selector, (key, with): (&str, &[&str])| match selector {
            Selector::Namespace => true,
            Selector::Prefix(prefix) => prefixes(key.as_bytes()).any(|candidate| candidate == prefix),
            Selector::Tag(tag) => with.iter().any(|other| other.as_bytes() == tag),
            Selector::Pattern(text) => Pattern::new(text).is_ok_and(|pattern| pattern.matches(key.as_bytes())),
        };
        let bytes = if rows == 7 { usize::MAX } else { rows * 300 };
        let tombstones = small(limit, bytes);
        let mut all: HashMap<usize, Vec<(u64, bool)>> = HashMap::new();
        for (sequence, step) in (1u64..).zip(steps) {
            match step {
                Step::Invalidate(selector, true) => tombstones.marked(&selectors[selector], sequence),
                Step::Invalidate(selector, false) => tombstones.removed(&selectors[selector], sequence),
                Step::Look(entry, ago) => {
                    let written = sequence.saturating_sub(ago);
                    let covering = |(selector, _): &(&usize, &Vec<(u64, bool)>)| selects(&selectors[**selector], entries[entry]);
                    let later: Vec<_> = all.iter().filter(covering).flat_map(|(_, at)| at).filter(|(at, _)| *at > written).collect();
                    let marked = later.iter().filter(|(_, marks)| *marks).map(|(at, _)| moment(*at)).min();
                    let gone = later.iter().any(|(_, marks)| !marks);
                    match tombstones.cover(entries[entry].0, entries[entry].1, written) {
                        Coverage::Gone => prop_assert!(gone || limit < 6 || rows < 7),
                        Coverage::Marked(since) => prop_assert!(!gone && marked.is_some_and(|first| since <= first)),
                        Coverage::Clear => prop_assert!(!gone && marked.is_none()),
                    }
                }
            }
            if let Step::Invalidate(selector, marks) = step {
                all.entry(selector).or_default().push((sequence, marks));
            }
            prop_assert!(tombstones.bytes() <= bytes);
        }
    }
}
