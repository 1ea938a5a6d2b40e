//! `twintier invalidate`: removes entries, or marks them stale, by key, prefix, pattern, tag,
//! namespace or event.

use clap::Args;

use super::error::CliError;
use super::output::{Output, json_text};
use crate::cli::args::{BarrierArg, NamespaceArg, OutputFormat, ServerArgs, ShowTokenArg, TokenArgs};
use crate::cli::connection::{ServiceConnection, cache};
use crate::cli::{json, table};
use crate::pb;
use crate::pb::invalidate_request::Selector;

/// Arguments of `invalidate`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 removed or not there, 2 usage, 3 unavailable or too late, 4 other error.")]
pub struct InvalidateArgs {
    #[command(flatten)]
    selector: SelectorArgs,
    /// Mark the entries stale instead of removing them; then they are answered only flagged, where
    /// the namespace keeps stale entries
    #[arg(long)]
    mark_stale: bool,
    /// Version of the source of this change: a Set of an older one is refused for a while (one KEY
    /// only)
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with_all = ["all", "prefix", "pattern", "tags", "event", "namespaces", "all_namespaces"]
    )]
    source_version: Option<u64>,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    several: SeveralArgs,
    #[command(flatten)]
    barrier: BarrierArg,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    show_token: ShowTokenArg,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Several namespaces.
#[derive(Args, Debug)]
#[group(multiple = false, conflicts_with = "event")]
struct SeveralArgs {
    /// Invalidate in several namespaces instead of --namespace
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Invalidate in every namespace, configured or used by any replica
    #[arg(long)]
    all_namespaces: bool,
}

/// Selectors: exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SelectorArgs {
    /// Keys of the entries
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Every entry of the namespace
    #[arg(long)]
    all: bool,
    /// Every entry below these segments: user:42 covers user:42, user:42:posts and user:42/posts,
    /// not user:421
    #[arg(long)]
    prefix: Option<String>,
    /// Every entry whose key matches: '*' is any characters, '?' is one, '\' escapes the next
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Every entry that has this tag (repeatable)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Event of the service's configuration, with all of its parameters; its rules name the
    /// namespaces
    #[arg(long, value_names = ["NAME", "PARAMETER=VALUE"], num_args = 1..)]
    event: Vec<String>,
}

// === impl InvalidateArgs ===

impl InvalidateArgs {
    pub(super) async fn run(self) -> Result<Output, CliError> {
        let connection = ServiceConnection::new(&self.server)?;
        let response =
            connection.call(self.request(), async |channel, request| cache(channel).invalidate(request).await).await?;
        Ok(answer(&response, self.selector.all, self.show_token, self.server.output))
    }

    fn request(&self) -> pb::InvalidateRequest {
        let mode = if self.mark_stale { pb::Mode::MarkStale } else { pb::Mode::Unspecified };
        pb::InvalidateRequest {
            mode: mode.into(),
            source_version: self.source_version,
            namespace: self.one_namespace(),
            namespaces: self.several.namespaces.clone(),
            all_namespaces: self.several.all_namespaces,
            selector: Some(self.selector.to_wire()),
            tokens: self.tokens.tokens.clone(),
            barrier: self.barrier.to_wire().into(),
        }
    }
}

impl InvalidateArgs {
    /// Returns the namespace of the request. Empty for an event, whose rules name the namespaces,
    /// and for several.
    fn one_namespace(&self) -> String {
        let given = &self.namespace.namespace;
        if !self.selector.event.is_empty() {
            return String::new();
        }
        if self.several.namespaces.is_empty() && !self.several.all_namespaces {
            return given.clone();
        }
        // The service refuses a namespace of the command line beside --namespaces. One from the
        // environment is only the default.
        let by_default = std::env::var("TWINTIER_NAMESPACE").unwrap_or_else(|_| "default".to_owned());
        if *given == by_default { String::new() } else { given.clone() }
    }
}

impl SelectorArgs {
    fn to_wire(&self) -> Selector {
        match self {
            SelectorArgs { prefix: Some(prefix), .. } => Selector::Prefix(prefix.clone()),
            SelectorArgs { pattern: Some(pattern), .. } => Selector::Pattern(pattern.clone()),
            SelectorArgs { tags, .. } if !tags.is_empty() => Selector::Tags(pb::Tags { tags: tags.clone() }),
            SelectorArgs { event, .. } if !event.is_empty() => Selector::Event(read_event(event)),
            SelectorArgs { keys, .. } => match keys.as_slice() {
                [] => Selector::WholeNamespace(pb::WholeNamespace {}),
                [key] => Selector::Key(key.clone()),
                keys => Selector::Keys(pb::Keys { keys: keys.to_vec() }),
            },
        }
    }
}

/// Parses the name of an event and its parameters. The service, which knows their names, refuses
/// one without a value.
fn read_event(words: &[String]) -> pb::Event {
    let name = words.first().cloned().unwrap_or_default();
    let parameters = words.iter().skip(1).map(|word| word.split_once('=').unwrap_or((word, "")));
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    pb::Event { name, parameters }
}

fn answer(response: &pb::InvalidateResponse, all: bool, token: ShowTokenArg, output: OutputFormat) -> Output {
    let out = match output {
        OutputFormat::Json => json_text(&json::document(response)),
        OutputFormat::Text => {
            let uncounted = if all { "everything" } else { "all that was selected" };
            let removed = response.removed.map_or_else(|| uncounted.to_owned(), |removed| removed.to_string());
            let mut facts = vec![("removed", removed)];
            facts.extend(token.show_token.then(|| ("token", response.token.clone())));
            facts.extend(response.applied.iter().map(|applied| ("applied", applied.clone())));
            facts.extend(response.namespaces.iter().map(|done| ("namespace", in_words(done))));
            table::facts(&facts).into_bytes()
        }
    };
    Output { out, ..Output::default() }
}

