//! The stream of a BatchGet. Keys are read in slices, the next when the last was taken: however many large values a caller asks for, only some
//! are in memory at a time. Most batches are one slice and one message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use prost::Message as _;
use tonic::Status;

use super::convert::{ParsedBatchGet, batch_get_item, token_text};
use super::status::status;
use crate::cache::admission::limits::{Account, Admission, Resource, TakenAmounts};
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::CacheError;
use crate::cache::key::KeyRef;
use crate::cache::namespace::Namespaces;
use crate::cache::tiered::{GetAnswer, GetMany, GetOutcome, Tiered};
use crate::cache::token::Token;
use crate::pb;

/// The answers to a BatchGet.
pub type BatchGetResponses = Pin<Box<dyn Stream<Item = Result<pb::BatchGetResponse, Status>> + Send>>;

/// Most bytes of a message, unless one value alone is larger: clients take 4 MiB unless told otherwise.
const MESSAGE: usize = 1 << 20;
/// Most keys that are read before it is known how large their values are.
const FIRST_SLICE: usize = 128;
/// Pause before room for another slice is looked for again.
const PACE: Duration = Duration::from_millis(10);
/// A slice that brought less is followed by a larger one, one that brought more by a smaller.
const ENOUGH: std::ops::Range<usize> = 1 << 20..8 << 20;

/// A BatchGet at work.
pub struct BatchGet {
    cache: Tiered,
    /// The account of the caller's connection.
    account: Option<Arc<Account>>,
    clock: Arc<dyn Clock>,
    namespaces: Arc<Namespaces>,
    partitions: u16,
    parts: ParsedBatchGet,
    keys: Vec<String>,
    /// Memory of the keys, while the caller reads.
    _keys_taken: Option<TakenAmounts>,
    metadata_only: bool,
    deadline: Moment,
    token: Token,
    /// Keys read so far.
    read: usize,
    slice: usize,
    /// Bytes of a value, as the last slice had them on average.
    value_size: usize,
    items: VecDeque<pb::BatchGetItem>,
    /// Counts the bytes of the items that wait.
    kept: Option<TakenAmounts>,
    /// Time spent on reading.
    took: Duration,
    ended: bool,
}

/// What a BatchGet needs of the service.
pub struct Service {
    /// The cache.
    pub cache: Tiered,
    /// The load.
    pub load: Arc<Admission>,
    /// The account of the caller's connection.
    pub account: Option<Arc<Account>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// The largest value.
    pub value_size: usize,
}

// === impl BatchGet ===

impl BatchGet {
    /// Reads the first slice.
    pub async fn begin(
        service: Service,
        parts: ParsedBatchGet,
        request: pb::BatchGetRequest,
        deadline: Moment,
    ) -> Result<BatchGet, CacheError> {
        let Service { cache, load, account, clock, namespaces, value_size } = service;
        parts.namespace.admit_many(request.keys.len())?;
        let first = (load.bytes_limit() / 2 / value_size.max(1)).clamp(1, FIRST_SLICE);
        let token = parts.token.clone();
        let size = request.keys.iter().map(|key| key.capacity() + size_of::<String>()).sum();
        let keys_taken = account.as_ref().map(|account| account.charge(Resource::Bytes, size));
        let mut batch = BatchGet {
            partitions: cache.coherence().partitions(),
            cache,
            account,
            clock,
            namespaces,
            parts,
            keys: request.keys,
            _keys_taken: keys_taken,
            metadata_only: request.metadata_only,
            deadline,
            token,
            read: 0,
            slice: first,
            value_size: 0,
            items: VecDeque::new(),
            kept: None,
            took: Duration::ZERO,
            ended: false,
        };
        batch.read_slice().await?;
        Ok(batch)
    }

    /// The messages.
    pub fn responses(self) -> BatchGetResponses {
        Box::pin(stream::unfold(self, |mut batch| async move {
            let message = batch.next().await?;
            Some((message, batch))
        }))
    }

    async fn next(&mut self) -> Option<Result<pb::BatchGetResponse, Status>> {
        if self.ended {
            return None;
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            while let Some(item) = self.items.pop_front() {
                let size = item.encoded_len();
                if bytes + size > MESSAGE && !items.is_empty() {
                    self.items.push_front(item);
                    return Some(Ok(pb::BatchGetResponse { items, token: String::new() }));
                }
                bytes += size;
                items.push(item);
            }
            if self.read == self.keys.len() {
                self.ended = true;
                self.kept = None;
                self.cache.latencies().batch_get.observe(self.took);
                let token = token_text(&self.token, self.partitions);
                return Some(Ok(pb::BatchGetResponse { items, token }));
            }
            if let Err(error) = self.read_slice().await {
                self.ended = true;
                return Some(Err(status(&error)));
            }
        }
    }

