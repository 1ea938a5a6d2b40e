//! Target of fuzzing: requests, from the bytes of the caller to types of the core.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use prost::Message;

use super::convert::{self, RequestContext};
use super::decoded_size::{MessageId, Schema, message_id};
use super::fast_get::PlainGet;
use super::fast_set;
use super::method_names::messages;
use crate::cache::clock::{ManualClock, Moment};
use crate::cache::error::CacheError;
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::cache::policy::{Events, Limits};
use crate::pb;

const PARTITIONS: u16 = 16;

/// The requests, in the order of their numbers.
const NAMES: [&str; 15] = [
    "GetRequest",
    "BatchGetRequest",
    "SetRequest",
    "BatchSetRequest",
    "InvalidateRequest",
    "BatchInvalidateRequest",
    "TouchRequest",
    "ReleaseLeaseRequest",
    "WatchRequest",
    "InspectRequest",
    "HotKeysRequest",
    "SetPolicyRequest",
    "StatsRequest",
    "SetLogLevelRequest",
    "ExportEntriesRequest",
];

/// The schema, and the type of each request in it.
static SCHEMA: LazyLock<(Schema, Vec<MessageId>)> = LazyLock::new(|| {
    let set = messages();
    let types = NAMES.map(|name| message_id(&set, &format!(".twintier.v1.{name}")).expect("declared"));
    (Schema::new(&set, &Limits::default()), types.into())
});

fn context() -> RequestContext {
    let rules = NamespaceRules { limit: 8, ..NamespaceRules::default() };
    RequestContext {
        limits: Limits::default(),
        namespaces: Arc::new(Namespaces::new(rules, PARTITIONS)),
        partitions: PARTITIONS,
        clock: Arc::new(ManualClock::default()),
        events: Events::default(),
    }
}

/// The number of a request, and its message.
pub fn request(bytes: &[u8]) {
    let Some((number, message)) = bytes.split_first() else { return };
    let number = usize::from(*number) % NAMES.len();
    let (schema, types) = &*SCHEMA;
    let measured = schema.measure(types[number], message);
    match NAMES[number] {
        "GetRequest" => plain_get(message),
        "SetRequest" => plain_set(message),
        _ => {}
    }
    if measured.is_ok() {
        let error = convert(NAMES[number], message);
        if let Some(CacheError::Invalid(violations)) = error {
            assert!(!violations.named().is_empty(), "an invalid request names what is wrong");
        }
    }
}

/// The message as the body of a request.
fn body(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a short input").to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// The short way and the general way read the same Set.
fn plain_set(message: &[u8]) {
    if let Some(plain) = fast_set::read(&body(message)) {
        assert_eq!(pb::SetRequest::decode(message).ok(), Some(plain));
    }
}

/// The short way and the general way read the same Get.
fn plain_get(message: &[u8]) {
    let body = body(message);
    let Some(plain) = PlainGet::read(&body) else { return };
    let decoded = pb::GetRequest::decode(message).expect("what the short way reads is a Get");
    let expected =
        pb::GetRequest { namespace: plain.namespace.into(), key: plain.key.into(), ..pb::GetRequest::default() };
    assert_eq!(decoded, expected);
}

/// Decodes a message and converts it. Returns the error of the conversion.
fn convert(name: &str, bytes: &[u8]) -> Option<CacheError> {
    fn decoded<M: Message + Default, T>(
        bytes: &[u8],
        convert: impl FnOnce(&RequestContext, M) -> Result<T, CacheError>,
    ) -> Option<CacheError> {
        convert(&context(), M::decode(bytes).ok()?).err()
    }
    let deadline = Moment::FOREVER;
    match name {
        "GetRequest" => decoded(bytes, |context, request| convert::get(context, &request)),
        "BatchGetRequest" => decoded(bytes, |context, request| convert::batch_get(context, &request)),
        "SetRequest" => decoded(bytes, |context, request| convert::set(context, request, deadline)),
        "BatchSetRequest" => decoded(bytes, |context, request| convert::batch_set(context, request, deadline)),
        "InvalidateRequest" => {
            decoded(bytes, |context, request| convert::invalidate(context, &request, &BTreeSet::new(), deadline))
        }
        "BatchInvalidateRequest" => {
            decoded(bytes, |context, request| convert::batch_invalidate(context, &request, deadline))
        }
        "TouchRequest" => decoded(bytes, |context, request| convert::touch(context, &request)),
        "ReleaseLeaseRequest" => decoded(bytes, |context, request| convert::release(context, &request, deadline)),
        "WatchRequest" => decoded(bytes, |context, request| convert::watching(context, &request)),
        "InspectRequest" => decoded(bytes, |context, request| convert::inspect(context, &request)),
        "HotKeysRequest" => decoded(bytes, |context, request| convert::hot_keys(context, &request)),
        "SetPolicyRequest" => decoded(bytes, |context, request| convert::set_policy(context, &request)),
        "StatsRequest" => decoded(bytes, |_, request| convert::stats(&request).map(drop)),
        "SetLogLevelRequest" => decoded(bytes, |_, request| convert::log_level(&request).map(drop)),
        "ExportEntriesRequest" => decoded(bytes, |context, request| convert::export(context, &request)),
        _ => unreachable!("every request has its conversion"),
    }
}

/// Seeds of `request`.
pub fn request_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seeds = entry_requests().into_iter().chain(other_requests());
    let numbered = seeds.map(|(name, kind, message)| {
        let number = NAMES.iter().position(|name| *name == kind).expect("a request");
        (name, [vec![number as u8], message].concat())
    });
    numbered.collect()
}

