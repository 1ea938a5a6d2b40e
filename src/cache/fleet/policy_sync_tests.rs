//! Concurrent policy changes, and changes that are invalid at a replica.

use std::time::Duration;

use super::*;
use crate::cache::fleet::shared_store::ReplicaNote;
use crate::cache::invalidation::selector::Selector;
use crate::cache::key::Key;
use crate::cache::namespace::NamespaceRules;
use crate::cache::testing::{Bench, no_failovers, no_leases, not_asked};
use crate::cache::tier::inspect::Inspected;
use crate::cache::tier::{
    BoxFuture, CallContext, Current, EntryStore, L2Error, Mode, ReadResult, Removal, RemoveResult, Timeout, Touch,
    Touched, Write, WriteResult,
};
use crate::cache::tiered::TieredConfig;
use crate::cache::version::Version;

/// A shared store that has only settings.
#[derive(Default)]
struct Shared(std::sync::Mutex<Settings>);

impl SharedStore for Shared {
    fn settings<'a>(&'a self, known: &'a Settings, _: Moment) -> BoxFuture<'a, Result<Option<Settings>, L2Error>> {
        let settings = self.0.lock().expect("no panic").clone();
        Box::pin(std::future::ready(Ok((settings.revision != known.revision).then_some(settings))))
    }

    fn set<'a>(
        &'a self,
        _: &'a Settings,
        fields: &'a [(String, Option<String>)],
        _: Moment,
    ) -> BoxFuture<'a, Result<Settings, L2Error>> {
        let mut settings = self.0.lock().expect("no panic");
        *settings = changed_locally(&settings, fields.to_vec());
        Box::pin(std::future::ready(Ok(settings.clone())))
    }

    fn publish_note(&self, _: bytes::Bytes, _: Duration, _: Moment) -> BoxFuture<'_, Result<(), L2Error>> {
        unreachable!("not called in these tests")
    }

    fn notes(&self, _: Duration, _: Moment) -> BoxFuture<'_, Result<Vec<ReplicaNote>, L2Error>> {
        unreachable!("not called in these tests")
    }

    fn save_hot_keys(&self, _: bytes::Bytes, _: Duration, _: Moment) -> BoxFuture<'_, Result<(), L2Error>> {
        unreachable!("not called in these tests")
    }

    fn hot_keys(&self, _: Duration, _: Moment) -> BoxFuture<'_, Result<Option<ReplicaNote>, L2Error>> {
        unreachable!("not called in these tests")
    }
}

/// A shared tier that no test calls.
struct Unasked;

impl EntryStore for Unasked {
    not_asked! {
        namespaces;
        barrier;
        read(&'a Key, Timeout) -> ReadResult;
        write(u16, &'a [Write], CallContext) -> Vec<WriteResult>;
        remove(u16, &'a [Removal], Mode, CallContext) -> RemoveResult;
        invalidate(u16, &'a Arc<Namespace>, &'a [Selector], Mode, CallContext) -> Version;
        touch(&'a Key, Touch, Moment) -> Touched;
        current(&'a Key, Moment) -> Option<Current>;
        inspect(&'a Key, Moment) -> Inspected;
    }
}

no_leases!(Unasked);
no_failovers!(Unasked);

fn replica(shared_store: &Arc<Shared>) -> (PolicySync, Arc<Namespaces>) {
    let bench = Bench::new(Default::default());
    let rules = NamespaceRules { limit: 8, ..NamespaceRules::default() };
    let namespaces = Arc::new(Namespaces::new(rules, 1));
    let config = TieredConfig {
        switches: Switches::default(),
        read_timeout: Duration::ZERO,
        write_timeout: Duration::ZERO,
        self_audit_every: 0,
        hot_key_capacity: 1,
    };
    let cache = Tiered::new(config, bench.l1.clone(), Arc::new(Unasked), bench.coherence.clone(), bench.clock.clone());
    (PolicySync::new(Some(shared_store.clone()), namespaces.clone(), cache, bench.clock.clone()), namespaces)
}

fn minutes(minutes: u64) -> Option<Duration> {
    Some(Duration::from_secs(60 * minutes))
}

#[tokio::test]
async fn of_changes_that_meet_each_field_holds_and_what_is_wrong_together_is_left_out_alike() {
    let shared_store = Arc::new(Shared::default());
    let (one, ones) = replica(&shared_store);
    let (other, others) = replica(&shared_store);
    let until = Moment::FOREVER;
    let [first, second] = [&ones, &others].map(|namespaces| namespaces.get("namespace", "n").expect("room"));
    // Each is valid where it is made: the default is five minutes.
    let longer = PolicyPatch { min_ttl: minutes(4), ..PolicyPatch::default() };
    one.change(&first, longer, until).await.expect("changed");
    let shorter = PolicyPatch { default_ttl: minutes(1), jitter: Some(0.1), ..PolicyPatch::default() };
    other.change(&second, shorter, until).await.expect("changed");
    one.poll().await;
    assert_eq!(first.policy().jitter, 0.1);
    assert_eq!(**first.policy(), **second.policy(), "both leave out the same");
    assert!(first.policy().violations().is_empty());
    // A change that makes the sum valid again applies the part that was left out.
    let right = PolicyPatch { min_ttl: Some(Duration::from_secs(30)), ..PolicyPatch::default() };
    one.change(&first, right, until).await.expect("changed");
    other.poll().await;
    let ttls = [&first, &second].map(|namespace| Some(namespace.policy().default_ttl));
    assert_eq!(ttls, [minutes(1); 2]);
}

#[tokio::test]
async fn what_is_of_another_release_is_left_out_and_stays_in_the_shared_store() {
    let shared_store = Arc::new(Shared::default());
    let (policies, namespaces) = replica(&shared_store);
    let namespace = namespaces.get("namespace", "n").expect("room");
    let fields = [("n/novel".to_owned(), Some("1".to_owned())), ("n/l1".to_owned(), Some("false".to_owned()))];
    shared_store.set(&Settings::default(), &fields, Moment::FOREVER).await.expect("set");
    policies.poll().await;
    assert!(!namespace.policy().l1);
    policies.reset(&namespace, Moment::FOREVER).await.expect("taken back");
    assert!(namespace.policy().l1 && shared_store.0.lock().expect("no panic").fields.contains_key("n/novel"));
}
