//! The response stream of a BatchGet, read in slices to bound the values in memory.
//!
//! The next slice is read when the caller has taken the last one. Most batches are one slice and
//! one message.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tonic::Status;

use super::convert::{ParsedBatchGet, token_text};
use super::prepared_items::{ItemWriter, PreparedBatch};
use super::slices::{MAX_MESSAGE_BYTES, Slices, with_message_bytes};
use super::status::status;
use crate::cache::admission::limits::{Account, Admission, TakenAmounts};
use crate::cache::admission::resource::Resource;
use crate::cache::clock::{Clock, Moment};
use crate::cache::error::CacheError;
use crate::cache::key::KeyRef;
use crate::cache::namespace::{InFlightPlace, Namespaces};
use crate::cache::tiered::{GetAnswer, GetMany, GetOutcome, Tiered};
use crate::cache::token::Token;
use crate::pb;
use crate::pb::PreparedItems as _;

/// The response stream of a BatchGet.
pub type BatchGetResponses = Pin<Box<dyn Stream<Item = Result<pb::BatchGetResponse, Status>> + Send>>;

/// A running BatchGet.
pub struct BatchGet {
    cache: Tiered,
    /// The account of the caller's connection.
    account: Option<Arc<Account>>,
    clock: Arc<dyn Clock>,
    namespaces: Arc<Namespaces>,
    partitions: u16,
    parts: ParsedBatchGet,
    keys: Vec<String>,
    /// Memory of the keys until the caller has read the responses.
    _keys_taken: Option<TakenAmounts>,
    /// Place of the request in the quota of its namespace.
    _in_flight: Option<InFlightPlace>,
    metadata_only: bool,
    deadline: Moment,
    token: Token,
    /// Number of keys read so far.
    read: usize,
    slices: Slices,
    /// Messages that are not sent yet. The last one may still grow.
    messages: VecDeque<PreparedBatch>,
    writer: ItemWriter,
    /// Memory of the items that are not sent yet.
    held_bytes: Option<TakenAmounts>,
    /// Time spent on reads.
    read_time: Duration,
    ended: bool,
}

/// The parts of the service that a BatchGet uses.
pub struct BatchGetContext {
    /// The cache.
    pub cache: Tiered,
    /// The admission limits.
    pub load: Arc<Admission>,
    /// The account of the caller's connection.
    pub account: Option<Arc<Account>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Maximum size of a value in bytes.
    pub value_size: usize,
}

// === impl BatchGet ===

impl BatchGet {
    /// Reads the first slice.
    pub async fn begin(
        service: BatchGetContext,
        parts: ParsedBatchGet,
        request: pb::BatchGetRequest,
        deadline: Moment,
    ) -> Result<BatchGet, CacheError> {
        let BatchGetContext { cache, load, account, clock, namespaces, value_size } = service;
        let in_flight = parts.namespace.enter()?;
        parts.namespace.admit_many(request.keys.len())?;
        let counted = account.clone().filter(|_| !request.metadata_only);
        let slices = Slices::new(counted, clock.clone(), deadline, load.bytes_limit(), value_size);
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
            _in_flight: in_flight,
            metadata_only: request.metadata_only,
            deadline,
            token,
            read: 0,
            slices,
            messages: VecDeque::new(),
            writer: ItemWriter::default(),
            held_bytes: None,
            read_time: Duration::ZERO,
            ended: false,
        };
        batch.read_slice().await?;
        Ok(batch)
    }

    /// Returns the response stream.
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
        loop {
            if self.messages.len() > 1 {
                return self.messages.pop_front().map(|full| Ok(message(full, String::new())));
            }
            if self.read == self.keys.len() {
                self.ended = true;
                self.held_bytes = None;
                self.cache.latencies().batch_get.observe(self.read_time);
                let token = token_text(&self.token, self.partitions);
                return Some(Ok(message(self.messages.pop_front().unwrap_or_default(), token)));
            }
            if let Err(error) = self.read_slice().await {
                self.ended = true;
                return Some(Err(status(&error)));
            }
        }
    }

    async fn read_slice(&mut self) -> Result<(), CacheError> {
        self.held_bytes = None;
        let room = self.slices.wait_for_room(self.keys.len() - self.read).await?;
        let started_at = self.clock.now();
        if started_at >= self.deadline {
            return Err(CacheError::DeadlineExceeded { outcome_unknown_for: None });
        }
        let last = self.read + self.slices.keys(self.keys.len() - self.read);
        let slice = &self.keys[self.read..last];
        let keys: Vec<KeyRef<'_>> =
            slice.iter().map(|key| KeyRef::new(&self.parts.namespace, key.as_bytes())).collect();
        let (consistency, token, deadline) = (self.parts.consistency, &self.parts.token, self.deadline);
        let mut answers = self.cache.get_many(GetMany { keys: &keys, consistency, token, deadline }).await?;
        drop(room);
        let bytes = self.keep(&mut answers)?;
        let last = self.read + answers.len();
        let names: usize = self.keys[self.read..last].iter().map(String::len).sum();
        self.parts.namespace.charge(bytes + names);
        let answered = answers.len();
        let hit = answers.iter().flatten().any(|answer| matches!(answer.outcome, GetOutcome::Hit { .. }));
        for (index, answer) in answers.into_iter().enumerate() {
            self.prepare(self.read + index, answer);
        }
        (self.read, self.read_time) = (last, self.read_time + self.clock.now().since(started_at));
        if hit && self.parts.namespace.is_unregistered() {
            self.namespaces.register(&self.parts.namespace);
            let adopted = self.namespaces.find(self.parts.namespace.name());
            adopted.into_iter().for_each(|adopted| self.parts.namespace = adopted);
        }
        self.slices.record(bytes, answered);
        Ok(())
    }
}

