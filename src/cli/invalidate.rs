//! `twintier invalidate`: removes one entry, several, or a whole namespace.

use clap::Args;
use serde_json::json;

use crate::cli::answer::{Answer, json_text};
use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, TokenArgs};
use crate::cli::connection::{Connection, cache};
use crate::cli::failure::Failure;
use crate::cli::table;
use crate::pb;
use crate::pb::invalidate_request::Selector;

/// Arguments of `invalidate`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 removed or not there, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct InvalidateArgs {
    #[command(flatten)]
    selector: SelectorArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What to remove: keys or everything.
#[derive(Args, Debug)]
#[group(required = true)]
struct SelectorArgs {
    /// Keys of the entries
    #[arg(value_name = "KEY", conflicts_with = "all")]
    keys: Vec<String>,
    /// Every entry of the namespace
    #[arg(long)]
    all: bool,
}

// === impl InvalidateArgs ===

impl InvalidateArgs {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        let connection = Connection::new(&self.server);
        let response =
            connection.call(self.request(), async |channel, request| cache(channel).invalidate(request).await).await?;
        Ok(answer(&response, self.server.output))
    }

    fn request(&self) -> pb::InvalidateRequest {
        let selector = match self.selector.keys.as_slice() {
            [] => Selector::WholeNamespace(pb::WholeNamespace {}),
            [key] => Selector::Key(key.clone()),
            keys => Selector::Keys(pb::Keys { keys: keys.to_vec() }),
        };
        pb::InvalidateRequest {
            mode: 0,
            source_version: None,
            namespace: self.namespace.namespace.clone(),
            selector: Some(selector),
            tokens: self.tokens.tokens.clone(),
            barrier: self.barrier.to_wire().into(),
        }
    }
}

fn answer(response: &pb::InvalidateResponse, output: OutputFormat) -> Answer {
    let out = match output {
        OutputFormat::Json => json_text(&json!({ "removed": response.removed, "token": response.token })),
        OutputFormat::Text => {
            let removed = response.removed.map_or_else(|| "everything".to_owned(), |removed| removed.to_string());
            table::facts(&[("removed", removed), ("token", response.token.clone())]).into_bytes()
        }
    };
    Answer { out, ..Answer::default() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        invalidate: InvalidateArgs,
    }

    fn selector(args: &[&str]) -> Result<Option<Selector>, clap::Error> {
        let line = Line::try_parse_from([&["invalidate"], args].concat())?;
        Ok(line.invalidate.request().selector)
    }

    #[test]
    fn keys_or_everything_but_never_nothing() {
        assert_eq!(selector(&["a"]).expect("valid"), Some(Selector::Key("a".to_owned())));
        let keys = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(selector(&["a", "b"]).expect("valid"), Some(Selector::Keys(pb::Keys { keys })));
        assert_eq!(selector(&["--all"]).expect("valid"), Some(Selector::WholeNamespace(pb::WholeNamespace {})));
        assert!(selector(&[]).is_err() && selector(&["a", "--all"]).is_err());
    }

    #[test]
    fn a_barrier_is_asked_for_by_a_flag() {
        let barrier = |args: &[&str]| Line::try_parse_from(args).expect("valid").invalidate.request().barrier();
        assert_eq!(barrier(&["invalidate", "a"]), pb::Barrier::None);
        assert_eq!(barrier(&["invalidate", "a", "--fleet"]), pb::Barrier::Fleet);
    }

    #[test]
    fn a_count_is_shown_where_it_is_known() {
        let mut response = pb::InvalidateResponse { removed: Some(2), token: "t".to_owned(), applied: Vec::new() };
        assert_eq!(answer(&response, OutputFormat::Text).out, b"removed  2\ntoken    t\n");
        response.removed = None;
        assert_eq!(answer(&response, OutputFormat::Text).out, b"removed  everything\ntoken    t\n");
        assert!(answer(&response, OutputFormat::Json).out.starts_with(b"{\n  \"removed\": null"));
    }
}
