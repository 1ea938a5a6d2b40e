//! `twintier set`: writes one entry.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, TokenArgs, parse_duration};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::expiry::ExpiryArgs;
use crate::cli::{json, table, units};
use crate::pb;
use crate::pb::set_request::{Condition, Content, Expiry};

/// Most bytes of a string in Redis. Reading stops there, whatever the limit of the service.
const LARGEST_VALUE: u64 = 512 << 20;

/// Arguments of `set`.
#[derive(Args, Debug)]
#[command(override_usage = "twintier set [OPTIONS] <KEY> <VALUE|--file <PATH>|--stdin|--absent>")]
#[command(after_help = "Exit codes: 0 stored, 1 not stored, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct SetArgs {
    /// Key of the entry
    key: String,
    #[command(flatten)]
    content: ContentArgs,
    /// Content type, returned by get
    #[arg(long, value_name = "TYPE", conflicts_with = "absent")]
    content_type: Option<String>,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    expiry: ExpiryArgs,
    /// Expire when not read for this long, for example 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true, conflicts_with = "ExpiryArgs")]
    sliding: Option<Duration>,
    /// Longest life with --sliding; default the namespace's max_ttl
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true, requires = "sliding")]
    max_ttl: Option<Duration>,
    /// Age from which the entry is due for refresh, though still fresh; default the namespace's
    /// soft_ttl
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    soft_ttl: Option<Duration>,
    /// Shorten the life by a random share of up to this, 0 to 0.5; default the namespace's jitter
    #[arg(long, value_name = "SHARE")]
    jitter: Option<f64>,
    /// Tag by which the entry can be invalidated (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Version of the value's source: an entry of a newer source is not replaced
    #[arg(long, value_name = "NUMBER")]
    source_version: Option<u64>,
    /// Id of this write: a repetition with the same id takes effect once
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    request_id: Option<String>,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Content of the entry: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ContentArgs {
    /// The value; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Read the value from a file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Read the value from standard input
    #[arg(long)]
    stdin: bool,
    /// Store that the thing is known not to exist
    #[arg(long)]
    absent: bool,
}

/// Conditions: at most one of these.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct ConditionArgs {
    /// Store only when no entry is present
    #[arg(long)]
    if_absent: bool,
    /// Store only when an entry is present
    #[arg(long)]
    if_present: bool,
    /// Store only when the entry has this version
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true)]
    if_version: Option<String>,
    /// Store only while this lease holds, an id of `get --lease`
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
}

// === impl SetArgs ===

impl SetArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let request = self.request(self.content.read()?);
        let connection = ServiceConnection::new(&self.server)?;
        let response = connection.call(request, async |channel, request| cache(channel).set(request).await).await?;
        Ok(answer(&response, self.server.output))
    }

    fn request(&self, content: Content) -> pb::SetRequest {
        let sliding = self.sliding.map(|idle| {
            let (idle, max_ttl) = (Some(units::to_wire(idle)), self.max_ttl.map(units::to_wire));
            Expiry::Sliding(pb::Sliding { idle, max_ttl })
        });
        pb::SetRequest {
            source_version: self.source_version,
            soft_ttl: self.soft_ttl.map(units::to_wire),
            jitter: self.jitter,
            tags: self.tags.clone(),
            request_id: self.request_id.clone().unwrap_or_default(),
            namespace: self.namespace.namespace.clone(),
            key: self.key.clone(),
            content: Some(content),
            content_type: self.content_type.clone().unwrap_or_default(),
            expiry: sliding.or(self.expiry.given().map(Into::into)),
            condition: self.condition.to_wire(),
            tokens: self.tokens.tokens.clone(),
            barrier: self.barrier.to_wire().into(),
        }
    }
}

// === impl ContentArgs ===

impl ContentArgs {
    fn read(&self) -> Result<Content, CliError> {
        let value = match (&self.value, &self.file) {
            _ if self.absent => return Ok(Content::KnownAbsent(pb::KnownAbsent {})),
            (Some(value), _) if value != "-" => value.clone().into_bytes(),
            (_, Some(path)) => {
                let name = path.display().to_string();
                File::open(path).and_then(read_value).map_err(CliError::io(name))?
            }
            _ => read_value(io::stdin()).map_err(CliError::io("standard input"))?,
        };
        Ok(Content::Value(value.into()))
    }
}

fn read_value(source: impl Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    source.take(LARGEST_VALUE + 1).read_to_end(&mut value)?;
    if value.len() as u64 > LARGEST_VALUE {
        Err(io::Error::other(format!("more than {}", units::size(LARGEST_VALUE))))
    } else {
        Ok(value)
    }
}

// === impl ConditionArgs ===

impl ConditionArgs {
    fn to_wire(&self) -> Option<Condition> {
        match (&self.if_version, &self.lease) {
            (Some(version), _) => Some(Condition::IfVersion(version.clone())),
            (None, Some(lease)) => Some(Condition::Lease(lease.clone())),
            _ if self.if_absent => Some(Condition::IfAbsent(pb::IfAbsent {})),
            _ if self.if_present => Some(Condition::IfPresent(pb::IfPresent {})),
            _ => None,
        }
    }
}

