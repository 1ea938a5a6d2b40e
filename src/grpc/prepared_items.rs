//! Items of a BatchGet, prepared to be written into a message: the same bytes as those of
//! `BatchGetItem`, without building one.

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::convert::{miss_reason, stale_reason, tier_of};
use super::status::item_error;
use crate::cache::clock::Moment;
use crate::cache::entry::{CachedEntry, Content};
use crate::cache::error::CacheError;
use crate::cache::tiered::{GetAnswer, GetOutcome, Stale, Tier};
use crate::pb;

/// Prepared items of one message.
#[derive(Default)]
pub struct PreparedBatch {
    /// Everything but the values, in the order of the message.
    text: Vec<u8>,
    items: Vec<PreparedItem>,
    /// Bytes of the values.
    values: usize,
}

struct PreparedItem {
    /// End in `text` of what is before the value.
    split: usize,
    /// End in `text` of the item.
    end: usize,
    /// Entry with the value. `None` if the item has none.
    held: Option<Arc<CachedEntry>>,
}

/// Writer of items. Keeps its buffers from one item to the next.
#[derive(Default)]
pub struct ItemWriter {
    /// Number of the result's field in the item.
    field: u8,
    /// Entry whose value comes first in the result. `None` if the result has none.
    held: Option<Arc<CachedEntry>>,
    value_len: usize,
    /// The result behind its value.
    rest: Vec<u8>,
    entry: Vec<u8>,
    degraded: bool,
}

// === impl PreparedBatch ===

impl PreparedBatch {
    /// Returns true if there are no items.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl pb::PreparedItems for PreparedBatch {
    fn encoded_len(&self) -> usize {
        self.text.len() + self.values
    }

    fn encode(&self, buffer: &mut dyn BufMut) {
        let mut start = 0;
        for PreparedItem { split, end, held } in &self.items {
            match held.as_ref().map(|held| &held.entry.content) {
                Some(Content::Value(value)) => {
                    buffer.put_slice(&self.text[start..*split]);
                    buffer.put_slice(value);
                    buffer.put_slice(&self.text[*split..*end]);
                }
                _ => buffer.put_slice(&self.text[start..*end]),
            }
            start = *end;
        }
    }
}

// === impl ItemWriter ===

impl ItemWriter {
    /// Begins the item of `result`.
    pub fn begin(&mut self, result: Result<GetAnswer, CacheError>, metadata_only: bool) {
        (self.held, self.value_len, self.degraded) = (None, 0, false);
        self.rest.clear();
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.field = 5;
                self.rest = item_error(&error).encode_to_vec();
                return;
            }
        };
        self.degraded = answer.degraded;
        match answer.outcome {
            GetOutcome::Miss(why) => {
                self.field = 4;
                put_number(&mut self.rest, 1, i32::from(miss_reason(why)) as u64);
            }
            GetOutcome::Hit { held, tier, stale } => {
                self.entry.clear();
                put_entry(&mut self.entry, &held, (tier, stale), answer.at, metadata_only);
                match &held.entry.content {
                    Content::KnownAbsent => {
                        self.field = 3;
                        put_bytes(&mut self.rest, 1, &self.entry);
                    }
                    Content::Value(value) => {
                        self.field = 2;
                        put_text(&mut self.rest, 2, &held.entry.content_type);
                        put_bytes(&mut self.rest, 3, &self.entry);
                        if !metadata_only && !value.is_empty() {
                            self.value_len = value.len();
                            self.held = Some(held);
                        }
                    }
                }
            }
        }
    }

    /// Returns the size of the item at `index` in a message.
    pub fn size(&self, index: usize) -> usize {
        let item = self.item_len(index);
        field_len(item) + item
    }

    /// Appends the item, and ends it.
    pub fn append_to(&mut self, batch: &mut PreparedBatch, index: usize) {
        let text = &mut batch.text;
        put_key(text, 1);
        encode_varint(self.item_len(index) as u64, text);
        put_number(text, 1, index as u64);
        put_key(text, self.field);
        encode_varint(self.result_len() as u64, text);
        if self.value_len > 0 {
            put_key(text, 1);
            encode_varint(self.value_len as u64, text);
        }
        let split = text.len();
        text.extend_from_slice(&self.rest);
        put_number(text, 6, self.degraded.into());
        batch.values += self.value_len;
        batch.items.push(PreparedItem { split, end: text.len(), held: self.held.take() });
    }

    fn result_len(&self) -> usize {
        let value = if self.value_len > 0 { field_len(self.value_len) + self.value_len } else { 0 };
        value + self.rest.len()
    }

    fn item_len(&self, index: usize) -> usize {
        let number = if index > 0 { field_len(index) } else { 0 };
        let result = self.result_len();
        number + field_len(result) + result + if self.degraded { 2 } else { 0 }
    }
}

/// Writes an `EntryInfo`.
fn put_entry(out: &mut Vec<u8>, held: &CachedEntry, by: (Tier, Option<Stale>), at: Moment, with_tags: bool) {
    let (entry, (tier, stale)) = (&held.entry, by);
    let begin = begin_short(out, 1);
    entry.version.spell(|part| out.extend_from_slice(part.as_bytes()));
    end_short(out, begin);
    put_duration(out, 2, at.since(entry.written_at));
    if entry.expires_at != Moment::FOREVER {
        put_duration(out, 3, entry.expires_at.since(at));
    }
    put_number(out, 4, i32::from(tier_of(tier)) as u64);
    if let Some(stale) = stale {
        let begin = begin_short(out, 5);
        put_number(out, 1, i32::from(stale_reason(stale.reason)) as u64);
        put_duration(out, 2, stale.staleness);
        end_short(out, begin);
    }
    put_number(out, 6, (at >= entry.due_at).into());
    if let Some(source) = entry.source_version {
        put_key_of_number(out, 7);
        encode_varint(source, out);
    }
    for tag in entry.tags.iter().filter(|_| with_tags) {
        put_bytes(out, 8, String::from_utf8_lossy(tag).as_bytes());
    }
}

/// Writes a `google.protobuf.Duration`.
fn put_duration(out: &mut Vec<u8>, field: u8, duration: Duration) {
    let begin = begin_short(out, field);
    put_number(out, 1, duration.as_secs());
    put_number(out, 2, duration.subsec_nanos().into());
    end_short(out, begin);
}

/// Begins a field of less than 128 bytes.
fn begin_short(out: &mut Vec<u8>, field: u8) -> usize {
    put_key(out, field);
    out.push(0);
    out.len()
}

fn end_short(out: &mut [u8], begin: usize) {
    out[begin - 1] = (out.len() - begin) as u8;
}

/// Writes a number, unless it is 0.
fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    if number != 0 {
        put_key_of_number(out, field);
        encode_varint(number, out);
    }
}

/// Writes a text, unless it is empty.
fn put_text(out: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(out, field);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes the key of a field that has a length.
fn put_key(out: &mut Vec<u8>, field: u8) {
    out.push(field << 3 | 2);
}

fn put_key_of_number(out: &mut Vec<u8>, field: u8) {
    out.push(field << 3);
}

/// Returns the size of the key and of a number or length.
fn field_len(number: usize) -> usize {
    1 + encoded_len_varint(number as u64)
}

#[cfg(test)]
#[path = "prepared_items_tests.rs"]
mod tests;
