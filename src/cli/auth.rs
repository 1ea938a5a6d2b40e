//! `twintier auth`: creates tokens, and checks what an identity may do.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::args::{OutputFormat, ServeArgs};
use super::output::{Output, json_text};
use crate::auth::{Auth, AuthMode, Demand, Identity, Names, NewToken, Place, RESERVED_NAMES, Verb};
use crate::suggest::did_you_mean;

/// Exit status of a usage error.
const USAGE_EXIT_CODE: u8 = 2;

/// `twintier auth ...`
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Create a token, and print it with its hash
    NewToken(NewTokenArgs),
    /// Tell whether an identity may do something, and by which rule
    Check(Box<AuthCheckArgs>),
}

/// Arguments of `auth new-token`.
#[derive(Args, Debug)]
#[command(
    after_help = "The token is for the caller. The hash is for token_hashes of its identity. The token is not stored."
)]
pub struct NewTokenArgs {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Arguments of `auth check`.
#[derive(Args, Debug)]
#[command(after_help = "Reads the configuration as serve does. Exit codes: 0 yes, 1 no, 2 usage.")]
pub struct AuthCheckArgs {
    /// Identity, or anonymous
    #[arg(long, value_name = "NAME")]
    identity: String,
    /// Namespace, or * for the whole service
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Verb
    #[arg(long, value_name = "VERB", value_parser = PossibleValuesParser::new(Verb::ALL.map(Verb::name)))]
    verb: String,
    /// Key; without it the answer is about all keys of the namespace
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// Sources of the settings.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Answer to a check.
struct CheckResult {
    /// The rule that grants it. `None` if it is denied.
    rule: Option<String>,
    /// The reason of a denial.
    reason: String,
}

/// Creates a token and prints it.
pub fn new_token(args: &NewTokenArgs) -> ExitCode {
    let Some(NewToken { token, hash }) = NewToken::create() else {
        eprintln!("twintier: the system has no random bytes");
        return ExitCode::FAILURE;
    };
    let token = token.expose_secret();
    let out = match args.output {
        OutputFormat::Json => json_text(&json!({ "token": token, "hash": hash.to_string() })),
        OutputFormat::Text => format!("token  {token}\nhash   {hash}\n").into_bytes(),
    };
    print(&Output { out, ..Output::default() }, args.output)
}

/// Answers a check, and prints the answer.
pub fn check_access(args: &AuthCheckArgs, auth: &Auth) -> ExitCode {
    let found = match args.identity.as_str() {
        name if name == RESERVED_NAMES[0] => auth.anonymous(),
        name => auth.identity(name),
    };
    let Some(identity) = found else {
        let hint = did_you_mean(&args.identity, auth.names());
        eprintln!("twintier: no identity {:?} is configured{hint}", args.identity);
        return ExitCode::from(USAGE_EXIT_CODE);
    };
    print(&answer(args, auth.mode, &args.decide(identity)), args.output)
}

fn print(output: &Output, format: OutputFormat) -> ExitCode {
    output.print().unwrap_or_else(|error| error.report(format))
}

fn answer(args: &AuthCheckArgs, mode: AuthMode, result: &CheckResult) -> Output {
    let (mode_name, note) = match mode {
        AuthMode::Off => ("off", "note: auth.mode is off: the service denies nothing\n"),
        AuthMode::Shadow => ("shadow", "note: auth.mode is shadow: the service denies nothing\n"),
        AuthMode::Enforce => ("enforce", ""),
    };
    let out = match (args.output, &result.rule) {
        (OutputFormat::Json, rule) => json_text(&json!({
            "allowed": rule.is_some(),
            "rule": rule,
            "reason": rule.is_none().then_some(&result.reason),
            "identity": args.identity,
            "namespace": args.namespace,
            "verb": args.verb,
            "key": args.key,
            "mode": mode_name,
        })),
        (OutputFormat::Text, Some(rule)) => format!("yes: {rule}\n").into_bytes(),
        (OutputFormat::Text, None) => format!("no: {}\n", result.reason).into_bytes(),
    };
    Output { out, notes: note.to_owned(), exit: u8::from(result.rule.is_none()) }
}

// === impl AuthCheckArgs ===

impl AuthCheckArgs {
    fn decide(&self, identity: &Identity) -> CheckResult {
        let verb = Verb::from_name(&self.verb).unwrap_or(Verb::Admin);
        let place = match self.namespace.as_str() {
            "*" => Place::Everywhere,
            name => Place::Namespace(name),
        };
        let names = match &self.key {
            Some(key) => Names::Key(key.as_bytes()),
            // Stats name no key.
            None if verb == Verb::Stats => Names::Unnamed,
            None => Names::Whole,
        };
        let rule = identity.grant_for(&Demand { verb, place, names }).map(|rule| rule.to_string());
        let of_some_keys = identity.grant_for(&Demand { verb, place, names: Names::Unnamed });
        let reason = match of_some_keys {
            Some(rule) if self.key.is_none() => format!("{rule} holds {verb} for some keys only: name one with --key"),
            Some(rule) => format!("{rule} holds {verb} for other keys"),
            None => format!("no grant of {} holds {verb} in namespace {:?}", self.identity, self.namespace),
        };
        CheckResult { rule, reason }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::auth::{AuthSettings, Grant, IdentitySettings, NamePattern};
    use crate::cli::{Cli, Command};

    fn checked(args: &[&str], format: &str) -> Output {
        let grant = |rule: &str, namespace: &str, keys: &[&str], verb| Grant {
            rule: rule.into(),
            namespaces: vec![NamePattern::parse(namespace)],
            keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
            verbs: [verb].into_iter().collect(),
        };
        let grants = vec![
            grant("identities.shop.grants[0]", "cart", &[], Verb::Write),
            grant("identities.shop.grants[1]", "users", &["user:"], Verb::Read),
        ];
        let shop = IdentitySettings { name: "shop".into(), grants, ..IdentitySettings::default() };
        let settings = AuthSettings { mode: AuthMode::Shadow, identities: vec![shop], ..AuthSettings::default() };
        let auth = Auth::build(&settings).expect("valid");
        let all = [&["twintier", "auth", "check", "--identity", "shop", "-o", format], args].concat();
        let Command::Auth(AuthCommand::Check(args)) = Cli::try_parse_from(all).expect("valid").into_command() else {
            panic!("not auth check")
        };
        answer(&args, auth.mode, &args.decide(auth.identity("shop").expect("an identity")))
    }

    #[test]
    fn a_check_prints_the_rule_or_the_reason() {
        for (args, exit, text) in [
            (&["-n", "cart", "--verb", "write"][..], 0, "yes: identities.shop.grants[0]\n"),
            (&["-n", "cart", "--verb", "read"], 1, "no: no grant of shop holds read in namespace \"cart\"\n"),
            (&["-n", "users", "--verb", "read", "-k", "user:1"], 0, "yes: identities.shop.grants[1]\n"),
            (
                &["-n", "users", "--verb", "read", "-k", "team:1"],
                1,
                "no: identities.shop.grants[1] holds read for other keys\n",
            ),
            (
                &["-n", "users", "--verb", "read"],
                1,
                "no: identities.shop.grants[1] holds read for some keys only: name one with --key\n",
            ),
            (&["-n", "*", "--verb", "admin"], 1, "no: no grant of shop holds admin in namespace \"*\"\n"),
        ] {
            let output = checked(args, "text");
            assert_eq!((output.exit, std::str::from_utf8(&output.out)), (exit, Ok(text)), "{args:?}");
            assert!(output.notes.contains("shadow"), "{}", output.notes);
        }
    }

    #[test]
    fn a_check_is_json_for_programs() {
        let output = checked(&["-n", "cart", "--verb", "write"], "json");
        let document: serde_json::Value = serde_json::from_slice(&output.out).expect("JSON");
        assert_eq!(document["allowed"], true);
        assert_eq!((&document["rule"], &document["mode"]), (&"identities.shop.grants[0]".into(), &"shadow".into()));
        let document: serde_json::Value =
            serde_json::from_slice(&checked(&["--verb", "write"], "json").out).expect("JSON");
        assert_eq!((&document["allowed"], &document["rule"]), (&false.into(), &serde_json::Value::Null));
    }
}
