//! `twintier hot-keys`: the keys read most at a replica.

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{OutputFormat, ServerArgs};
use crate::cli::connection::{ServiceConnection, admin};
use crate::cli::{json, table};
use crate::pb;

/// Arguments of `hot-keys`.
#[derive(Args, Debug)]
#[command(after_help = "Keys of this replica in about the last 30 s; rates are estimated from a sample.")]
pub struct HotKeysArgs {
    /// Only keys of this namespace
    #[arg(short, long, value_name = "NAME", env = "TWINTIER_NAMESPACE")]
    namespace: Option<String>,
    /// Number of keys, up to 100
    #[arg(short, long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

// === impl HotKeysArgs ===

impl HotKeysArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let request = pb::HotKeysRequest { namespace: self.namespace.clone().unwrap_or_default(), limit: self.limit };
        let response = ServiceConnection::new(&self.server)?
            .call(request, async |channel, request| admin(channel).hot_keys(request).await)
            .await?;
        Ok(answer(&response, self.server.output))
    }
}

fn answer(response: &pb::HotKeysResponse, output: OutputFormat) -> Output {
    let row = |hot: &pb::HotKey| {
        // Keys are callers' bytes: nothing of them may disturb a terminal.
        vec![hot.key.escape_debug().to_string(), hot.namespace.clone(), format!("{:.1}", hot.gets_per_second)]
    };
    let out = match output {
        OutputFormat::Json => json_text(&response.keys.iter().map(json::document).collect()),
        OutputFormat::Text if response.keys.is_empty() => b"No key was read lately.\n".into(),
        OutputFormat::Text => {
            let rows: Vec<_> = response.keys.iter().map(row).collect();
            table::aligned(&["KEY", "NAMESPACE", "GETS/S"], &rows).into_bytes()
        }
    };
    Output { out, ..Output::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_key_and_reports_when_empty() {
        let hot = |key: &str, gets_per_second| pb::HotKey { namespace: "n".into(), key: key.into(), gets_per_second };
        let response = pb::HotKeysResponse { keys: vec![hot("user:1", 1234.56), hot("\x1b[2J", 2.0)] };
        let text = String::from_utf8(answer(&response, OutputFormat::Text).out).expect("text");
        assert_eq!(text, "KEY        NAMESPACE  GETS/S\nuser:1             n  1234.6\n\\u{1b}[2J          n     2.0\n");
        let none = answer(&pb::HotKeysResponse::default(), OutputFormat::Text);
        assert_eq!(none.out, b"No key was read lately.\n");
        assert_eq!(answer(&pb::HotKeysResponse::default(), OutputFormat::Json).out, b"[]\n");
    }
}
