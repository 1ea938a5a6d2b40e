//! Estimates the memory that a decoded request takes, from its encoded bytes.
//!
//! Two bytes on the wire can become an element of hundreds of bytes in memory, so requests are
//! measured before they are decoded.
//!
//! The estimate counts structure: elements of repeated fields and maps, and strings. It is never
//! less than the allocations of prost, and follows the contract's descriptors, not its generated
//! types.

use std::collections::HashMap;
use std::fmt;

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::cache::error::{CacheError, Violation};
use crate::cache::policy::Limits;

/// Bytes of a `String` or a `Vec`.
const VEC_BYTES: usize = 24;
/// Bytes of a `Bytes`.
const BYTES_BYTES: usize = 32;
/// Bytes of a map.
const MAP_BYTES: usize = 48;
/// Minimum capacity of a vector, in elements.
const MIN_CAPACITY: usize = 4;
/// Maximum rounding by the allocator for each string.
const ROUNDING_BYTES: usize = 16;
/// Maximum nesting of message types that is followed.
const MAX_DEPTH: usize = 32;

/// Index of a message type.
pub type MessageId = usize;

/// The message types of requests.
pub struct Schema {
    messages: Vec<MessageType>,
    /// Maximum structure of a decoded request in bytes.
    limit: usize,
}

struct MessageType {
    /// Maximum size of the decoded message itself, in bytes.
    size: usize,
    /// The fields by number.
    fields: Vec<Option<Field>>,
    /// Numbers of the repeated fields.
    repeated: Vec<usize>,
}

struct Field {
    name: String,
    /// Index among the repeated fields of the message. `None` if it is not repeated.
    repeated: Option<usize>,
    is_map: bool,
    kind: FieldKind,
    /// Maximum number of elements that the service accepts, and their unit.
    limit: Option<(usize, &'static str)>,
}

#[derive(Clone, Copy)]
enum FieldKind {
    /// A value of fixed size.
    Scalar,
    Text,
    Bytes,
    Message(MessageId),
}

/// Path of a message inside the request.
struct MessagePath<'a> {
    outer: Option<&'a MessagePath<'a>>,
    field: &'a str,
    index: Option<usize>,
}

/// The size measured so far.
struct Measure<'a> {
    schema: &'a Schema,
    size: usize,
}

// === impl Schema ===

impl Schema {
    /// Builds the schema of the messages in `set`, with `limits` for requests.
    pub fn new(set: &FileDescriptorSet, limits: &Limits) -> Schema {
        let mut declared = Vec::new();
        for file in &set.file {
            for message in &file.message_type {
                declare(&format!(".{}", file.package()), message, &mut declared);
            }
        }
        let ids: HashMap<&str, MessageId> =
            declared.iter().enumerate().map(|(id, (name, _))| (name.as_str(), id)).collect();
        let sizes = Sizes { declared: &declared, ids: &ids };
        let messages = (0..declared.len()).map(|id| sizes.message_type(id, limits)).collect();
        Schema { messages, limit: limits.decoded_size }
    }

    /// Returns the bytes of structure that the encoded message `bytes` of this type decodes to.
    ///
    /// Fails if they exceed the limit.
    pub fn measure(&self, id: MessageId, bytes: &[u8]) -> Result<usize, CacheError> {
        let Some(message) = self.messages.get(id) else { return Ok(0) };
        let mut measure = Measure { schema: self, size: message.size };
        measure.message(message, bytes, None, 0)?;
        Ok(measure.size)
    }
}

/// Finds a message type in `set` by its full name with a leading dot.
pub fn message_id(set: &FileDescriptorSet, name: &str) -> Option<MessageId> {
    let mut declared = Vec::new();
    for file in &set.file {
        for message in &file.message_type {
            declare(&format!(".{}", file.package()), message, &mut declared);
        }
    }
    declared.iter().position(|(declared, _)| declared == name)
}

/// Adds a message type and those declared inside it.
fn declare<'a>(scope: &str, message: &'a DescriptorProto, declared: &mut Vec<(String, &'a DescriptorProto)>) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        declare(&name, nested, declared);
    }
    declared.push((name, message));
}

/// Computes sizes from descriptors.
struct Sizes<'a> {
    declared: &'a [(String, &'a DescriptorProto)],
    ids: &'a HashMap<&'a str, MessageId>,
}

