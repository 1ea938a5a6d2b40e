//! `twintier batch invalidate`: removes many entries, with a result for each.

use clap::Args;
use serde_json::Value;

use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, ShowTokenArg, TokenArgs};
use crate::cli::batch::item_error::{exit, put_error, words};
use crate::cli::batch::keys::KeyArgs;
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::error::CliError;
use crate::cli::output::{Output, emit};
use crate::cli::progress::ProgressLine;
use crate::cli::{json, table};
use crate::pb;

/// Arguments of `batch invalidate`.
#[derive(Args, Debug)]
#[command(
    after_help = "In JSON each entry is a line. Exit codes: 0 removed or not there, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct BatchInvalidateArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Most keys in one call
    #[arg(long, value_name = "KEYS", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    size: u32,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Mark the entries stale instead of removing them
    #[arg(long)]
    mark_stale: bool,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    show_token: ShowTokenArg,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

// === impl BatchInvalidateArgs ===

impl BatchInvalidateArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let (mut keys, mut progress) = (self.keys.open(self.size)?, ProgressLine::new(None, false));
        let mut whole = Output::default();
        let mut last_token = String::new();
        let mut is_first = true;
        while let Some(keys) = keys.next()? {
            let invalidate = async |channel, request| cache(channel).batch_invalidate(request).await;
            let response = connection.call(self.request(&keys, &last_token), invalidate).await?;
            let answer = self.answer(&keys, &response, is_first);
            progress.suspend(|| emit(&answer.out))?;
            progress.add(keys.len());
            (is_first, last_token) = (false, response.token);
            whole.exit = whole.exit.max(answer.exit);
        }
        drop(progress);
        if self.show_token.show_token && self.server.output == OutputFormat::Text {
            whole.notes = format!("token  {last_token}\n");
        }
        Ok(whole)
    }

    fn request(&self, keys: &[String], last_token: &str) -> pb::BatchInvalidateRequest {
        // The last token includes all before it.
        let tokens = if last_token.is_empty() { self.tokens.tokens.clone() } else { vec![last_token.to_owned()] };
        let item = |key: &String| pb::BatchInvalidateItem { key: key.clone(), source_version: None };
        let mode = if self.mark_stale { pb::Mode::MarkStale } else { pb::Mode::Remove };
        pb::BatchInvalidateRequest {
            namespace: self.namespace.namespace.clone(),
            items: keys.iter().map(item).collect(),
            tokens,
            barrier: self.barrier.to_wire().into(),
            mode: mode.into(),
        }
    }

    /// Formats the response of one call. The first has the column headers.
    fn answer(&self, keys: &[String], response: &pb::BatchInvalidateResponse, is_first: bool) -> Output {
        let results = || keys.iter().zip(&response.results);
        let exit = response.results.iter().filter_map(|result| result.error.as_ref()).map(exit).max().unwrap_or(0);
        let out: String = match self.server.output {
            OutputFormat::Json => results().map(|(key, result)| format!("{}\n", line(key, result))).collect(),
            OutputFormat::Text => {
                let rows: Vec<_> = results().map(|(key, result)| vec![key.clone(), result_text(result)]).collect();
                let table = table::columns(&["key", "result"], &rows);
                if is_first { table } else { table.split_once('\n').map_or(String::new(), |(_, rows)| rows.to_owned()) }
            }
        };
        Output { out: out.into_bytes(), exit, ..Output::default() }
    }
}

fn result_text(result: &pb::BatchInvalidateResult) -> String {
    match &result.error {
        Some(error) => words(error),
        None if result.removed => "removed".to_owned(),
        None => "not there".to_owned(),
    }
}

fn line(key: &str, result: &pb::BatchInvalidateResult) -> Value {
    let mut line = json::fields(result);
    line.remove("error");
    line.insert("key".to_owned(), key.into());
    result.error.iter().for_each(|error| put_error(&mut line, error));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        invalidate: BatchInvalidateArgs,
    }

    #[test]
    fn each_key_has_its_answer() {
        let args = |args: &[&str]| Line::try_parse_from([&["invalidate"], args].concat()).map(|line| line.invalidate);
        let error = Some(pb::ItemError { code: 14, message: "away".to_owned(), ..Default::default() });
        let results = vec![
            pb::BatchInvalidateResult { removed: true, error: None },
            pb::BatchInvalidateResult { removed: false, error: None },
            pb::BatchInvalidateResult { removed: false, error },
        ];
        let response = pb::BatchInvalidateResponse { results, token: "t".to_owned() };
        let keys = ["a", "b", "c"].map(str::to_owned);
        let answer = args(&["a"]).expect("valid").answer(&keys, &response, true);
        let text = String::from_utf8(answer.out).expect("text");
        assert_eq!(text, "key  result\na    removed\nb    not there\nc    UNAVAILABLE: away\n");
        assert_eq!(answer.exit, 3);
        assert_eq!(args(&["a", "--mark-stale"]).expect("valid").request(&keys, "").mode(), pb::Mode::MarkStale);
        assert!(args(&[]).is_err());
    }
}