impl BatchGet {
    /// Prepares the item at `index`, in a new message if the last one is full. Adds its position to
    /// the token.
    fn prepare(&mut self, index: usize, result: Result<GetAnswer, CacheError>) {
        if let Ok(answer) = result.as_ref()
            && answer.position.epoch > 0
        {
            self.token.add(answer.partition, answer.position);
        }
        self.writer.begin(result, self.metadata_only);
        let size = self.writer.size(index);
        let has_room = |last: &&mut PreparedBatch| last.encoded_len() + size <= MAX_MESSAGE_BYTES || last.is_empty();
        match self.messages.back_mut().filter(has_room) {
            Some(last) => self.writer.append_to(last, index),
            None => {
                let mut first = PreparedBatch::default();
                self.writer.append_to(&mut first, index);
                self.messages.push_back(first);
            }
        }
    }
}

// === impl BatchGet: memory ===

impl BatchGet {
    /// Takes room for the values of a slice.
    ///
    /// Values of the first slice that do not fit are dropped and read again later. Returns the
    /// bytes of the kept values.
    fn keep(&mut self, answers: &mut Vec<Result<GetAnswer, CacheError>>) -> Result<usize, CacheError> {
        let sizes: Vec<usize> =
            answers.iter().map(|answer| answer.as_ref().map_or(0, |a| content_bytes(&a.outcome))).collect();
        let Some(account) = self.account.as_ref().filter(|_| !self.metadata_only) else {
            return Ok(sizes.iter().sum());
        };
        let mut fit = sizes.len();
        loop {
            let bytes = sizes[..fit].iter().sum();
            let mut room = match account.try_take(Resource::Bytes, with_message_bytes(bytes)) {
                Some(room) => room,
                None if fit > 1 => {
                    fit /= 2;
                    continue;
                }
                None if self.read == 0 => account.take(Resource::Bytes, with_message_bytes(bytes))?,
                // There was room for a value of the expected size.
                None => account.charge(Resource::Bytes, bytes),
            };
            // The message is counted when it is encoded.
            room.shrink(bytes);
            answers.truncate(fit);
            self.held_bytes = Some(room);
            return Ok(bytes);
        }
    }
}

fn message(items: PreparedBatch, token: String) -> pb::BatchGetResponse {
    pb::BatchGetResponse { items: Vec::new(), token, prepared: Some(Box::new(items)) }
}

fn content_bytes(outcome: &GetOutcome) -> usize {
    match outcome {
        GetOutcome::Hit { held, .. } => held.entry.content.len(),
        GetOutcome::Miss(_) => 0,
    }
}
