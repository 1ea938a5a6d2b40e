//! `twintier drain` and `twintier reset-stats`.

use clap::{Args, ValueEnum};

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{OutputFormat, ServerArgs};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::json;
use crate::pb;

/// Arguments of `drain`.
#[derive(Args, Debug)]
#[command(after_help = "A drained replica still answers calls; only its health (readiness) reports NOT_SERVING.")]
pub struct DrainArgs {
    /// on: report that this replica does not serve; off: report its real state
    #[arg(value_enum)]
    switch: Switch,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Arguments of `reset-stats`.
#[derive(Args, Debug)]
#[command(after_help = "Statistics of this replica start at zero again. Metrics do not change.")]
pub struct ResetStatsArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

impl DrainArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let request = pb::DrainRequest { draining: self.switch == Switch::On };
        let response = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).drain(request).await)
            .await?;
        let out = match (self.server.output, response.draining) {
            (OutputFormat::Json, _) => json_text(&json::document(&response)),
            (OutputFormat::Text, true) => b"draining\n".into(),
            (OutputFormat::Text, false) => b"not draining\n".into(),
        };
        Ok(Output { out, ..Output::default() })
    }
}

impl ResetStatsArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let response = ServiceConnection::new(&self.server)?
            .call(pb::ResetStatsRequest {}, async |channel, request| admin(channel).reset_stats(request).await)
            .await?;
        let out = match self.server.output {
            OutputFormat::Json => json_text(&json::document(&response)),
            OutputFormat::Text => b"reset\n".into(),
        };
        Ok(Output { out, ..Output::default() })
    }
}
