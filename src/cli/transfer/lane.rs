//! One of the concurrent ways of an import: stores its chunks one after the other.
//!
//! A key always takes the same lane, so that the last of several lines of a key wins.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::backoff::RetryBackoff;
use super::chunk::Chunk;
use super::tally::ImportTally;
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::error::CliError;
use crate::cli::units;
use crate::pb;

/// A lane.
pub(super) struct Lane<'a> {
    pub connection: &'a ServiceConnection<'a>,
    pub tally: &'a RefCell<ImportTally>,
    /// Cancelled when the import has failed or was interrupted.
    pub stop: &'a CancellationToken,
    pub rules: LaneRules<'a>,
}

/// How a lane treats what is not stored.
#[derive(Clone, Copy)]
pub(super) struct LaneRules<'a> {
    /// Name of the source, for errors.
    pub source: &'a str,
    pub retries: u32,
    pub continues: bool,
    /// True: an entry that is present is as good as stored.
    pub if_absent: bool,
}

/// Items that may be stored later.
struct Unsettled {
    /// Least pause before that.
    least: Duration,
    failure: CliError,
}

// === impl Lane ===

impl Lane<'_> {
    /// Stores chunks until there are no more. After a failure they are dropped.
    pub async fn run(self, mut chunks: mpsc::Receiver<Chunk>) {
        while let Some(mut chunk) = chunks.recv().await {
            if self.stop.is_cancelled() {
                continue;
            }
            match self.store(&mut chunk).await {
                Ok(true) => self.tally.borrow_mut().close(chunk.first),
                Ok(false) => {}
                Err(failure) => {
                    self.tally.borrow_mut().failure.get_or_insert(failure);
                    self.stop.cancel();
                }
            }
        }
    }

    /// Stores a chunk. Returns false if the import was stopped before.
    async fn store(&self, chunk: &mut Chunk) -> Result<bool, CliError> {
        let mut backoff = RetryBackoff::new(self.rules.retries);
        while !chunk.items.is_empty() {
            let set = async |channel, request| cache(channel).batch_set(request).await;
            let unsettled = match self.connection.call(chunk.request(), set).await {
                Ok(response) => self.settle(chunk, &response)?,
                Err(failure) => self.call_failed(chunk, failure)?,
            };
            let Some(Unsettled { least, failure }) = unsettled else { continue };
            let Some(pause) = backoff.next(least) else {
                self.give_up(std::mem::take(&mut chunk.items), failure)?;
                continue;
            };
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(true)
    }

    /// Counts the results of a call. The items that may be stored later stay in the chunk.
    fn settle(&self, chunk: &mut Chunk, response: &pb::BatchSetResponse) -> Result<Option<Unsettled>, CliError> {
        let mut unsettled = None;
        let mut stored = 0;
        let items = std::mem::take(&mut chunk.items);
        for ((number, item), result) in items.into_iter().zip(&response.results) {
            let Some(error) = &result.error else {
                match result.outcome() {
                    pb::SetOutcome::Stored => stored += 1,
                    outcome => self.refused(number, &item.key, outcome)?,
                }
                continue;
            };
            let code = Code::from(error.code);
            let failure = self.connection.failure(Status::new(code, error.message.clone()));
            if matches!(code, Code::Unavailable | Code::DeadlineExceeded) || error.retry_delay.is_some() {
                let least = error.retry_delay.map(units::from_wire).unwrap_or_default();
                unsettled = Some(Unsettled { least, failure });
                chunk.items.push((number, item));
            } else {
                self.give_up(vec![(number, item)], failure)?;
            }
        }
        self.tally.borrow_mut().count("stored", stored);
        Ok(unsettled)
    }

    fn refused(&self, number: u64, key: &str, outcome: pb::SetOutcome) -> Result<(), CliError> {
        let name = units::name(outcome.as_str_name(), "SET_OUTCOME_");
        let mut tally = self.tally.borrow_mut();
        if self.rules.if_absent && outcome == pb::SetOutcome::AlreadyPresent {
            tally.count(&name, 1);
            return Ok(());
        }
        tally.refuse(number, key, &name)
    }

    /// Handles a call that failed as a whole. The items that break a rule leave the chunk.
    fn call_failed(&self, chunk: &mut Chunk, failure: CliError) -> Result<Option<Unsettled>, CliError> {
        let rejected = chunk.take_rejected(&failure);
        for (number, why) in &rejected {
            self.tally.borrow_mut().reject(*number, why)?;
        }
        match (rejected.first(), failure.retry_after()) {
            (Some(_), _) if self.rules.continues => Ok(None),
            (Some((number, why)), _) => Err(CliError::of_line(self.rules.source, *number, why)),
            (None, Some(least)) => Ok(Some(Unsettled { least, failure })),
            (None, None) => self.give_up(std::mem::take(&mut chunk.items), failure).map(|()| None),
        }
    }

    /// Counts items as failed, or ends the import.
    fn give_up(&self, items: Vec<(u64, pb::SetRequest)>, failure: CliError) -> Result<(), CliError> {
        if !self.rules.continues {
            return Err(failure);
        }
        let mut tally = self.tally.borrow_mut();
        items.iter().try_for_each(|(number, item)| tally.fail(*number, &item.key, &failure))
    }
}
