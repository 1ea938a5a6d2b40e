//! `twintier batch`: many entries in one call, with a result for each.

mod get;
mod invalidate;
mod item;
mod keys;
mod progress;
mod set;

use clap::Subcommand;
use serde_json::{Map, Value};
use tonic::Code;

use super::error;
use super::error::CliError;
use super::output::Output;
use crate::cli::args::ServerArgs;
use crate::cli::units;
use crate::pb;

/// `twintier batch ...`
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Read many entries
    Get(get::BatchGetArgs),
    /// Write the entries that a file of JSON lines describes
    Set(set::BatchSetArgs),
    /// Remove many entries
    Invalidate(invalidate::BatchInvalidateArgs),
}

impl BatchCommand {
    pub(super) fn server(&self) -> &ServerArgs {
        match self {
            BatchCommand::Get(args) => &args.server,
            BatchCommand::Set(args) => &args.server,
            BatchCommand::Invalidate(args) => &args.server,
        }
    }

    pub(super) async fn run(self) -> Result<Output, CliError> {
        match self {
            BatchCommand::Get(args) => args.run().await,
            BatchCommand::Set(args) => args.run().await,
            BatchCommand::Invalidate(args) => args.run().await,
        }
    }
}

/// Formats the error of an item as text.
fn words(error: &pb::ItemError) -> String {
    let retry = error.retry_delay.map(|delay| format!("; retry after {}", units::duration(units::from_wire(delay))));
    let unknown = |unknown| format!("; may still take effect for {}", units::duration(units::from_wire(unknown)));
    let unknown = error.outcome_unknown_for.map(unknown).unwrap_or_default();
    format!("{}: {}{unknown}{}", error::code_name(Code::from(error.code)), error.message, retry.unwrap_or_default())
}

/// Formats the error of an item for programs.
fn put_error(document: &mut Map<String, Value>, error: &pb::ItemError) {
    document.insert("code".to_owned(), error::code_name(Code::from(error.code)).into());
    document.insert("error".to_owned(), error.message.as_str().into());
    document.insert("retry_delay_seconds".to_owned(), units::wire_seconds(error.retry_delay));
    document.insert("outcome_unknown_for_seconds".to_owned(), units::wire_seconds(error.outcome_unknown_for));
}

/// Returns the exit code of an item's error, as if the call had failed with it.
fn exit(error: &pb::ItemError) -> u8 {
    match Code::from(error.code) {
        Code::Unavailable | Code::DeadlineExceeded => 3,
        _ => 4,
    }
}
