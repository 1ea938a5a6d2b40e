//! Conformance of L2: many keys at once, and the tags in messages.

use twintier::cache::coherence::watch::filter::{Scope, WatchFilter};
use twintier::cache::coherence::watch::{Event, Watch, Watching};
use twintier::cache::entry::Tags;
use twintier::cache::tier::ConditionFailure;

use super::*;

pub async fn conforms(bench: &Bench) {
    many_keys_are_read_at_once_in_their_order(bench).await;
    writes_of_one_step_share_a_position_and_succeed_or_fail_each_for_itself(bench).await;
    messages_say_which_tags_their_entries_had_and_have(bench).await;
}

async fn many_keys_are_read_at_once_in_their_order(bench: &Bench) {
    let keys: Vec<Key> = (0..60).map(|n| bench.key("one", &format!("many {n}"))).collect();
    let mut stored = Vec::new();
    for key in keys.iter().step_by(3) {
        stored.push(bench.store(key, "x").await);
    }
    bench.invalidate(1, keys[0].namespace(), &[Selector::Prefix("many 3".into())]).await;
    let reads = bench.l2.read_many(&keys, bench.until().into()).await;
    assert_eq!(reads.len(), keys.len());
    for (index, (key, read)) in keys.iter().zip(reads).enumerate() {
        let (alone, read) = (bench.l2.read(key, bench.until().into()).await.unwrap(), read.unwrap());
        assert_eq!(read.position, alone.position);
        let versions = [alone.entry, read.entry].map(|entry| entry.map(|entry| entry.version));
        assert_eq!(versions[0], versions[1], "{key:?}");
        if index % 3 == 0 && bench.partition(key) != 1 {
            assert_eq!(versions[1], Some(stored[index / 3]));
        }
    }
    assert!(bench.l2.read_many(&[], bench.until().into()).await.is_empty());
}

async fn writes_of_one_step_share_a_position_and_succeed_or_fail_each_for_itself(bench: &Bench) {
    let keys: Vec<Key> = (0..200).map(|n| bench.key("one", &format!("step of many {n}"))).collect();
    let keys: Vec<Key> = keys.into_iter().filter(|key| bench.partition(key) == 3).collect();
    let before = bench.store(&keys[0], "x").await;
    let writes: Vec<Write> = keys
        .iter()
        .map(|key| Write {
            key: key.clone(),
            entry: NewEntry::new(Content::Value("y".into()), Lifetime::of(HOUR)),
            condition: Condition::Absent,
            request: None,
        })
        .collect();
    let written = bench.l2.write(3, &writes, bench.until().into()).await.unwrap();
    assert!(
        matches!(&written[0], WriteResult::Refused { why: ConditionFailure::AlreadyPresent, current, .. } if *current == Some(before))
    );
    let next = Version::new(before.epoch, before.sequence + 1);
    for (key, written) in keys.iter().zip(written).skip(1) {
        assert_eq!((version(written), bench.read(key).await.unwrap().version), (next, next));
    }
}

async fn messages_say_which_tags_their_entries_had_and_have(bench: &Bench) {
    let key = bench.key("one", "tagged");
    let interest = |tag: &str| WatchFilter { namespace: "one".into(), scope: Scope::Tag(tag.to_owned().into()) };
    let watching = |tag| Watching { filter: interest(tag), from: None, heartbeat: 60 * HOUR, limit: 8 };
    let tagged = |tags: &[&str]| {
        let tags = Tags::new(tags.iter().map(|tag| (*tag).to_owned().into()).collect());
        NewEntry { tags, ..NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)) }
    };
    let mut watch = bench.coherence.watch(watching("red")).unwrap();
    let mut other = bench.coherence.watch(watching("green")).unwrap();
    let told = [
        version(bench.write_entry(&key, tagged(&["red", "blue"]), Condition::None).await),
        version(bench.write_entry(&key, tagged(&["blue"]), Condition::None).await),
        // Nobody knows what tags the entry had that is gone.
        bench.remove(bench.partition(&key), std::slice::from_ref(&key)).await.version,
        version(bench.write_entry(&key, tagged(&[]), Condition::None).await),
    ];
    let told = [told[0], told[1], told[3]];
    for version in told {
        assert_eq!(next_change(&mut watch).await, version);
    }
    // Of those of the first only if there were entries with tags before.
    let mut last = next_change(&mut other).await;
    while last != told[2] {
        last = next_change(&mut other).await;
    }
}

async fn next_change(watch: &mut Watch) -> Version {
    loop {
        if let Event::Change(told) = watch.next().await {
            return told.version;
        }
    }
}