impl Sizes<'_> {
    fn message_type(&self, id: MessageId, limits: &Limits) -> MessageType {
        let (name, message) = &self.declared[id];
        let (mut fields, mut repeated) = (Vec::new(), Vec::new());
        for field in &message.field {
            let kind = match field.r#type() {
                Type::String => FieldKind::Text,
                Type::Bytes => FieldKind::Bytes,
                Type::Message | Type::Group => {
                    self.ids.get(field.type_name()).map_or(FieldKind::Scalar, |id| FieldKind::Message(*id))
                }
                _ => FieldKind::Scalar,
            };
            let number = usize::try_from(field.number()).unwrap_or_default();
            let index = (field.label() == Label::Repeated).then(|| {
                repeated.push(number);
                repeated.len() - 1
            });
            let is_map = matches!(kind, FieldKind::Message(id) if self.is_map_entry(id));
            let limit = limit(name, field.name(), limits);
            if fields.len() <= number {
                fields.resize_with(number + 1, || None);
            }
            fields[number] = Some(Field { name: field.name().to_owned(), repeated: index, is_map, kind, limit });
        }
        MessageType { size: self.size(id, 0), fields, repeated }
    }

    fn is_map_entry(&self, id: MessageId) -> bool {
        self.declared[id].1.options.as_ref().is_some_and(|options| options.map_entry())
    }

    /// Returns the maximum size of the struct of a message: each field padded, each oneof at its
    /// largest alternative.
    fn size(&self, id: MessageId, depth: usize) -> usize {
        if depth > MAX_DEPTH {
            return 0;
        }
        let (_, message) = &self.declared[id];
        let mut alternatives = vec![0; message.oneof_decl.len()];
        let mut size = 0;
        for field in &message.field {
            let own = match (field.label(), field.r#type()) {
                (Label::Repeated, Type::Message)
                    if self.ids.get(field.type_name()).is_some_and(|id| self.is_map_entry(*id)) =>
                {
                    MAP_BYTES
                }
                (Label::Repeated, _) | (_, Type::String) => VEC_BYTES,
                (_, Type::Bytes) => BYTES_BYTES,
                (_, Type::Message | Type::Group) => {
                    8 + self.ids.get(field.type_name()).map_or(0, |id| self.size(*id, depth + 1))
                }
                _ => 8,
            };
            match field.oneof_index.and_then(|index| alternatives.get_mut(index as usize)) {
                Some(largest) => *largest = own.max(*largest),
                None => size += own,
            }
        }
        size + alternatives.iter().map(|largest| largest + 8).sum::<usize>()
    }
}

/// Returns the maximum number of elements that the service accepts in a field, and their unit.
fn limit(message: &str, field: &str, limits: &Limits) -> Option<(usize, &'static str)> {
    match (message, field) {
        (".twintier.v1.BatchSetRequest" | ".twintier.v1.BatchInvalidateRequest", "items") => {
            Some((limits.keys, "items"))
        }
        (".twintier.v1.BatchGetRequest" | ".twintier.v1.Keys", "keys") => Some((limits.keys, "keys")),
        (".twintier.v1.SetRequest" | ".twintier.v1.Tags", "tags") => Some((limits.tags, "tags")),
        (".twintier.v1.InvalidateRequest", "namespaces") => Some((limits.namespaces, "namespaces")),
        (_, "tokens") => Some((limits.tokens, "tokens")),
        _ => None,
    }
}

// === impl MessageType ===

impl MessageType {
    fn field(&self, number: u32) -> Option<&Field> {
        self.fields.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// Returns the repeated fields that occur, with the number of their elements.
    fn counted<'a>(&'a self, counts: &'a [usize]) -> impl Iterator<Item = (&'a Field, usize)> {
        let fields = self.repeated.iter().zip(counts).filter(|(_, count)| **count > 0);
        fields.filter_map(|(number, count)| Some((self.fields[*number].as_ref()?, *count)))
    }
}

// === impl Measure ===

