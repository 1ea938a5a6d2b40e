//! `twintier batch invalidate`: removes many entries, and says of each whether it was there.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::answer::Answer;
use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, TokenArgs};
use crate::cli::batch::{exit, put_error, words};
use crate::cli::connection::{Connection, cache};
use crate::cli::failure::Failure;
use crate::cli::table;
use crate::pb;

/// Arguments of `batch invalidate`.
#[derive(Args, Debug)]
#[command(
    after_help = "In JSON each entry is a line. Exit codes: 0 removed or not there, 2 usage, 3 unavailable or too late, 4 other error."
)]
pub struct BatchInvalidateArgs {
    /// Keys of the entries
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceArg,
    /// Mark the entries stale in place of removing them
    #[arg(long)]
    mark_stale: bool,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    server: ServerArgs,
}

// === impl BatchInvalidateArgs ===

impl BatchInvalidateArgs {
    pub(super) async fn run(self) -> Result<Answer, Failure> {
        let connection = Connection::new(&self.server);
        let invalidate = async |channel, request| cache(channel).batch_invalidate(request).await;
        let response = connection.call(self.request(), invalidate).await?;
        Ok(self.answer(&response))
    }

    fn request(&self) -> pb::BatchInvalidateRequest {
        let item = |key: &String| pb::BatchInvalidateItem { key: key.clone(), source_version: None };
        let mode = if self.mark_stale { pb::Mode::MarkStale } else { pb::Mode::Remove };
        pb::BatchInvalidateRequest {
            namespace: self.namespace.namespace.clone(),
            items: self.keys.iter().map(item).collect(),
            tokens: self.tokens.tokens.clone(),
            barrier: self.barrier.to_wire().into(),
            mode: mode.into(),
        }
    }

    fn answer(&self, response: &pb::BatchInvalidateResponse) -> Answer {
        let results = || self.keys.iter().zip(&response.results);
        let exit = response.results.iter().filter_map(|result| result.error.as_ref()).map(exit).max().unwrap_or(0);
        let (out, notes) = match self.server.output {
            OutputFormat::Json => {
                (results().map(|(key, result)| format!("{}\n", line(key, result))).collect(), String::new())
            }
            OutputFormat::Text => {
                let rows: Vec<_> = results().map(|(key, result)| vec![key.clone(), said(result)]).collect();
                (table::columns(&["key", "result"], &rows), format!("token  {}\n", response.token))
            }
        };
        Answer { out: String::into_bytes(out), notes, exit }
    }
}

fn said(result: &pb::BatchInvalidateResult) -> String {
    match &result.error {
        Some(error) => words(error),
        None if result.removed => "removed".to_owned(),
        None => "not there".to_owned(),
    }
}

fn line(key: &str, result: &pb::BatchInvalidateResult) -> Value {
    let mut line = Map::new();
    line.insert("key".to_owned(), key.into());
    line.insert("removed".to_owned(), result.removed.into());
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
        let answer = args(&["a", "b", "c"]).expect("valid").answer(&response);
        let text = String::from_utf8(answer.out).expect("text");
        assert_eq!(text, "key  result\na    removed\nb    not there\nc    UNAVAILABLE: away\n");
        assert_eq!(answer.exit, 3);
        assert_eq!(args(&["a", "--mark-stale"]).expect("valid").request().mode(), pb::Mode::MarkStale);
        assert!(args(&[]).is_err());
    }
}
