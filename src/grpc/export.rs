//! The response stream of an ExportEntries: keys by steps of a scan, and their entries by slices.
//!
//! A call ends after a part of its time, or when its connection shuts down, with a cursor from which
//! any replica continues. So the memory of a call is bounded by one step and one slice.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::access::RequestAccess;
use super::convert::{ExportCursor, ParsedExport, RequestContext, exported_entry};
use super::slices::{MAX_MESSAGE_BYTES, Slices};
use super::status::status;
use crate::auth::{Demand, Verb};
use crate::cache::admission::limits::{Account, TakenAmounts};
use crate::cache::admission::resource::Resource;
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::key::{Key, KeyRef};
use crate::cache::tier::{KeyScan, ScanPosition, ScannedKey};
use crate::cache::tiered::Tiered;
use crate::pb;

/// The response stream of an ExportEntries.
pub type ExportResponses = Pin<Box<dyn Stream<Item = Result<pb::ExportEntriesResponse, Status>> + Send>>;

/// Longest time after which a call ends with a cursor.
const MAX_CALL_DURATION: Duration = Duration::from_secs(10);
/// Pause between two steps of the scan, in which Redis serves others.
const STEP_INTERVAL: Duration = Duration::from_millis(1);
/// Bytes of a step below which the next one looks at more keys.
const SMALL_STEP_BYTES: usize = 4 << 20;

/// The parts of the service that an export uses.
pub struct ExportContext {
    /// The cache.
    pub cache: Tiered,
    /// Namespaces, limits and clock.
    pub context: Arc<RequestContext>,
    /// The caller. `None` if nothing is decided.
    pub access: Option<RequestAccess>,
    /// The account of the caller's connection.
    pub account: Option<Arc<Account>>,
    /// Maximum bytes in flight of the replica.
    pub bytes_limit: usize,
    /// Cancelled when the connection shuts down.
    pub closing: CancellationToken,
    /// Deadline of the call.
    pub deadline: Moment,
}

/// A running export.
pub struct Export {
    service: ExportContext,
    plan: ParsedExport,
    /// Time at which the call ends with a cursor.
    ends_at: Moment,
    slices: Slices,
    /// The step in progress, and its keys that are not read yet.
    step: ExportCursor,
    keys: VecDeque<ScannedKey>,
    step_bytes: usize,
    /// The next step. `None` at the end of the scan.
    next: Option<ScanPosition>,
    /// Entries that are not sent yet, and their memory.
    entries: VecDeque<pb::ExportedEntry>,
    entry_bytes: usize,
    held_bytes: Vec<TakenAmounts>,
    /// Position from which the entries that are not sent yet are found again.
    unsent_from: ExportCursor,
    /// Counts since the last response.
    counted: pb::ExportEntriesResponse,
    has_read: bool,
    has_ended: bool,
}

// === impl Export ===

impl Export {
    /// Creates an export that has scanned nothing.
    pub fn new(service: ExportContext, plan: ParsedExport) -> Export {
        let (clock, deadline) = (service.context.clock.clone(), service.deadline);
        let now = clock.now();
        let value_size = service.context.limits.value_size;
        let slices = Slices::new(service.account.clone(), clock, deadline, service.bytes_limit, value_size);
        let from = plan.from.clone();
        Export {
            ends_at: now.plus((deadline.since(now) / 2).min(MAX_CALL_DURATION)),
            slices,
            next: Some(from.at.clone()),
            unsent_from: from.clone(),
            step: from,
            keys: VecDeque::new(),
            step_bytes: 0,
            entries: VecDeque::new(),
            entry_bytes: 0,
            held_bytes: Vec::new(),
            counted: pb::ExportEntriesResponse::default(),
            has_read: false,
            has_ended: false,
            service,
            plan,
        }
    }

    /// Returns the response stream.
    pub fn responses(self) -> ExportResponses {
        Box::pin(stream::unfold(self, |mut export| async move {
            if export.has_ended {
                return None;
            }
            let response = export.respond().await.map_err(|error| {
                export.has_ended = true;
                status(&error)
            });
            Some((response, export))
        }))
    }

    /// Scans and reads until there is a response.
    async fn respond(&mut self) -> Result<pb::ExportEntriesResponse, CacheError> {
        loop {
            let stops = self.is_complete() || self.is_due();
            if stops || self.entry_bytes >= MAX_MESSAGE_BYTES {
                return Ok(self.response(stops));
            }
            if self.keys.is_empty() {
                self.scan().await?;
            } else {
                self.read_slice().await?;
            }
        }
    }

    /// Returns true if everything was scanned and read.
    fn is_complete(&self) -> bool {
        self.keys.is_empty() && self.next.is_none()
    }

    /// Returns true if the call has to end with a cursor. Each call makes some progress.
    fn is_due(&self) -> bool {
        let now = self.service.context.clock.now();
        self.has_read && (now >= self.ends_at || self.service.closing.is_cancelled())
    }

