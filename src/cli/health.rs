//! `twintier health`: asks a replica for its health, by grpc.health.v1.

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

/// Between two questions of one `--wait`.
const PAUSE: Duration = Duration::from_millis(100);

/// Arguments of `health`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 SERVING, 1 anything else, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct HealthArgs {
    /// What to ask about: liveness, readiness, redis, l1-only or twintier.v1.CacheService; readiness when not given
    #[arg(default_value = "", hide_default_value = true)]
    service: String,
    /// Ask again and again until it is SERVING, for this long at most
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    wait: Option<Duration>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl HealthArgs ===

impl HealthArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let Some(wait) = self.wait else { return Ok(answer(&self.ask(&self.server).await?, self.server.output)) };
        let begun = Instant::now();
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            let server = ServerArgs { timeout: left.min(self.server.timeout), ..self.server.clone() };
            let asked = self.ask(&server).await;
            let is_serving = asked.as_ref().is_ok_and(|response| response.status() == ServingStatus::Serving);
            if is_serving || begun.elapsed() + PAUSE >= wait {
                return Ok(answer(&asked?, self.server.output));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The answer to one question.
    async fn ask(&self, server: &ServerArgs) -> Result<HealthCheckResponse, CliError> {
        let request = HealthCheckRequest { service: self.service.clone() };
        let check = async |channel, request| HealthClient::new(channel).check(request).await;
        ServiceConnection::new(server).call(request, check).await
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
