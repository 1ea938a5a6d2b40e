//! `twintier touch`: changes the expiry of an entry.

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{NamespaceArg, OutputFormat, ServerArgs, TokenArgs};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::expiry::ExpiryArgs;
use crate::cli::{json, table, units};
use crate::pb;

/// Arguments of `touch`.
#[derive(Args, Debug)]
#[command(override_usage = "twintier touch [OPTIONS] <KEY> <--ttl <DURATION>|--expire-at <RFC3339>|--no-expiry>")]
#[command(
    after_help = "Exit codes: 0 changed as requested, 1 unchanged or no entry, 2 usage, 3 unavailable or too late, 4 other error."
)]
#[command(mut_group("ExpiryArgs", |group| group.required(true)))]
pub struct TouchArgs {
    /// Key of the entry
    key: String,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    expiry: ExpiryArgs,
    /// Only extend its life
    #[arg(long, conflicts_with = "shorten")]
    extend: bool,
    /// Only shorten its life
    #[arg(long)]
    shorten: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl TouchArgs ===

impl TouchArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let response =
            connection.call(self.request(), async |channel, request| cache(channel).touch(request).await).await?;
        Ok(answer(&response, self.server.output))
    }

    fn request(&self) -> pb::TouchRequest {
        let mode = match (self.extend, self.shorten) {
            (true, _) => pb::TouchMode::Extend,
            (_, true) => pb::TouchMode::Shorten,
            _ => pb::TouchMode::Overwrite,
        };
        pb::TouchRequest {
            namespace: self.namespace.namespace.clone(),
            key: self.key.clone(),
            expiry: self.expiry.given().map(Into::into),
            mode: mode.into(),
            tokens: self.tokens.tokens.clone(),
        }
    }
}

fn answer(response: &pb::TouchResponse, output: OutputFormat) -> Output {
    let outcome = units::name(response.outcome().as_str_name(), "TOUCH_OUTCOME_");
    let present = !response.version.is_empty();
    let out = match output {
        OutputFormat::Json => json_text(&json::document(response)),
        OutputFormat::Text => {
            let ttl = match response.ttl {
                None if present => "until removed".to_owned(),
                ttl => units::wire_duration(ttl),
            };
            table::facts(&[
                ("outcome", outcome),
                ("ttl", ttl),
                ("version", if present { response.version.clone() } else { "-".to_owned() }),
                ("token", response.token.clone()),
            ])
            .into_bytes()
        }
    };
    Output { out, exit: u8::from(response.outcome() != pb::TouchOutcome::Touched), ..Output::default() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        touch: TouchArgs,
    }

    fn parse(args: &[&str]) -> Result<TouchArgs, clap::Error> {
        Line::try_parse_from([&["touch"], args].concat()).map(|line| line.touch)
    }

    #[test]
    fn one_expiry_and_at_most_one_mode_are_given() {
        let request = parse(&["k", "--ttl", "5m", "--extend"]).expect("valid").request();
        let ttl = prost_types::Duration { seconds: 300, nanos: 0 };
        assert_eq!(request.expiry, Some(pb::touch_request::Expiry::Ttl(ttl)));
        assert_eq!(request.mode(), pb::TouchMode::Extend);
        let request = parse(&["k", "--no-expiry"]).expect("valid").request();
        assert_eq!(request.expiry, Some(pb::touch_request::Expiry::NoExpiry(pb::NoExpiry {})));
        assert_eq!(request.mode(), pb::TouchMode::Overwrite);
        for args in [&["k"][..], &["k", "--ttl", "5m", "--no-expiry"], &["k", "--ttl", "5m", "--extend", "--shorten"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn only_a_life_as_asked_for_is_a_yes() {
        let ttl = Some(prost_types::Duration { seconds: 90, nanos: 0 });
        let touched = pb::TouchResponse {
            outcome: pb::TouchOutcome::Touched.into(),
            version: "1-2".to_owned(),
            ttl,
            token: "t".to_owned(),
        };
        let shown = answer(&touched, OutputFormat::Text);
        assert_eq!(shown.out, b"outcome  touched\nttl      1m 30s\nversion  1-2\ntoken    t\n");
        assert_eq!(shown.exit, 0);
        let forever = pb::TouchResponse { ttl: None, ..touched.clone() };
        let shown = String::from_utf8(answer(&forever, OutputFormat::Text).out).expect("text");
        assert!(shown.contains("until removed"), "{shown}");
        let unchanged = pb::TouchResponse { outcome: pb::TouchOutcome::Unchanged.into(), ..touched };
        assert_eq!(answer(&unchanged, OutputFormat::Json).exit, 1);
    }
}