impl Measure<'_> {
    /// Adds the content of a message. Stops at malformed input: the decoder gets no further.
    fn message(
        &mut self,
        message: &MessageType,
        bytes: &[u8],
        parent: Option<&MessagePath<'_>>,
        depth: usize,
    ) -> Result<(), CacheError> {
        let mut counts = vec![0; message.repeated.len()];
        let mut nested = false;
        for (number, wire, payload) in Records(bytes) {
            let Some(field) = message.field(number) else { continue };
            if let Some(index) = field.repeated {
                counts[index] += match (field.kind, wire) {
                    // A packed element has at least one byte.
                    (FieldKind::Scalar, WireType::LengthDelimited) => payload.len(),
                    _ => 1,
                };
            }
            match field.kind {
                FieldKind::Text if !payload.is_empty() => self.size += payload.len() + ROUNDING_BYTES,
                FieldKind::Message(_) if !payload.is_empty() => nested = true,
                _ => {}
            }
        }
        for (field, count) in message.counted(&counts) {
            let room = if field.is_map { 3 * count } else { 2 * count }.max(MIN_CAPACITY);
            self.size = self.size.saturating_add(room.saturating_mul(self.element(field)));
        }
        self.check(message, &counts, parent)?;
        if !nested || depth >= MAX_DEPTH {
            return Ok(());
        }
        counts.fill(0);
        for (number, _, payload) in Records(bytes).filter(|(_, _, payload)| !payload.is_empty()) {
            let Some(field) = message.field(number) else { continue };
            let FieldKind::Message(id) = field.kind else { continue };
            let Some(inner) = self.schema.messages.get(id) else { continue };
            let index = field.repeated.map(|index| {
                counts[index] += 1;
                counts[index] - 1
            });
            let parent = MessagePath { outer: parent, field: &field.name, index };
            self.message(inner, payload, Some(&parent), depth + 1)?;
        }
        Ok(())
    }

    fn element(&self, field: &Field) -> usize {
        match field.kind {
            FieldKind::Scalar => 8,
            FieldKind::Text => VEC_BYTES,
            FieldKind::Bytes => BYTES_BYTES,
            FieldKind::Message(id) => self.schema.messages.get(id).map_or(0, |message| message.size),
        }
    }

    fn check(
        &self,
        message: &MessageType,
        counts: &[usize],
        parent: Option<&MessagePath<'_>>,
    ) -> Result<(), CacheError> {
        let limit = self.schema.limit;
        if self.size <= limit {
            return Ok(());
        }
        let path = |field: &Field| {
            let outer = parent.map_or(String::new(), |parent| format!("{parent}."));
            format!("{outer}{}", field.name)
        };
        for (field, count) in message.counted(counts) {
            if let Some((most, unit)) = field.limit.filter(|(most, _)| count > *most) {
                return Err(Violation::too_large(path(field), count, most, unit).into());
            }
        }
        let largest = message.counted(counts).max_by_key(|(field, count)| count * self.element(field));
        let field = largest.map_or("request".to_owned(), |(field, _)| path(field));
        let was = self.size;
        let rule = format!("must decode to at most {limit} bytes (limits.decoded_size); was at least {was} bytes");
        Err(Violation::new(field, rule).into())
    }
}

impl fmt::Display for MessagePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.outer {
            write!(f, "{outer}.")?;
        }
        match self.index {
            Some(index) => write!(f, "{}[{index}]", self.field),
            None => f.write_str(self.field),
        }
    }
}

/// Iterates over the fields of an encoded message: number, wire type, and payload if it has a
/// length.
///
/// Ends at the first malformed one.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (u32, WireType, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.0 = &[];
        }
        record
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<(u32, WireType, &'a [u8])> {
        let (number, wire) = decode_key(&mut self.0).ok()?;
        let payload = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                &[]
            }
            WireType::SixtyFourBit => self.skip(8)?,
            WireType::ThirtyTwoBit => self.skip(4)?,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                self.skip(length)?
            }
            WireType::StartGroup => self.skip_group()?,
            WireType::EndGroup => return None,
        };
        Some((number, wire, payload))
    }

    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(skipped)
    }

    /// Skips a group whose start has been read, and the groups inside it.
    fn skip_group(&mut self) -> Option<&'a [u8]> {
        let mut open = 1;
        while open > 0 {
            let (_, wire) = decode_key(&mut self.0).ok()?;
            match wire {
                WireType::Varint => _ = decode_varint(&mut self.0).ok()?,
                WireType::SixtyFourBit => _ = self.skip(8)?,
                WireType::ThirtyTwoBit => _ = self.skip(4)?,
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                    self.skip(length)?;
                }
                WireType::StartGroup => open += 1,
                WireType::EndGroup => open -= 1,
            }
        }
        Some(&[])
    }
}

#[cfg(test)]
mod tests {
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
        let item =
            pb::SetRequest { tags: vec![String::new(); 16], tokens: vec![String::new(); 16], ..Default::default() };
        let batch = pb::BatchSetRequest { items: vec![item; 12_000], ..Default::default() }.encode_to_vec();
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
}