    /// Makes the next step of the scan.
    async fn scan(&mut self) -> Result<(), CacheError> {
        let Some(at) = self.next.take() else { return Ok(()) };
        if self.has_read {
            tokio::time::sleep(STEP_INTERVAL).await;
        }
        let (namespace, begin) = self.plan.scope();
        let scan = KeyScan { namespace, begin, at: &at, count: self.step.count };
        let found = self.service.cache.scan_keys(scan, self.deadline_of_step()?).await?;
        self.counted.restarted |= at.generation != 0 && at.generation != found.at.generation;
        (self.step.at, self.next) = (found.at, found.next);
        if self.entries.is_empty() {
            self.unsent_from = self.step.clone();
        }
        let mut keys: Vec<ScannedKey> = found.keys.into_iter().filter(|key| self.plan.selects(key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let selected = keys.len();
        keys.retain(|key| self.is_granted(key));
        self.counted.withheld += (selected - keys.len()) as u64;
        self.keys = keys.into();
        if self.keys.is_empty() {
            self.end_step();
            self.has_read = true;
        }
        Ok(())
    }

    /// Reads the entries of the next keys, all of one namespace.
    async fn read_slice(&mut self) -> Result<(), CacheError> {
        let Some(name) = self.keys.front().map(|key| key.namespace.clone()) else { return Ok(()) };
        let left = self.keys.iter().take_while(|key| key.namespace == name).count();
        let room = self.slices.wait_for_room(left).await?;
        let slice: Vec<ScannedKey> = self.keys.drain(..self.slices.keys(left)).collect();
        let deadline = self.deadline_of_step()?;
        // A namespace that may not exist here has no entries.
        if let Ok(namespace) = self.service.context.namespaces.get_to_read("namespaces", &name) {
            let keys: Vec<Key> = slice.iter().map(|key| KeyRef::new(&namespace, &key.key).to_key()).collect();
            let found = self.service.cache.peek_many(&keys, deadline).await?;
            drop(room);
            let now = self.service.context.clock.now();
            let found = keys.iter().zip(found).filter_map(|(key, entry)| Some(exported_entry(key, entry?, now)));
            let found: Vec<_> = found.collect();
            self.counted.skipped += (keys.len() - found.len()) as u64;
            self.keep(found, keys.len());
        } else {
            self.counted.skipped += slice.len() as u64;
        }
        self.has_read = true;
        if self.keys.is_empty() {
            self.end_step();
        }
        Ok(())
    }

    /// Keeps the entries of a slice of `keys` keys until they are sent.
    fn keep(&mut self, found: Vec<pb::ExportedEntry>, keys: usize) {
        let bytes = found.iter().map(pb::ExportedEntry::encoded_len).sum();
        let account = self.service.account.as_ref();
        self.held_bytes.extend(account.map(|account| account.charge(Resource::Bytes, bytes)));
        self.slices.record(bytes, keys);
        self.step_bytes += bytes;
        self.entry_bytes += bytes;
        self.entries.extend(found);
    }

    /// Chooses the number of keys of the next step by the bytes of this one.
    fn end_step(&mut self) {
        let is_small = self.step_bytes < SMALL_STEP_BYTES;
        self.step.count = self.step.count_after(is_small);
        self.step_bytes = 0;
    }

    /// Returns the entries that fit into a response. With `stops` the last of them ends the call.
    fn response(&mut self, stops: bool) -> pb::ExportEntriesResponse {
        let mut response = std::mem::take(&mut self.counted);
        let mut bytes = 0;
        while let Some(entry) = self.entries.front() {
            let size = entry.encoded_len();
            if bytes > 0 && bytes + size > MAX_MESSAGE_BYTES {
                break;
            }
            bytes += size;
            response.entries.extend(self.entries.pop_front());
        }
        self.entry_bytes -= bytes;
        if self.entries.is_empty() {
            self.held_bytes.clear();
            self.unsent_from = self.position();
            self.has_ended = stops;
            response.complete = stops && self.is_complete();
        }
        response.cursor = self.unsent_from.encode();
        response
    }

    /// Returns the position of the keys that are not read yet.
    fn position(&self) -> ExportCursor {
        match &self.next {
            // A step that does not end in one call is repeated with fewer keys.
            _ if !self.keys.is_empty() => {
                ExportCursor { at: self.step.at.clone(), count: self.step.count_after(false) }
            }
            Some(next) => ExportCursor { at: next.clone(), count: self.step.count },
            None => self.step.clone(),
        }
    }

    /// Returns true if the caller may read the key.
    fn is_granted(&self, key: &ScannedKey) -> bool {
        let demand = Demand::key(Verb::Read, &key.namespace, &key.key);
        self.service.access.as_ref().is_none_or(|access| access.shows(&demand))
    }

    /// Returns the deadline of the next call to the store.
    fn deadline_of_step(&self) -> Result<Moment, CacheError> {
        let now = self.service.context.clock.now();
        if now >= self.service.deadline {
            return Err(CacheError::DeadlineExceeded { outcome_unknown_for: None });
        }
        let timeout = self.service.cache.config().read_timeout;
        Ok(now.plus(timeout).min(self.service.deadline))
    }
}
