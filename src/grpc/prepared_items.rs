//! Items of a BatchGet, prepared to be written into a message: the same bytes as those of
//! `BatchGetItem`, without building one.

use std::sync::Arc;

use bytes::BufMut;
use prost::Message as _;

use super::convert::miss_reason;
use super::status::item_error;
use super::wire_fields::{
    HitContext, field_size, head_size, put_bytes, put_entry_info, put_head, put_number, put_tags,
};
use crate::cache::entry::{CachedEntry, Content};
use crate::cache::error::CacheError;
use crate::cache::tiered::{GetAnswer, GetOutcome};
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
    field: u32,
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
                put_number(1, miss_reason(why) as u64, &mut self.rest);
            }
            GetOutcome::Hit { held, tier, stale } => {
                self.entry.clear();
                put_entry_info(&held, HitContext { tier, stale, at: answer.at }, &mut self.entry);
                if metadata_only {
                    put_tags(&held, &mut self.entry);
                }
                match &held.entry.content {
                    Content::KnownAbsent => {
                        self.field = 3;
                        put_bytes(1, &self.entry, &mut self.rest);
                    }
                    Content::Value(value) => {
                        self.field = 2;
                        if !held.entry.content_type.is_empty() {
                            put_bytes(2, held.entry.content_type.as_bytes(), &mut self.rest);
                        }
                        put_bytes(3, &self.entry, &mut self.rest);
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
        field_size(self.item_size(index))
    }

    /// Appends the item, and ends it.
    pub fn append_to(&mut self, batch: &mut PreparedBatch, index: usize) {
        let text = &mut batch.text;
        put_head(1, self.item_size(index), text);
        if index > 0 {
            put_number(1, index as u64, text);
        }
        put_head(self.field, self.result_size(), text);
        if self.value_len > 0 {
            put_head(1, self.value_len, text);
        }
        let split = text.len();
        text.extend_from_slice(&self.rest);
        if self.degraded {
            put_number(6, 1, text);
        }
        batch.values += self.value_len;
        batch.items.push(PreparedItem { split, end: text.len(), held: self.held.take() });
    }

    fn result_size(&self) -> usize {
        let value = if self.value_len > 0 { field_size(self.value_len) } else { 0 };
        value + self.rest.len()
    }

    fn item_size(&self, index: usize) -> usize {
        let number = if index > 0 { head_size(index) } else { 0 };
        number + field_size(self.result_size()) + 2 * usize::from(self.degraded)
    }
}

#[cfg(test)]
#[path = "prepared_items_tests.rs"]
mod tests;
