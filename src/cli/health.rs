//! `twintier health`: health of a replica, by grpc.health.v1.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{OutputFormat, ServerArgs, parse_timeout};
use crate::cli::connection::ServiceConnection;

/// Pause between two checks of one `--wait`.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `health`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 SERVING, 1 anything else, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct HealthArgs {
    /// Name of the check: liveness, readiness, redis, l1-only or twintier.v1.CacheService; default
    /// readiness
    #[arg(default_value = "", hide_default_value = true)]
    service: String,
    /// Repeat the check until it is SERVING, for this long at most
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    wait: Option<Duration>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl HealthArgs ===

impl HealthArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let Some(wait) = self.wait else { return Ok(answer(&self.check(&self.server).await?, self.server.output)) };
        let started_at = Instant::now();
        loop {
            let left = wait.saturating_sub(started_at.elapsed());
            let server = ServerArgs { timeout: left.min(self.server.timeout), ..self.server.clone() };
            let checked = self.check(&server).await;
            let is_serving = checked.as_ref().is_ok_and(|response| response.status() == ServingStatus::Serving);
            if is_serving || started_at.elapsed() + POLL_INTERVAL >= wait {
                return Ok(answer(&checked?, self.server.output));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends one check.
    async fn check(&self, server: &ServerArgs) -> Result<HealthCheckResponse, CliError> {
        let request = HealthCheckRequest { service: self.service.clone() };
        let check = async |channel, request| HealthClient::new(channel).check(request).await;
        ServiceConnection::new(server)?.call(request, check).await
    }
}

fn answer(response: &HealthCheckResponse, output: OutputFormat) -> Output {
    let status = response.status().as_str_name();
    let out = match output {
        OutputFormat::Json => json_text(&json!({ "status": status })),
        OutputFormat::Text => format!("{status}\n").into_bytes(),
    };
    Output { out, exit: u8::from(response.status() != ServingStatus::Serving), ..Output::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_success() {
        let shown = |status: ServingStatus| answer(&HealthCheckResponse { status: status.into() }, OutputFormat::Text);
        assert_eq!(shown(ServingStatus::Serving), Output { out: b"SERVING\n".into(), ..Output::default() });
        assert_eq!(
            shown(ServingStatus::NotServing),
            Output { out: b"NOT_SERVING\n".into(), exit: 1, ..Output::default() }
        );
        assert_eq!(shown(ServingStatus::Unknown).exit, 1);
    }
}
