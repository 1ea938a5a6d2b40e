//! Reads and writes of many keys.

use super::*;
use crate::cache::key::KeyRef;
use crate::cache::tier::ConditionFailure;
use crate::cache::tier::bus::Message;

/// Result of a read of one key.
type Gist = Result<(u64, Tier, bool), Miss>;

impl World {
    /// Begins a read of many keys in a task of its own, which returns the result of each.
    fn get_many(&self, names: &[&'static str], token: Token) -> tokio::task::JoinHandle<Vec<Gist>> {
        let (cache, namespace, names) = (self.cache.clone(), self.bench.namespace.clone(), names.to_vec());
        tokio::spawn(async move {
            let keys: Vec<KeyRef<'_>> = names.iter().map(|name| KeyRef::new(&namespace, name.as_bytes())).collect();
            let consistency = Consistency::Bounded(None);
            let many = GetMany { keys: &keys, consistency, token: &token, deadline: Moment::FOREVER };
            let answers = cache.get_many(many).await.expect("not halted");
            answers.iter().map(|answer| gist(answer.as_ref().expect("no item fails"))).collect()
        })
    }
}

#[tokio::test]
async fn of_many_keys_only_those_that_memory_lacks_are_asked_for_and_each_once() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    let many = world.get_many(&["k", "a", "k", "b", "a"], Token::default());
    world.read_call().await.send(world.found(4, 5)).ok();
    world.read_call().await.send(Ok(ReadResult { position: Version::new(EPOCH, 5), entry: None })).ok();
    let (warm, a, b) = (Ok((3, Tier::L1, false)), Ok((4, Tier::L2, false)), Err(Miss::Absent));
    assert_eq!(many.await.expect("no panic"), [warm, a, warm, b, a]);
    let many = world.get_many(&["a", "k"], Token::default());
    assert_eq!(many.await.expect("no panic"), [Ok((4, Tier::L1, false)), warm], "nothing is asked for again");
}

#[tokio::test]
async fn a_fill_of_many_does_not_bury_what_was_heard_of_meanwhile() {
    let mut world = World::new(Duration::ZERO);
    let many = world.get_many(&["k", "a"], Token::default());
    let (first, second) = (world.read_call().await, world.read_call().await);
    let change = Change::of_keys(Effect::Removed, &[world.bench.key("k")]);
    world.bench.coherence.apply(Message { partition: 0, version: Version::new(EPOCH, 6), change, own: false });
    first.send(world.found(3, 5)).ok();
    second.send(world.found(4, 5)).ok();
    many.await.expect("no panic");
    assert!(world.bench.l1.get(world.bench.key("k").as_ref()).is_none(), "it was removed after it was read");
}

#[tokio::test]
async fn of_many_keys_each_answer_keeps_to_the_token() {
    let mut world = World::new(Duration::from_secs(60));
    world.warm(3).await;
    let many = world.get_many(&["k", "a"], Token::at(0, Version::new(EPOCH, 7)));
    world.read_call().await.send(world.found(3, 6)).ok();
    world.read_call().await.send(away()).ok();
    assert_eq!(many.await.expect("no panic"), [Err(Miss::TokenNotReached), Err(Miss::Unavailable)]);
}

#[tokio::test]
async fn of_many_writes_each_is_taken_or_not_for_itself() {
    let mut world = World::new(Duration::ZERO);
    let entry = NewEntry::new(Content::KnownAbsent, Lifetime::of(BOUND));
    let write = |name: &str| Write {
        key: world.bench.key(name),
        entry: entry.clone(),
        condition: Condition::Absent,
        request: None,
    };
    let many = SetMany {
        namespace: world.bench.namespace.clone(),
        writes: ["a", "b", "c"].map(write).into(),
        barrier: Barrier::None,
        deadline: Moment::FOREVER,
    };
    let cache = world.cache.clone();
    let caller = tokio::spawn(async move { cache.set_many(many).await });
    let Some(Call::Write(answer)) = world.calls.recv().await else { panic!("one step") };
    let position = Version::new(EPOCH, 6);
    let refused = WriteResult::Refused { why: ConditionFailure::AlreadyPresent, current: None, position };
    answer.send(Ok(vec![WriteResult::Stored(world.entry(6)), refused, WriteResult::Failed(L2Error::Full)])).ok();
    let done = caller.await.expect("no panic").expect("each for itself");
    let outcomes: Vec<_> = done.results.into_iter().map(|result| result.map(|answer| answer.outcome)).collect();
    assert_eq!(outcomes, [Ok(SetOutcome::Stored), Ok(SetOutcome::AlreadyPresent), Err(CacheError::Full)]);
    assert_eq!(done.token, Token::at(0, position));
    let memory = |name: &str| world.bench.l1.get(world.bench.key(name).as_ref()).is_some();
    assert_eq!(["a", "b", "c"].map(memory), [true, false, false]);
}

#[tokio::test]
async fn what_a_batch_has_shown_is_not_followed_by_something_older() {
    let mut world = World::new(Duration::ZERO);
    world.warm(3).await;
    world.bench.coherence.disconnected(&ALL);
    let many = world.get_many(&["k"], Token::at(0, Version::new(EPOCH, 6)));
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(many.await.expect("no panic"), [Ok((6, Tier::L2, false))]);
    let many = world.get_many(&["k"], Token::default());
    world.read_call().await.send(world.found(6, 6)).ok();
    assert_eq!(many.await.expect("no panic"), [Ok((6, Tier::L2, false))]);
}
