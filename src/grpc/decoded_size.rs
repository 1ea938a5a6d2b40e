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

use prost::encoding::WireType;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::wire_records::Records;
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

    /// Returns the most bytes of structure that an encoded message of `bytes` bytes decodes to, if it
    /// has only scalars and `texts` texts. `None` if they may exceed the limit.
    pub fn plain_size(&self, id: MessageId, bytes: usize, texts: usize) -> Option<usize> {
        let size = self.messages.get(id)?.size + bytes + texts * ROUNDING_BYTES;
        (size <= self.limit).then_some(size)
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
        (".twintier.v1.InvalidateRequest" | ".twintier.v1.ExportEntriesRequest", "namespaces") => {
            Some((limits.namespaces, "namespaces"))
        }
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

#[cfg(test)]
#[path = "decoded_size_tests.rs"]
mod tests;