fn answer(response: &pb::SetResponse, output: OutputFormat) -> Output {
    let outcome = units::name(response.outcome().as_str_name(), "SET_OUTCOME_");
    let out = match output {
        OutputFormat::Json => json_text(&json::document(response)),
        OutputFormat::Text => table::facts(&[
            ("outcome", outcome),
            ("version", if response.version.is_empty() { "-".to_owned() } else { response.version.clone() }),
            ("token", response.token.clone()),
        ])
        .into_bytes(),
    };
    Output { out, exit: u8::from(response.outcome() != pb::SetOutcome::Stored), ..Output::default() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: SetArgs,
    }

    fn parse(args: &[&str]) -> Result<SetArgs, clap::Error> {
        Line::try_parse_from([&["set"], args].concat()).map(|line| line.set)
    }

    fn request(args: &[&str]) -> pb::SetRequest {
        let args = parse(args).expect("valid arguments");
        args.request(args.content.read().expect("no file"))
    }

    #[test]
    fn exactly_one_content_is_given() {
        assert_eq!(request(&["k", "v"]).content, Some(Content::Value("v".into())));
        assert_eq!(request(&["k", "-5"]).content, Some(Content::Value("-5".into())));
        assert_eq!(request(&["k", ""]).content, Some(Content::Value("".into())));
        assert_eq!(request(&["k", "--absent"]).content, Some(Content::KnownAbsent(pb::KnownAbsent {})));
        for args in [&["k"][..], &["k", "v", "--absent"], &["k", "v", "--stdin"], &["k", "--file", "f", "--stdin"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        assert!(parse(&["k", "--absent", "--content-type", "text/plain"]).is_err());
    }

    #[test]
    fn a_file_is_read_byte_for_byte_or_named_in_the_error() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        io::Write::write_all(&mut file, b"\x00\xff\n").expect("written");
        let path = file.path().to_str().expect("utf-8").to_owned();
        assert_eq!(request(&["k", "--file", &path]).content, Some(Content::Value(b"\x00\xff\n"[..].into())));
        let missing = parse(&["k", "--file", "/nowhere/value"]).expect("valid arguments");
        assert!(missing.content.read().is_err_and(|failure| failure.text().contains("/nowhere/value")));
    }

    #[test]
    fn an_end_of_life_is_a_duration_or_a_time() {
        assert_eq!(request(&["k", "v"]).expiry, None);
        let ttl = prost_types::Duration { seconds: 300, nanos: 0 };
        assert_eq!(request(&["k", "v", "--ttl", "5m"]).expiry, Some(Expiry::Ttl(ttl)));
        let time = prost_types::Timestamp { seconds: 1_893_452_400, nanos: 0 };
        assert_eq!(
            request(&["k", "v", "--expire-at", "2030-01-01T00:00:00+01:00"]).expiry,
            Some(Expiry::ExpireTime(time))
        );
        assert!(parse(&["k", "v", "--ttl", "5m", "--expire-at", "2030-01-01T00:00:00Z"]).is_err());
        assert!(parse(&["k", "v", "--expire-at", "tomorrow"]).is_err());
    }

    #[test]
    fn an_entry_lives_as_long_as_it_is_read_or_until_it_is_removed() {
        let idle = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let sliding = pb::Sliding { idle, max_ttl: None };
        assert_eq!(request(&["k", "v", "--sliding", "1m"]).expiry, Some(Expiry::Sliding(sliding)));
        let both = request(&["k", "v", "--sliding", "1m", "--max-ttl", "1m"]).expiry;
        assert_eq!(both, Some(Expiry::Sliding(pb::Sliding { idle, max_ttl: idle })));
        assert_eq!(request(&["k", "v", "--no-expiry"]).expiry, Some(Expiry::NoExpiry(pb::NoExpiry {})));
        for wrong in [&["--max-ttl", "1m"][..], &["--sliding", "1m", "--ttl", "1m"], &["--no-expiry", "--ttl", "1m"]] {
            assert!(parse(&[&["k", "v"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_other_options_of_an_entry_are_sent() {
        let args = ["k", "v", "--tag", "a", "--tag", "b", "--soft-ttl", "1s", "--jitter", "0.1"];
        let more = ["--source-version", "7", "--request-id", "r"];
        let request = request(&[&args[..], &more].concat());
        assert_eq!(request.tags, ["a", "b"]);
        assert_eq!(request.soft_ttl, Some(prost_types::Duration { seconds: 1, nanos: 0 }));
        assert_eq!((request.jitter, request.source_version, &*request.request_id), (Some(0.1), Some(7), "r"));
        assert!(parse(&["k", "v", "--request-id", ""]).is_err());
    }

    #[test]
    fn at_most_one_condition_is_given() {
        assert_eq!(request(&["k", "v"]).condition, None);
        assert_eq!(request(&["k", "v", "--if-absent"]).condition, Some(Condition::IfAbsent(pb::IfAbsent {})));
        assert_eq!(request(&["k", "v", "--if-version", "v1"]).condition, Some(Condition::IfVersion("v1".to_owned())));
        assert_eq!(request(&["k", "v", "--lease", "1f"]).condition, Some(Condition::Lease("1f".to_owned())));
        assert!(parse(&["k", "v", "--if-absent", "--lease", "1f"]).is_err());
        assert!(parse(&["k", "v", "--if-absent", "--if-present"]).is_err());
        assert!(parse(&["k", "v", "--if-absent", "--if-version", "v1"]).is_err());
    }

    #[test]
    fn a_failed_condition_is_an_answer_with_exit_code_one() {
        let response = pb::SetResponse {
            outcome: pb::SetOutcome::VersionMismatch.into(),
            version: String::new(),
            token: "t".to_owned(),
        };
        let shown = answer(&response, OutputFormat::Text);
        assert_eq!(shown.out, b"outcome  version_mismatch\nversion  -\ntoken    t\n");
        assert_eq!(shown.exit, 1);
        let stored = pb::SetResponse { outcome: pb::SetOutcome::Stored.into(), ..response };
        assert_eq!(answer(&stored, OutputFormat::Json).exit, 0);
    }
}