fn in_words(done: &pb::NamespaceInvalidation) -> String {
    match done.removed {
        Some(removed) => format!("{}: {removed}", done.namespace),
        None => done.namespace.clone(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

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
    fn one_kind_of_selector_is_named() {
        assert_eq!(selector(&["--prefix", "user:42"]).expect("valid"), Some(Selector::Prefix("user:42".to_owned())));
        assert_eq!(selector(&["--pattern", "user:*"]).expect("valid"), Some(Selector::Pattern("user:*".to_owned())));
        let tags = pb::Tags { tags: vec!["a".to_owned(), "b".to_owned()] };
        assert_eq!(selector(&["--tag", "a", "--tag", "b"]).expect("valid"), Some(Selector::Tags(tags)));
        let parameters = [("id".to_owned(), "4=2".to_owned()), ("user".to_owned(), String::new())].into();
        let event = pb::Event { name: "goal_changed".to_owned(), parameters };
        let named = selector(&["--event", "goal_changed", "id=4=2", "user"]);
        assert_eq!(named.expect("valid"), Some(Selector::Event(event)));
        let namespace = |args: &[&str]| Line::try_parse_from(args).expect("valid").invalidate.request().namespace;
        assert_eq!(namespace(&["invalidate", "--event", "e"]), "", "it knows its namespaces");
        assert_eq!(namespace(&["invalidate", "a", "--namespace", "n"]), "n");
        for two in [["--prefix=a", "--tag=b"], ["--pattern=a", "--all"], ["a", "--prefix=b"], ["--event=a", "--all"]] {
            assert!(selector(&two).is_err(), "{two:?}");
        }
    }

    #[test]
    fn several_namespaces_take_the_place_of_one() {
        let request = |args: &[&str]| Line::try_parse_from(args).map(|line| line.invalidate.request());
        let several = request(&["invalidate", "--tag", "user:7", "--namespaces", "a,b"]).expect("valid");
        assert_eq!((several.namespace.as_str(), several.all_namespaces), ("", false));
        assert_eq!(several.namespaces, ["a", "b"]);
        let all = request(&["invalidate", "--prefix", "user:7", "--all-namespaces"]).expect("valid");
        assert_eq!((all.namespace.as_str(), all.all_namespaces, all.namespaces.len()), ("", true, 0));
        let both = request(&["invalidate", "--all", "--namespace", "c", "--namespaces", "a"]).expect("valid");
        assert_eq!(both.namespace, "c", "the service refuses it");
        for wrong in [
            &["k", "--namespaces", "a", "--all-namespaces"][..],
            &["--event", "e", "--namespaces", "a"],
            &["k", "--source-version", "7", "--all-namespaces"],
        ] {
            assert!(request(&[&["invalidate"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_mode_of_an_invalidation_is_sent() {
        let request = |args: &[&str]| Line::try_parse_from(args).map(|line| line.invalidate.request());
        let marked = request(&["invalidate", "--all", "--mark-stale"]).expect("valid");
        assert_eq!((marked.mode(), marked.source_version), (pb::Mode::MarkStale, None));
        let versioned = request(&["invalidate", "a", "--source-version", "7"]).expect("valid");
        assert_eq!((versioned.mode(), versioned.source_version), (pb::Mode::Unspecified, Some(7)));
        assert!(request(&["invalidate", "--all", "--source-version", "7"]).is_err());
    }

    #[test]
    fn a_barrier_is_asked_for_by_a_flag() {
        let barrier = |args: &[&str]| Line::try_parse_from(args).expect("valid").invalidate.request().barrier();
        assert_eq!(barrier(&["invalidate", "a"]), pb::Barrier::None);
        assert_eq!(barrier(&["invalidate", "a", "--fleet"]), pb::Barrier::Fleet);
    }

    #[test]
    fn a_count_is_shown_where_it_is_known() {
        let token = "t".to_owned();
        let mut response = pb::InvalidateResponse { removed: Some(2), token, ..Default::default() };
        let [shown, hidden] = [true, false].map(|show_token| ShowTokenArg { show_token });
        assert_eq!(answer(&response, true, shown, OutputFormat::Text).out, b"removed  2\ntoken    t\n");
        response.removed = None;
        assert_eq!(answer(&response, true, hidden, OutputFormat::Text).out, b"removed  everything\n");
        assert!(
            answer(&response, false, hidden, OutputFormat::Text).out.starts_with(b"removed  all that was selected")
        );
        let json = String::from_utf8(answer(&response, true, hidden, OutputFormat::Json).out).expect("text");
        assert!(json.contains("\"removed\": null") && json.contains("\"token\": \"t\""), "{json}");
        response.applied = vec!["goals: tag user:42".to_owned()];
        let text = answer(&response, true, hidden, OutputFormat::Text).out;
        assert!(text.ends_with(b"applied  goals: tag user:42\n"));
        response.applied.clear();
        response.namespaces = [("a", Some(2)), ("b", None)]
            .map(|(name, removed)| pb::NamespaceInvalidation { namespace: name.to_owned(), removed })
            .into();
        let text = answer(&response, false, hidden, OutputFormat::Text).out;
        assert_eq!(text, b"removed    all that was selected\nnamespace  a: 2\nnamespace  b\n");
        let json = String::from_utf8(answer(&response, true, hidden, OutputFormat::Json).out).expect("text");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["namespaces"][0], json!({ "namespace": "a", "removed": 2 }));
    }
}
