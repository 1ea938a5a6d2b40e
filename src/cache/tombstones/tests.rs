use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

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

impl Tombstones {
    fn removed(&self, selector: &Selector, sequence: u64) {
        self.add(0, selector, at(sequence), None);
    }

    fn marked(&self, selector: &Selector, sequence: u64) {
        self.add(0, selector, at(sequence), Some(moment(sequence)));
    }

    /// How an entry of `key` is covered that was written and known at `sequence`.
    fn cover(&self, key: &str, with: &[&str], sequence: u64) -> Cover {
        self.known(key, with, sequence, sequence)
    }

    fn known(&self, key: &str, with: &[&str], sequence: u64, position: u64) -> Cover {
        let (version, position, known_at, tags) = (at(sequence), at(position), moment(sequence), tags(with));
        let judged = Judged { partition: 0, key: key.as_bytes(), tags: &tags, version, position, known_at };
        self.judge(&judged).0
    }
}

fn tag(name: &str) -> Selector {
    Selector::Tag(bytes(name))
}

fn prefix(name: &str) -> Selector {
    Selector::Prefix(bytes(name))
}

#[test]
fn an_invalidation_only_moves_forward_and_stays_in_its_partition() {
    let tombstones = Tombstones::new(PARTITIONS, 10);
    tombstones.removed(&Selector::Namespace, 7);
    let changes = tombstones.changes(0);
    tombstones.removed(&Selector::Namespace, 5);
    tombstones.add(0, &Selector::Namespace, Version::new(6, 100), None);
    assert_eq!((tombstones.changes(0), tombstones.changes(1)), (changes, 0), "nothing new");
    assert_eq!((tombstones.latest(0), tombstones.latest(1)), (at(7), Version::ZERO));
    assert_eq!([6, 7].map(|sequence| tombstones.cover("k", &[], sequence)), [Cover::Gone, Cover::Clear]);
}

#[test]
fn each_selector_covers_what_it_selects() {
    let covers = |selector: &Selector, key, with: &[&str]| {
        let tombstones = Tombstones::new(PARTITIONS, 10);
        tombstones.removed(selector, 5);
        tombstones.cover(key, with, 4) == Cover::Gone
    };
    assert!(covers(&prefix("user"), "user:42", &[]) && !covers(&prefix("user"), "users", &[]));
    assert!(covers(&tag("a"), "k", &["b", "a"]) && !covers(&tag("a"), "a", &["b"]));
    let pattern = Selector::Pattern(bytes("u*:?"));
    assert!(covers(&pattern, "user:4", &[]) && !covers(&pattern, "user:42", &[]));
    assert!(covers(&Selector::Namespace, "anything", &[]));
}

#[test]
fn what_was_known_to_be_current_later_is_not_covered() {
    let tombstones = Tombstones::new(PARTITIONS, 10);
    tombstones.removed(&tag("a"), 5);
    assert_eq!(tombstones.known("k", &["a"], 3, 4), Cover::Gone);
    assert_eq!(tombstones.known("k", &["a"], 3, 5), Cover::Clear, "who knew it then knew of the invalidation");
}

#[test]
fn what_is_marked_more_than_once_is_marked_since_the_first_time_or_longer() {
    let tombstones = Tombstones::new(PARTITIONS, 10);
    tombstones.marked(&tag("a"), 5);
    assert_eq!(tombstones.cover("k", &["a"], 4), Cover::Marked(moment(5)));
    tombstones.marked(&tag("a"), 9);
    assert_eq!(tombstones.cover("k", &["a"], 4), Cover::Marked(moment(4)), "not before it was written");
    assert_eq!(tombstones.cover("k", &["a"], 6), Cover::Marked(moment(9)));
    tombstones.marked(&tag("a"), 7);
    assert_eq!(tombstones.cover("k", &["a"], 6), Cover::Marked(moment(6)), "heard of late");
    tombstones.removed(&prefix("k"), 8);
    assert_eq!([7, 8].map(|sequence| tombstones.cover("k", &["a"], sequence)), [Cover::Gone, Cover::Marked(moment(9))]);
}

#[test]
fn what_is_forgotten_is_asked_for_again() {
    let tombstones = Tombstones::new(PARTITIONS, 10);
    for sequence in 1..=21 {
        tombstones.removed(&tag(&sequence.to_string()), sequence);
    }
    assert_eq!(tombstones.cover("k", &[], 9), Cover::Gone, "ten of them are forgotten");
    assert_eq!(tombstones.known("k", &[], 9, 10), Cover::Clear, "it was known after the last of those");
    assert_eq!(tombstones.cover("k", &["11"], 10), Cover::Gone);
    assert_eq!(tombstones.cover("k", &["11"], 11), Cover::Clear);
    for sequence in 22..=21 + PATTERNS as u64 + 1 {
        tombstones.removed(&Selector::Pattern(bytes(&format!("{sequence}*"))), sequence);
    }
    assert_eq!([21, 22].map(|sequence| tombstones.cover("k", &[], sequence)), [Cover::Gone, Cover::Clear]);
    assert!(!tombstones.has_room_for(b"new") && tombstones.has_room_for(b"23*"));
    tombstones.reclaimed(b"23*", &[at(22), Version::ZERO]);
    assert!(!tombstones.has_room_for(b"new"), "it was invalidated again since");
    tombstones.reclaimed(b"23*", &[at(23), Version::ZERO]);
    assert!(tombstones.has_room_for(b"new"));
}

#[test]
fn a_number_line_that_starts_over_knows_nothing() {
    let tombstones = Tombstones::new(PARTITIONS, 1);
    for selector in [Selector::Namespace, prefix("k"), tag("a"), tag("b"), Selector::Pattern(bytes("*"))] {
        tombstones.removed(&selector, 9);
        tombstones.add(1, &selector, at(9), None);
    }
    let changes = tombstones.changes(0);
    tombstones.forget(0);
    assert!(tombstones.changes(0) > changes, "who has looked looks again");
    assert_eq!(tombstones.cover("k", &["a", "b"], 1), Cover::Clear);
    assert_eq!(tombstones.latest(1), at(9), "the others go on");
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
    /// Against a list of everything that was ever invalidated: never milder, and when nothing is forgotten no harsher.
    #[test]
    fn it_agrees_with_a_full_memory(steps in steps(), limit in 1usize..8) {
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
        let tombstones = Tombstones::new(PARTITIONS, limit);
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
                        Cover::Gone => prop_assert!(gone || limit < 6),
                        Cover::Marked(since) => prop_assert!(!gone && marked.is_some_and(|first| since <= first)),
                        Cover::Clear => prop_assert!(!gone && marked.is_none()),
                    }
                }
            }
            if let Step::Invalidate(selector, marks) = step {
                all.entry(selector).or_default().push((sequence, marks));
            }
        }
    }
}
