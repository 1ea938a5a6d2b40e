//! Random operations on a service without Redis, compared with a plain map.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use twintier::backend::local::Local;
use twintier::backend::memory::{Eviction, L1Config, MemoryL1};
use twintier::cache::clock::{Clock, ManualClock, Moment};
use twintier::cache::coherence::safeguards::Safeguards;
use twintier::cache::coherence::{Coherence, CoherenceConfig};
use twintier::cache::entry::{Content, NewEntry};
use twintier::cache::invalidation::selector::Selector;
use twintier::cache::key::{Key, KeyRef};
use twintier::cache::lifetime::Lifetime;
use twintier::cache::namespace::{Namespace, NamespaceRules, Namespaces};
use twintier::cache::policy::Switches;
use twintier::cache::tier::{Condition, Mode, Removal, Write};
use twintier::cache::tiered::{
    Barrier, Consistency, Get, GetOutcome, Invalidate, Miss, Set, SetOutcome, Target, Tiered, TieredConfig,
};
use twintier::cache::token::Token;
use twintier::cache::version::Version;

#[derive(Clone, Debug)]
enum Operation {
    Get { at: Place, strong: bool },
    Set { at: Place, content: Option<u8>, ttl_seconds: u64, when: When },
    Remove { namespace: usize, keys: Vec<u8> },
    RemoveNamespace { namespace: usize },
    Wait { seconds: u64 },
}

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    Absent,
    Present,
    SameVersion,
    OldVersion,
}

type Place = (usize, u8);

/// The map's record of an entry: content, version, expiry.
type Known = (Option<u8>, Version, Moment);

fn place() -> impl Strategy<Value = Place> {
    (0usize..2, 0u8..4)
}

