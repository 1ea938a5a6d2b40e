//! `twintier release`: gives back the lease to fill an entry.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::{json, units};
use crate::pb;

/// Arguments of `release`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 released, 1 the lease was void, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct ReleaseArgs {
    /// Key of the entry
    key: String,
    /// Lease id of `get --lease`
    lease: String,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Report that filling failed: print the stale value, if one is kept
    #[arg(long)]
    failed: bool,
    /// Time in which no caller gets the lease, for example 2s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true, requires = "failed")]
    retry_after: Option<Duration>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl ReleaseArgs ===

impl ReleaseArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let response = connection
            .call(self.request(), async |channel, request| cache(channel).release_lease(request).await)
            .await?;
        Ok(answer(&response, self.server.output))
    }

    fn request(&self) -> pb::ReleaseLeaseRequest {
        pb::ReleaseLeaseRequest {
            namespace: self.namespace.namespace.clone(),
            key: self.key.clone(),
            lease: self.lease.clone(),
            failed: self.failed,
            retry_after: self.retry_after.map(units::to_wire),
        }
    }
}

fn answer(response: &pb::ReleaseLeaseResponse, output: OutputFormat) -> Output {
    let exit = u8::from(!response.released);
    if output == OutputFormat::Json {
        let mut document = json::fields(response);
        if let Some(Value::Object(mut stale)) = document.remove("stale") {
            stale.remove("entry");
            document.extend(stale);
        }
        return Output { out: json_text(&Value::Object(document)), exit, ..Output::default() };
    }
    let out = response.stale.as_ref().map(|hit| hit.value.to_vec()).unwrap_or_default();
    let notes = if response.released {
        "released\n"
    } else {
        "the lease was void
"
    };
    Output { out, notes: notes.to_owned(), exit }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        release: ReleaseArgs,
    }

    fn parse(args: &[&str]) -> Result<ReleaseArgs, clap::Error> {
        Line::try_parse_from([&["release"], args].concat()).map(|line| line.release)
    }

    #[test]
    fn arguments_become_the_request() {
        let request = parse(&["k", "1f", "-n", "ns", "--failed", "--retry-after", "2s"]).expect("valid").request();
        assert_eq!((request.namespace.as_str(), request.key.as_str(), request.lease.as_str()), ("ns", "k", "1f"));
        assert_eq!(request.retry_after, Some(prost_types::Duration { seconds: 2, nanos: 0 }));
        assert!(request.failed);
        assert!(parse(&["k"]).is_err() && parse(&["k", "1f", "--retry-after", "2s"]).is_err());
    }

    #[test]
    fn a_stale_value_is_printed_as_it_is() {
        let stale = Some(pb::Hit { value: "old".into(), content_type: "text/plain".to_owned(), ..Default::default() });
        let response = pb::ReleaseLeaseResponse { released: true, stale };
        let shown = answer(&response, OutputFormat::Text);
        assert_eq!((shown.out.as_slice(), shown.notes.as_str(), shown.exit), (&b"old"[..], "released\n", 0));
        let document: Value = serde_json::from_slice(&answer(&response, OutputFormat::Json).out).expect("json");
        assert_eq!(document, json!({ "released": true, "content_type": "text/plain", "value": "old" }));
        let late = answer(&pb::ReleaseLeaseResponse { released: false, stale: None }, OutputFormat::Text);
        assert_eq!((late.out.as_slice(), late.exit), (&b""[..], 1));
    }
}
