//! `twintier log-level`: changes the log level of one replica for a while.

use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{OutputFormat, ServerArgs, parse_timeout};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::json;
use crate::cli::units::wire_duration;
use crate::pb;

/// Arguments of `log-level`.
#[derive(Args, Debug)]
#[command(
    after_help = "Changes only the replica that is called. The configured level (log.level) returns after this time, or at a restart."
)]
pub struct LogLevelArgs {
    /// Level (off, error, warn, info, debug, trace) or directives such as info,twintier=debug;
    /// `reset` returns to the configured level
    level: String,
    /// Time until the configured level returns, from 1s to 24h; default 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_timeout)]
    lasts: Option<Duration>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

impl LogLevelArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let level = if self.level == "reset" { String::new() } else { self.level };
        let lasts = self.lasts.and_then(|lasts| lasts.try_into().ok());
        let response = ServiceConnection::new(&self.server)?
            .call(pb::SetLogLevelRequest { level, lasts }, async |channel, request| {
                admin(channel).set_log_level(request).await
            })
            .await?;
        Ok(Output { out: page(&response, self.server.output), ..Output::default() })
    }
}

fn page(response: &pb::SetLogLevelResponse, output: OutputFormat) -> Vec<u8> {
    let pb::SetLogLevelResponse { level, configured_level, left } = response;
    match (output, left) {
        (OutputFormat::Json, _) => json_text(&json::document(response)),
        (OutputFormat::Text, Some(_)) => {
            format!("{level} for {}, then {configured_level}\n", wire_duration(*left)).into()
        }
        (OutputFormat::Text, None) => format!("{level}, as configured\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_printed_with_the_level_after_it() {
        let left = Some(prost_types::Duration { seconds: 600, nanos: 0 });
        let changed = pb::SetLogLevelResponse { level: "debug".to_owned(), configured_level: "info".to_owned(), left };
        assert_eq!(page(&changed, OutputFormat::Text), b"debug for 10m, then info\n");
        let configured = pb::SetLogLevelResponse { level: "info".to_owned(), left: None, ..changed };
        assert_eq!(page(&configured, OutputFormat::Text), b"info, as configured\n");
        let json: serde_json::Value = serde_json::from_slice(&page(&configured, OutputFormat::Json)).expect("JSON");
        assert_eq!(json["left_seconds"], serde_json::Value::Null);
    }
}
