//! `twintier health`: asks a replica for its health, by grpc.health.v1.

use clap::Args;
use serde_json::json;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::cli::answer::{Answer, json_text};
use crate::cli::args::{OutputFormat, ServerArgs};
use crate::cli::connection::Connection;
use crate::cli::failure::Failure;

/// Arguments of `health`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 SERVING, 1 anything else, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct HealthArgs {
    /// What to ask about: liveness, readiness, redis, l1-only or twintier.v1.CacheService; readiness when not given
    #[arg(default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    server: ServerArgs,
}

// === impl HealthArgs ===

impl HealthArgs {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        let request = HealthCheckRequest { service: self.service.clone() };
        let response = Connection::new(&self.server)
            .call(request, async |channel, request| HealthClient::new(channel).check(request).await)
            .await?;
        Ok(answer(&response, self.server.output))
    }
}

fn answer(response: &HealthCheckResponse, output: OutputFormat) -> Answer {
    let status = response.status().as_str_name();
    let out = match output {
        OutputFormat::Json => json_text(&json!({ "status": status })),
        OutputFormat::Text => format!("{status}\n").into_bytes(),
    };
    Answer { out, exit: u8::from(response.status() != ServingStatus::Serving), ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serving_is_success() {
        let shown = |status: ServingStatus| answer(&HealthCheckResponse { status: status.into() }, OutputFormat::Text);
        assert_eq!(shown(ServingStatus::Serving), Answer { out: b"SERVING\n".into(), ..Answer::default() });
        assert_eq!(
            shown(ServingStatus::NotServing),
            Answer { out: b"NOT_SERVING\n".into(), exit: 1, ..Answer::default() }
        );
        assert_eq!(shown(ServingStatus::Unknown).exit, 1);
    }
}