fn operation() -> impl Strategy<Value = Operation> {
    let when = prop_oneof![
        3 => Just(When::Always),
        1 => Just(When::Absent),
        1 => Just(When::Present),
        1 => Just(When::SameVersion),
        1 => Just(When::OldVersion),
    ];
    prop_oneof![
        6 => (place(), any::<bool>()).prop_map(|(at, strong)| Operation::Get { at, strong }),
        5 => (place(), any::<Option<u8>>(), 60u64..300, when)
            .prop_map(|(at, content, ttl_seconds, when)| Operation::Set { at, content, ttl_seconds, when }),
        2 => (0usize..2, proptest::collection::vec(0u8..4, 1..4))
            .prop_map(|(namespace, keys)| Operation::Remove { namespace, keys }),
        1 => (0usize..2).prop_map(|namespace| Operation::RemoveNamespace { namespace }),
        1 => (1u64..200).prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

struct World {
    cache: Tiered,
    clock: Arc<ManualClock>,
    namespaces: Vec<Arc<Namespace>>,
    map: HashMap<Place, Known>,
    token: Token,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::default());
        let namespaces = Arc::new(Namespaces::new(NamespaceRules { limit: 2, ..NamespaceRules::default() }, 4));
        let l1 = Arc::new(MemoryL1::new(L1Config { size: 1 << 30, eviction: Eviction::Lru }, clock.clone()));
        let config = CoherenceConfig {
            partitions: 4,
            max_staleness: Duration::from_secs(2),
            repair: false,
            safeguards: Safeguards::default(),
        };
        let coherence = Arc::new(Coherence::new(config, l1.clone(), namespaces.clone(), clock.clone()));
        let l2 = Arc::new(Local::new(l1.clone(), coherence.clone(), clock.clone()));
        let config = TieredConfig {
            switches: Switches::default(),
            read_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
            self_audit_every: 1,
            hot_key_capacity: 4,
        };
        let cache = Tiered::standalone(config, l1, l2, coherence, clock.clone());
        let namespaces = ["one", "two"].map(|name| namespaces.get("namespace", name).unwrap()).into();
        World { cache, clock, namespaces, map: HashMap::new(), token: Token::default() }
    }

    fn key(&self, (namespace, key): Place) -> Key {
        KeyRef::new(&self.namespaces[namespace], &[key]).to_key()
    }

    fn known(&self, at: Place) -> Option<Known> {
        self.map.get(&at).copied().filter(|(_, _, end)| self.clock.now() < *end)
    }

    async fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Get { at, strong } => self.get(at, strong).await,
            Operation::Set { at, content, ttl_seconds, when } => self.set(at, content, ttl_seconds, when).await,
            Operation::Remove { namespace, mut keys } => {
                keys.sort_unstable();
                keys.dedup();
                let present = keys.iter().filter(|key| self.known((namespace, **key)).is_some()).count();
                let removal = |key: &u8| Removal { key: self.key((namespace, *key)), source_version: None };
                let named = keys.iter().map(removal).collect();
                let answer = self.invalidate(namespace, Target::Keys(named)).await;
                assert_eq!(answer, Some(present as u64));
                keys.iter().for_each(|key| _ = self.map.remove(&(namespace, *key)));
            }
            Operation::RemoveNamespace { namespace } => {
                assert_eq!(self.invalidate(namespace, Target::Selected(vec![Selector::Namespace])).await, None);
                self.map.retain(|(other, _), _| *other != namespace);
            }
            Operation::Wait { seconds } => self.clock.advance(Duration::from_secs(seconds)),
        }
    }

    async fn invalidate(&mut self, namespace: usize, target: Target) -> Option<u64> {
        let namespace = self.namespaces[namespace].clone();
        let (mode, barrier) = (Mode::Remove, Barrier::None);
        let invalidate = Invalidate { namespace, target, mode, barrier, deadline: Moment::FOREVER };
        let answer = self.cache.invalidate(invalidate).await.unwrap();
        self.token.merge(&answer.token);
        answer.removed
    }

    async fn get(&mut self, at: Place, strong: bool) {
        let consistency = if strong { Consistency::Strong } else { Consistency::Bounded(None) };
        let key = self.key(at);
        let get = Get {
            key: key.as_ref(),
            consistency,
            token: &self.token,
            deadline: Moment::FOREVER,
            lease: None,
            slot: None,
        };
        let answer = self.cache.get(get).await.unwrap();
        let found = match answer.outcome {
            GetOutcome::Miss(why) => {
                assert_eq!(why, Miss::Absent);
                None
            }
            GetOutcome::Hit { held, stale, .. } => {
                assert_eq!(stale, None);
                Some((held.entry.content.clone(), held.entry.version, held.entry.expires_at))
            }
        };
        let expected = self.known(at).map(|(content, version, end)| (content_of(content), version, end));
        assert_eq!(found, expected);
        self.token.add(answer.partition, answer.position);
    }

    async fn set(&mut self, at: Place, content: Option<u8>, ttl_seconds: u64, when: When) {
        let known = self.known(at);
        let current = known.map(|(_, version, _)| version);
        let (condition, expected) = match when {
            When::Always => (Condition::None, SetOutcome::Stored),
            When::Absent if known.is_none() => (Condition::Absent, SetOutcome::Stored),
            When::Absent => (Condition::Absent, SetOutcome::AlreadyPresent),
            When::Present if known.is_some() => (Condition::Present, SetOutcome::Stored),
            When::Present => (Condition::Present, SetOutcome::NotPresent),
            When::SameVersion => match current {
                Some(version) => (Condition::Version(version), SetOutcome::Stored),
                None => (Condition::Version(Version::new(1, 1)), SetOutcome::VersionMismatch),
            },
            When::OldVersion => (Condition::Version(Version::new(1, 1)), SetOutcome::VersionMismatch),
        };
        let ttl = Duration::from_secs(ttl_seconds);
        let entry = NewEntry::new(content_of(content), Lifetime::of(ttl));
        let write = Write { key: self.key(at), entry, condition, request: None };
        let set = Set { write, barrier: Barrier::None, deadline: Moment::FOREVER };
        let answer = self.cache.set(set).await.unwrap();
        assert_eq!(answer.outcome, expected);
        self.token.merge(&answer.token);
        match answer.outcome {
            SetOutcome::Stored => {
                let version = answer.version.unwrap();
                assert!(current.is_none_or(|current| version > current));
                self.map.insert(at, (content, version, self.clock.now().plus(ttl)));
            }
            _ => assert_eq!(answer.version, current),
        }
    }
}

fn content_of(content: Option<u8>) -> Content {
    content.map_or(Content::KnownAbsent, |byte| Content::Value(Bytes::copy_from_slice(&[byte])))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_cache_answers_like_a_plain_map(operations in proptest::collection::vec(operation(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for operation in operations {
                world.perform(operation).await;
            }
        });
    }
}
