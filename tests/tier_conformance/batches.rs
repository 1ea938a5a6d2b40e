//! Conformance of L2: many keys at once, and the tags in messages.

use twintier::cache::coherence::watch::filter::{Scope, WatchFilter};
use twintier::cache::coherence::watch::{Event, Watch, Watching};
use twintier::cache::entry::Tags;
use twintier::cache::tier::ConditionFailure;

use super::*;

pub async fn conforms(fixture: &Fixture) {
    a_batch_read_returns_entries_in_order(fixture).await;
    writes_of_one_step_share_a_position_and_fail_independently(fixture).await;
    messages_list_old_and_new_tags_of_entries(fixture).await;
}

async fn a_batch_read_returns_entries_in_order(fixture: &Fixture) {
    let keys: Vec<Key> = (0..60).map(|n| fixture.key("one", &format!("many {n}"))).collect();
    let mut stored = Vec::new();
    for key in keys.iter().step_by(3) {
        stored.push(fixture.store(key, "x").await);
    }
    fixture.invalidate(1, keys[0].namespace(), &[Selector::Prefix("many 3".into())]).await;
    let reads = fixture.l2.read_many(&keys, fixture.until().into()).await;
    assert_eq!(reads.len(), keys.len());
    for (index, (key, read)) in keys.iter().zip(reads).enumerate() {
        let (alone, read) = (fixture.l2.read(key, fixture.until().into()).await.unwrap(), read.unwrap());
        assert_eq!(read.position, alone.position);
        let versions = [alone.entry, read.entry].map(|entry| entry.map(|entry| entry.version));
        assert_eq!(versions[0], versions[1], "{key:?}");
        if index % 3 == 0 && fixture.partition(key) != 1 {
            assert_eq!(versions[1], Some(stored[index / 3]));
        }
    }
    assert!(fixture.l2.read_many(&[], fixture.until().into()).await.is_empty());
}

async fn writes_of_one_step_share_a_position_and_fail_independently(fixture: &Fixture) {
    let keys: Vec<Key> = (0..200).map(|n| fixture.key("one", &format!("step of many {n}"))).collect();
    let keys: Vec<Key> = keys.into_iter().filter(|key| fixture.partition(key) == 3).collect();
    let before = fixture.store(&keys[0], "x").await;
    let writes: Vec<Write> = keys
        .iter()
        .map(|key| Write {
            key: key.clone(),
            entry: NewEntry::new(Content::Value("y".into()), Lifetime::of(HOUR)),
            condition: Condition::Absent,
            request: None,
        })
        .collect();
    let written = fixture.l2.write(3, &writes, fixture.until().into()).await.unwrap();
    assert!(
        matches!(&written[0], WriteResult::Refused { why: ConditionFailure::AlreadyPresent, current, .. } if *current == Some(before))
    );
    let next = Version::new(before.epoch, before.sequence + 1);
    for (key, written) in keys.iter().zip(written).skip(1) {
        assert_eq!((version(written), fixture.read(key).await.unwrap().version), (next, next));
    }
}

async fn messages_list_old_and_new_tags_of_entries(fixture: &Fixture) {
    let key = fixture.key("one", "tagged");
    let interest = |tag: &str| WatchFilter { namespace: "one".into(), scope: Scope::Tag(tag.to_owned().into()) };
    let watching = |tag| Watching { filter: interest(tag), from: None, heartbeat: 60 * HOUR, limit: 8 };
    let tagged = |tags: &[&str]| {
        let tags = Tags::new(tags.iter().map(|tag| (*tag).to_owned().into()).collect());
        NewEntry { tags, ..NewEntry::new(Content::Value("x".into()), Lifetime::of(HOUR)) }
    };
    let mut watch = fixture.coherence.watch(watching("red")).unwrap();
    let mut other = fixture.coherence.watch(watching("green")).unwrap();
    let versions = [
        version(fixture.write_entry(&key, tagged(&["red", "blue"]), Condition::None).await),
        version(fixture.write_entry(&key, tagged(&["blue"]), Condition::None).await),
        // The tags of a removed entry are unknown.
        fixture.remove(fixture.partition(&key), std::slice::from_ref(&key)).await.version,
        version(fixture.write_entry(&key, tagged(&[]), Condition::None).await),
    ];
    let versions = [versions[0], versions[1], versions[3]];
    for version in versions {
        assert_eq!(next_change(&mut watch).await, version);
    }
    // The other watch gets the first message too if there were entries with tags before.
    let mut last = next_change(&mut other).await;
    while last != versions[2] {
        last = next_change(&mut other).await;
    }
}

async fn next_change(watch: &mut Watch) -> Version {
    loop {
        if let Event::Change(change) = watch.next().await {
            return change.version;
        }
    }
}
