//! The response to a BatchGet. Clients read its fields; the service writes prepared items.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field, string};
use prost::{DecodeError, Message, Name};

use super::contract::BatchGetItem;

/// Items that write themselves into the message: so a value is copied once, and no generated
/// message is built for it.
pub trait PreparedItems: Send + Sync {
    /// Returns the size of all items in bytes, each with its tag and length.
    fn encoded_len(&self) -> usize;
    /// Writes the items.
    fn encode(&self, buffer: &mut dyn BufMut);
}

/// `twintier.v1.BatchGetResponse`.
#[derive(Default)]
pub struct BatchGetResponse {
    /// The results.
    pub items: Vec<BatchGetItem>,
    /// Token. Empty but in the last message.
    pub token: String,
    /// Results that are not decoded: before `items` in the encoded message.
    pub prepared: Option<Box<dyn PreparedItems>>,
}

impl std::fmt::Debug for BatchGetResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prepared = self.prepared.as_ref().map_or(0, |prepared| prepared.encoded_len());
        let mut text = f.debug_struct("BatchGetResponse");
        text.field("items", &self.items).field("token", &self.token).field("prepared", &prepared).finish()
    }
}

impl Message for BatchGetResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        if let Some(prepared) = &self.prepared {
            prepared.encode(buffer);
        }
        message::encode_repeated(1, &self.items, buffer);
        if !self.token.is_empty() {
            string::encode(2, &self.token, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge_repeated(wire, &mut self.items, buffer, context),
            2 => string::merge(wire, &mut self.token, buffer, context),
            _ => skip_field(wire, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let prepared = self.prepared.as_ref().map_or(0, |prepared| prepared.encoded_len());
        let token = if self.token.is_empty() { 0 } else { string::encoded_len(2, &self.token) };
        prepared + message::encoded_len_repeated(1, &self.items) + token
    }

    fn clear(&mut self) {
        *self = BatchGetResponse::default();
    }
}

impl Name for BatchGetResponse {
    const NAME: &'static str = "BatchGetResponse";
    const PACKAGE: &'static str = "twintier.v1";
}