    async fn read_slice(&mut self) -> Result<(), CacheError> {
        let room = self.wait_for_room().await?;
        let begun = self.clock.now();
        if begun >= self.deadline {
            return Err(CacheError::DeadlineExceeded { outcome_unknown_for: None });
        }
        let last = self.keys.len().min(self.read + self.slice);
        let slice = &self.keys[self.read..last];
        let keys: Vec<KeyRef<'_>> =
            slice.iter().map(|key| KeyRef::new(&self.parts.namespace, key.as_bytes())).collect();
        let (consistency, token, deadline) = (self.parts.consistency, &self.parts.token, self.deadline);
        let mut answers = self.cache.get_many(GetMany { keys: &keys, consistency, token, deadline }).await?;
        drop(room);
        let bytes = self.keep(&mut answers)?;
        let last = self.read + answers.len();
        self.value_size = bytes / answers.len().max(1);
        let hit = answers.iter().flatten().any(|answer| matches!(answer.outcome, GetOutcome::Hit { .. }));
        for (index, answer) in answers.into_iter().enumerate() {
            let item = batch_get_item(self.read + index, answer, &mut self.token, self.metadata_only);
            self.items.push_back(item);
        }
        (self.read, self.took) = (last, self.took + self.clock.now().since(begun));
        if hit && self.parts.namespace.is_unregistered() {
            self.namespaces.register(&self.parts.namespace);
            let adopted = self.namespaces.find(self.parts.namespace.name());
            adopted.into_iter().for_each(|adopted| self.parts.namespace = adopted);
        }
        if bytes < ENOUGH.start {
            self.slice = self.slice.saturating_mul(4);
        } else if bytes > ENOUGH.end {
            self.slice = (self.slice / 2).max(1);
        }
        Ok(())
    }
}

// === impl BatchGet: memory ===

impl BatchGet {
    /// Waits for room for the next slice, while the caller reads what it was sent. The first slice does not wait: its values are not known.
    async fn wait_for_room(&mut self) -> Result<Option<TakenAmounts>, CacheError> {
        self.kept = None;
        let Some(account) = self.account.clone().filter(|_| self.value_size > 0 && !self.metadata_only) else {
            return Ok(None);
        };
        loop {
            let keys = self.slice.min(self.keys.len() - self.read);
            let bytes = keys.saturating_mul(self.value_size);
            if let Some(room) = account.try_take(Resource::Bytes, with_a_message(bytes)) {
                return Ok(Some(room));
            }
            if keys > 1 {
                self.slice = keys / 2;
            } else if self.clock.now() < self.deadline {
                tokio::time::sleep(PACE).await;
            } else {
                return Err(CacheError::DeadlineExceeded { outcome_unknown_for: None });
            }
        }
    }

    /// Takes room for the values of a slice. Of the first, those for which there is no room are read again later. Returns the bytes of those
    /// that are kept.
    fn keep(&mut self, answers: &mut Vec<Result<GetAnswer, CacheError>>) -> Result<usize, CacheError> {
        let sizes: Vec<usize> = answers.iter().map(|answer| answer.as_ref().map_or(0, |a| size(&a.outcome))).collect();
        let Some(account) = self.account.as_ref().filter(|_| !self.metadata_only) else {
            return Ok(sizes.iter().sum());
        };
        let mut fit = sizes.len();
        loop {
            let bytes = sizes[..fit].iter().sum();
            let mut room = match account.try_take(Resource::Bytes, with_a_message(bytes)) {
                Some(room) => room,
                None if fit > 1 => {
                    fit /= 2;
                    continue;
                }
                None if self.read == 0 => account.take(Resource::Bytes, with_a_message(bytes))?,
                // There was room for a value of the usual size.
                None => account.charge(Resource::Bytes, bytes),
            };
            // The message counts when it is encoded.
            room.shrink(bytes);
            answers.truncate(fit);
            self.kept = Some(room);
            return Ok(bytes);
        }
    }
}

/// Bytes of a slice, and of the first message that is encoded of it.
fn with_a_message(bytes: usize) -> usize {
    bytes + bytes.min(MESSAGE) * 9 / 8
}

fn size(outcome: &GetOutcome) -> usize {
    match outcome {
        GetOutcome::Hit { held, .. } => held.entry.content.len(),
        GetOutcome::Miss(_) => 0,
    }
}
