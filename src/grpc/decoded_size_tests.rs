//! Measured sizes against those of the decoded messages.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::grpc::method_names::messages;
use crate::pb;

fn schema(limits: &Limits) -> (FileDescriptorSet, Schema) {
    let set = messages();
    let schema = Schema::new(&set, limits);
    (set, schema)
}

fn measure(name: &str, bytes: &[u8], limits: &Limits) -> Result<usize, CacheError> {
    let (set, schema) = schema(limits);
    schema.measure(message_id(&set, &format!(".twintier.v1.{name}")).expect("declared"), bytes)
}

fn unlimited() -> Limits {
    Limits { decoded_size: usize::MAX, ..Limits::default() }
}

macro_rules! sizes {
    ($($name:ident),*) => { [$((stringify!($name), size_of::<pb::$name>())),*] };
}

#[test]
fn a_message_is_measured_at_no_less_than_its_struct() {
    let sizes = sizes![
        GetRequest,
        SetRequest,
        InvalidateRequest,
        TouchRequest,
        ReleaseLeaseRequest,
        BatchGetRequest,
        BatchSetRequest,
        BatchInvalidateRequest,
        BatchInvalidateItem,
        WatchRequest,
        StatsRequest,
        InspectRequest,
        HotKeysRequest,
        ExportEntriesRequest,
        ListPoliciesRequest,
        SetPolicyRequest,
        ResetPolicyRequest,
        DrainRequest,
        ResetStatsRequest,
        Policy,
        Keys,
        Tags
    ];
    for (name, size) in sizes {
        let measured = measure(name, &[], &unlimited()).expect("no limit");
        assert!(measured >= size, "{name}: measured {measured}, is {size}");
        assert!(measured <= 2 * size + 64, "{name}: measured {measured}, is {size}");
    }
}

/// Two bytes for an empty element.
fn bomb(field: u8, elements: usize) -> Vec<u8> {
    [field << 3 | 2, 0].repeat(elements)
}

#[test]
fn a_batch_of_too_many_empty_elements_names_its_limit() {
    let limits = Limits::default();
    for (name, field, path, unit) in [
        ("BatchSetRequest", 2, "items", "items"),
        ("BatchInvalidateRequest", 2, "items", "items"),
        ("BatchGetRequest", 2, "keys", "keys"),
        ("GetRequest", 5, "tokens", "tokens"),
        ("InvalidateRequest", 13, "namespaces", "namespaces"),
        ("SetRequest", 19, "tags", "tags"),
    ] {
        let bytes = if field < 16 { bomb(field, 2_000_000) } else { [0x9a, 0x01, 0].repeat(2_000_000) };
        let error = measure(name, &bytes, &limits).expect_err("refused");
        let CacheError::Invalid(violations) = error else { panic!("{error}") };
        assert_eq!(violations.named()[0].field, path, "{name}");
        assert!(violations.named()[0].description.ends_with(&format!("was 2000000 {unit}")), "{violations:?}");
    }
}

#[test]
fn elements_inside_of_elements_count() {
    let limits = Limits::default();
    let keys = bomb(1, 1_000_000);
    let mut invalidate = vec![3 << 3 | 2];
    prost::encoding::encode_varint(keys.len() as u64, &mut invalidate);
    invalidate.extend(&keys);
    let error = measure("InvalidateRequest", &invalidate, &limits).expect_err("refused");
    assert!(error.to_string().contains("keys.keys must be at most 1000 keys; was 1000000 keys"), "{error}");
    // Many items, each within its limits, whose sum is too large.
    let item = pb::SetRequest { tags: vec![String::new(); 16], tokens: vec![String::new(); 16], ..Default::default() };
    let batch = pb::BatchSetRequest { items: vec![item; 18_000], ..Default::default() }.encode_to_vec();
    let limits = Limits { keys: 20_000, ..limits };
    let error = measure("BatchSetRequest", &batch, &limits).expect_err("refused");
    assert!(error.to_string().contains("limits.decoded_size"), "{error}");
}

#[test]
fn batches_at_their_limits_are_accepted() {
    let limits = Limits::default();
    let item = pb::SetRequest {
        key: "k".repeat(100),
        tags: vec!["t".repeat(128); limits.tags],
        request_id: "r".repeat(64),
        ..Default::default()
    };
    let batch = pb::BatchSetRequest { items: vec![item; limits.keys], ..Default::default() };
    measure("BatchSetRequest", &batch.encode_to_vec(), &limits).expect("allowed");
    let plain = pb::SetRequest { key: "k".repeat(100), ..Default::default() };
    let batch = pb::BatchSetRequest { items: vec![plain; 10_000], ..Default::default() };
    measure("BatchSetRequest", &batch.encode_to_vec(), &Limits { keys: 10_000, ..limits }).expect("allowed");
}

/// Memory of the structure of a vector.
fn of_vec<T>(vec: &Vec<T>) -> usize {
    vec.capacity() * size_of::<T>()
}

fn of_strings(strings: &Vec<String>) -> usize {
    of_vec(strings) + strings.iter().map(String::capacity).sum::<usize>()
}

fn of_set(set: &pb::SetRequest) -> usize {
    let texts = [&set.namespace, &set.key, &set.content_type, &set.request_id];
    texts.iter().map(|text| text.capacity()).sum::<usize>() + of_strings(&set.tokens) + of_strings(&set.tags)
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![1..24_u32, Just(1), Just(2), Just(19), Just(11)];
    let wire = prop_oneof![Just(2_u32), Just(2), Just(2), Just(0), Just(5), Just(1), Just(3), Just(4)];
    (number, wire, proptest::collection::vec(0..128_u8, 0..12)).prop_map(|(number, wire, payload)| {
        let mut piece = Vec::new();
        prost::encoding::encode_varint(u64::from(number << 3 | wire), &mut piece);
        if wire == 2 {
            piece.push(payload.len() as u8);
        }
        piece.extend(payload);
        piece
    })
}

/// Messages of pieces, of which some hold others.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let flat = proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat()).boxed();
    let nested = proptest::collection::vec((1..4_u8, flat.clone()), 0..8).prop_map(|parts| {
        let mut bytes = Vec::new();
        for (number, part) in parts {
            bytes.push(number << 3 | 2);
            prost::encoding::encode_varint(part.len() as u64, &mut bytes);
            bytes.extend(part);
        }
        bytes
    });
    (flat, nested).prop_map(|(flat, nested)| [nested, flat].concat())
}

proptest! {
    #[test]
    fn decoded_messages_are_never_larger_than_measured(bytes in message()) {
        let limits = unlimited();
        if let Ok(batch) = pb::BatchSetRequest::decode(&*bytes) {
            let size = size_of::<pb::BatchSetRequest>() + batch.namespace.capacity() + of_strings(&batch.tokens)
                + of_vec(&batch.items) + batch.items.iter().map(of_set).sum::<usize>();
            prop_assert!(measure("BatchSetRequest", &bytes, &limits).expect("no limit") >= size);
        }
        if let Ok(set) = pb::SetRequest::decode(&*bytes) {
            let size = size_of::<pb::SetRequest>() + of_set(&set);
            prop_assert!(measure("SetRequest", &bytes, &limits).expect("no limit") >= size);
        }
        if let Ok(get) = pb::BatchGetRequest::decode(&*bytes) {
            let size = size_of::<pb::BatchGetRequest>() + of_strings(&get.keys) + of_strings(&get.tokens);
            prop_assert!(measure("BatchGetRequest", &bytes, &limits).expect("no limit") >= size);
        }
    }
}
