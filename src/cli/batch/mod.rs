//! `twintier batch`: many entries in one call, with a result for each.

mod get;
mod invalidate;
mod item;
mod item_error;
mod keys;
mod progress;
mod set;

use clap::Subcommand;

use super::error::CliError;
use super::output::Output;
use crate::cli::args::ServerArgs;

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
