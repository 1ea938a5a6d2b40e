//! The commands of `twintier batch`.

use clap::Subcommand;

use super::{get, invalidate, set};
use crate::cli::args::ServerArgs;
use crate::cli::error::CliError;
use crate::cli::output::Output;

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
    pub(in crate::cli) fn server(&self) -> &ServerArgs {
        match self {
            BatchCommand::Get(args) => &args.server,
            BatchCommand::Set(args) => &args.server,
            BatchCommand::Invalidate(args) => &args.server,
        }
    }

    pub(in crate::cli) async fn run(self) -> Result<Output, CliError> {
        match self {
            BatchCommand::Get(args) => args.run().await,
            BatchCommand::Set(args) => args.run().await,
            BatchCommand::Invalidate(args) => args.run().await,
        }
    }
}
