use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cache::clock::Moment;
use crate::cache::coherence::{FillGuard, cached_entry};
use crate::cache::entry::{Entry, NewEntry, Tags};
use crate::cache::lifetime::Lifetime;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::tiered::{Miss, Stale, StaleReason, Tier};
use crate::cache::version::Version;
use crate::grpc::convert::{FoundEntry, found};
use crate::pb::PreparedItems as _;

const NOW: Moment = Moment(7_000_000_123);

/// Returns an entry that was written 3 s and 5 ns ago.
fn held(content: Content, change: impl FnOnce(&mut NewEntry)) -> Arc<CachedEntry> {
    let namespaces = Namespaces::new(NamespaceRules { limit: 1, ..NamespaceRules::default() }, 64);
    let namespace = namespaces.get("namespace", "default").expect("a name");
    let mut new = NewEntry::new(content, Lifetime::of(Duration::from_millis(61_500)));
    change(&mut new);
    let written_at = NOW.minus(Duration::new(3, 5));
    let entry = Entry::written(&new, Version::new(1_763_000_000_000_000, 42), Duration::ZERO, written_at);
    let guard = FillGuard { generation: 1, applied: Version::ZERO, shown: 0 };
    cached_entry(entry, Version::ZERO, guard, NOW, &namespace)
}

fn answers() -> Vec<Result<GetAnswer, CacheError>> {
    let value = |size| Content::Value(Bytes::from(vec![7; size]));
    let plain = |size| held(value(size), |_| {});
    let stale = |reason| Some(Stale { reason, staleness: Duration::from_millis(1_500) });
    let hit = |held, tier, stale| Ok(GetAnswer::new(GetOutcome::Hit { held, tier, stale }, 3, Version::new(1, 2), NOW));
    let miss = |why| Ok(GetAnswer::new(GetOutcome::Miss(why), 3, Version::ZERO, NOW));
    let degraded = |answer: Result<GetAnswer, CacheError>| answer.map(|answer| GetAnswer { degraded: true, ..answer });
    let rich = held(value(300), |new| {
        new.content_type = "application/json".into();
        new.tags = Tags::new(vec!["a".into(), vec![b'x'; 200].into(), vec![0xff].into()]);
        new.source_version = Some(u64::MAX);
        new.lifetime.soft_ttl = Some(Duration::from_secs(1));
    });
    let endless = held(Content::KnownAbsent, |new| {
        new.lifetime.ttl = None;
        new.source_version = Some(0);
    });
    let error = CacheError::Unavailable {
        reason: "lost",
        retry_after: Duration::from_millis(500),
        outcome_unknown_for: Some(Duration::from_millis(80)),
    };
    vec![
        hit(plain(100), Tier::L1, None),
        hit(plain(0), Tier::L2, None),
        hit(plain(127), Tier::L1, stale(StaleReason::Expired)),
        hit(plain(128), Tier::L1, stale(StaleReason::Unproven)),
        hit(plain(70_000), Tier::L2, stale(StaleReason::Marked)),
        hit(rich, Tier::L1, None),
        degraded(hit(endless, Tier::L1, stale(StaleReason::Marked))),
        hit(held(Content::KnownAbsent, |_| {}), Tier::L2, None),
        miss(Miss::Absent),
        miss(Miss::Disabled),
        degraded(miss(Miss::Unavailable)),
        Err(error),
    ]
}

/// Returns the generated message of an answer.
fn generated(index: usize, result: Result<GetAnswer, CacheError>, metadata_only: bool) -> pb::BatchGetItem {
    use pb::batch_get_item::Result as Wire;
    let degraded = result.as_ref().is_ok_and(|answer| answer.degraded);
    let result = match result.map(|answer| found(answer, metadata_only)) {
        Ok(FoundEntry::Hit(hit)) => Wire::Hit(hit),
        Ok(FoundEntry::NegativeHit(hit)) => Wire::NegativeHit(hit),
        Ok(FoundEntry::Miss(miss)) => Wire::Miss(miss),
        Err(error) => Wire::Error(item_error(&error)),
    };
    pb::BatchGetItem { index: index as u32, result: Some(result), degraded }
}

#[test]
fn prepared_items_are_byte_for_byte_those_of_the_generated_messages() {
    for metadata_only in [false, true] {
        for first_index in [0, 120, 20_000] {
            let (mut batch, mut writer, mut items) = (PreparedBatch::default(), ItemWriter::default(), Vec::new());
            for (index, answer) in (first_index..).zip(answers()) {
                let before = batch.encoded_len();
                writer.begin(answer.clone(), metadata_only);
                let size = writer.size(index);
                writer.append_to(&mut batch, index);
                assert_eq!(batch.encoded_len() - before, size);
                items.push(generated(index, answer, metadata_only));
            }
            let token = "1.64.3-1-2".to_owned();
            let plain = pb::BatchGetResponse { items, token: token.clone(), prepared: None };
            let prepared = pb::BatchGetResponse { items: Vec::new(), token, prepared: Some(Box::new(batch)) };
            assert_eq!(prepared.encoded_len(), plain.encoded_len());
            let bytes = prepared.encode_to_vec();
            assert_eq!(bytes, plain.encode_to_vec());
            let decoded = pb::BatchGetResponse::decode(&*bytes).expect("a message");
            assert_eq!((decoded.items, decoded.token), (plain.items, plain.token));
        }
    }
}