/// Name, type and bytes of a request.
type RequestSeed = (&'static str, &'static str, Vec<u8>);

fn names() -> (String, String) {
    ("cart".to_owned(), "user:42".to_owned())
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Requests that read and write entries.
fn entry_requests() -> Vec<RequestSeed> {
    let (namespace, key) = names();
    let get = pb::GetRequest { namespace: namespace.clone(), key: key.clone(), ..Default::default() };
    let lease = pb::GetRequest { lease: Some(Default::default()), tokens: vec!["x".into()], ..get.clone() };
    let batch_get = pb::BatchGetRequest {
        namespace: namespace.clone(),
        keys: vec![key.clone(), "b".into()],
        max_staleness: Some(seconds(1)),
        ..Default::default()
    };
    let set = pb::SetRequest {
        namespace: namespace.clone(),
        key: key.clone(),
        content: Some(pb::set_request::Content::Value("hello".into())),
        tags: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    let plain = pb::SetRequest { tags: Vec::new(), ..set.clone() };
    let batch_set =
        pb::BatchSetRequest { namespace: namespace.clone(), items: vec![set.clone()], ..Default::default() };
    let touch = pb::TouchRequest { namespace: namespace.clone(), key: key.clone(), ..Default::default() };
    let release =
        pb::ReleaseLeaseRequest { namespace, key, lease: "lease".into(), retry_after: Some(seconds(2)), failed: true };
    vec![
        ("get", "GetRequest", get.encode_to_vec()),
        ("get-with-lease", "GetRequest", lease.encode_to_vec()),
        ("batch-get", "BatchGetRequest", batch_get.encode_to_vec()),
        ("set", "SetRequest", set.encode_to_vec()),
        ("set-plain", "SetRequest", plain.encode_to_vec()),
        ("batch-set", "BatchSetRequest", batch_set.encode_to_vec()),
        ("touch", "TouchRequest", touch.encode_to_vec()),
        ("release", "ReleaseLeaseRequest", release.encode_to_vec()),
    ]
}

/// Invalidations, watches, and requests of the administration.
fn other_requests() -> Vec<RequestSeed> {
    let (namespace, key) = names();
    let invalidate = pb::InvalidateRequest {
        namespace: namespace.clone(),
        selector: Some(pb::invalidate_request::Selector::Pattern("user:*".into())),
        ..Default::default()
    };
    let batch_invalidate = pb::BatchInvalidateRequest {
        namespace: namespace.clone(),
        items: vec![pb::BatchInvalidateItem { key: key.clone(), ..Default::default() }],
        ..Default::default()
    };
    let watch = pb::WatchRequest {
        namespace: namespace.clone(),
        selector: Some(pb::watch_request::Selector::Prefix("user:".into())),
        ..Default::default()
    };
    let inspect = pb::InspectRequest { namespace: namespace.clone(), key };
    let hot_keys = pb::HotKeysRequest { namespace: namespace.clone(), ..Default::default() };
    let export = pb::ExportEntriesRequest {
        namespaces: vec![namespace.clone()],
        prefix: "user:42".into(),
        cursor: "1f-0-12-250".into(),
    };
    let policy = pb::Policy { enabled: Some(true), ..Default::default() };
    let set_policy = pb::SetPolicyRequest { namespace: namespace.clone(), policy: Some(policy) };
    let stats = pb::StatsRequest { namespace, ..Default::default() };
    let log_level = pb::SetLogLevelRequest { level: "debug".into(), lasts: Some(seconds(60)) };
    vec![
        ("invalidate", "InvalidateRequest", invalidate.encode_to_vec()),
        ("batch-invalidate", "BatchInvalidateRequest", batch_invalidate.encode_to_vec()),
        ("watch", "WatchRequest", watch.encode_to_vec()),
        ("inspect", "InspectRequest", inspect.encode_to_vec()),
        ("hot-keys", "HotKeysRequest", hot_keys.encode_to_vec()),
        ("set-policy", "SetPolicyRequest", set_policy.encode_to_vec()),
        ("stats", "StatsRequest", stats.encode_to_vec()),
        ("log-level", "SetLogLevelRequest", log_level.encode_to_vec()),
        ("export", "ExportEntriesRequest", export.encode_to_vec()),
    ]
}
