//! Command line of the whole program, and the client commands.
//!
//! `serve`, `config` and `auth` are only described here; `main.rs` runs them. Every client command calls
//! the generated client, turns the response into output by a pure function, and returns an exit
//! code.

use super::args::{ConfigCommand, OutputFormat, ServeArgs};
use super::auth::AuthCommand;
use super::batch::BatchCommand;
use super::completions::CompletionsArgs;
use super::drain::{DrainArgs, ResetStatsArgs};
use super::get::GetArgs;
use super::health::HealthArgs;
use super::hot_keys::HotKeysArgs;
use super::inspect::InspectArgs;
use super::invalidate::InvalidateArgs;
use super::log_level::LogLevelArgs;
use super::man::ManArgs;
use super::policy::PolicyCommand;
use super::release::ReleaseArgs;
use super::set::SetArgs;
use super::stats::StatsArgs;
use super::touch::TouchArgs;
use super::transfer::{ExportArgs, ImportArgs};
use super::watch::WatchArgs;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Environment variables of the client commands. They are not settings of the service.
pub const VARIABLES: [&str; 8] = [
    "TWINTIER_SERVER",
    "TWINTIER_NAMESPACE",
    "TWINTIER_TLS",
    "TWINTIER_CA_FILE",
    "TWINTIER_CERT_FILE",
    "TWINTIER_KEY_FILE",
    "TWINTIER_TOKEN_FILE",
    "TWINTIER_PLAIN_TEXT_TOKEN",
];

/// Version of the program, with the revision of its build.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (revision ", env!("BUILD_REVISION"), ")");

/// Command line of the program. Without a subcommand it serves.
#[derive(Debug, Parser)]
#[command(name = "twintier", version = VERSION, about, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a command, twintier serves: `twintier --listen ADDR` is `twintier serve --listen ADDR`."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (the default)
    Serve(ServeArgs),
    /// Check or show the configuration, without serving
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create a token, or check what an identity may do, without serving
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Print the script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Print the manual page of a command, or write all pages
    Man(ManArgs),
    /// Call a running service
    #[command(flatten)]
    Client(ClientCommand),
}

/// Commands that call a running service.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Read one entry
    Get(GetArgs),
    /// Write one entry
    Set(Box<SetArgs>),
    /// Remove one entry, several, or a whole namespace
    Invalidate(InvalidateArgs),
    /// Change how long an entry lives
    Touch(TouchArgs),
    /// Read, write or remove many entries in one call
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Write the entries of namespaces as JSON lines
    Export(ExportArgs),
    /// Store the entries of JSON lines
    Import(Box<ImportArgs>),
    /// Stream changes, one line each
    Watch(WatchArgs),
    /// Give back the lease to fill an entry
    Release(ReleaseArgs),
    /// Show the statistics of a replica and the state of its tiers
    Stats(StatsArgs),
    /// Check the health of a replica
    Health(HealthArgs),
    /// Show one key in memory and in Redis, and why it is or is not served
    Inspect(InspectArgs),
    /// List the keys read most at a replica
    HotKeys(HotKeysArgs),
    /// List the policies of namespaces, or change them at run time
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make a replica report that it does not serve, or serves again
    Drain(DrainArgs),
    /// Reset the statistics of a replica
    ResetStats(ResetStatsArgs),
    /// Change the log level of a replica for a while
    LogLevel(LogLevelArgs),
}

// === impl Cli ===

impl Cli {
    /// Returns the command; `serve` if none is named.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

// === impl ClientCommand ===

impl ClientCommand {
    /// Returns the output format, which errors have, too.
    fn output(&self) -> OutputFormat {
        let server = match self {
            ClientCommand::Get(args) => &args.server,
            ClientCommand::Set(args) => &args.server,
            ClientCommand::Invalidate(args) => &args.server,
            ClientCommand::Touch(args) => &args.server,
            ClientCommand::Batch(command) => command.server(),
            ClientCommand::Export(args) => &args.server,
            ClientCommand::Import(args) => &args.server,
            ClientCommand::Watch(args) => &args.server,
            ClientCommand::Release(args) => &args.server,
            ClientCommand::Stats(args) => &args.server,
            ClientCommand::Health(args) => &args.server,
            ClientCommand::Inspect(args) => &args.server,
            ClientCommand::HotKeys(args) => &args.server,
            ClientCommand::Policy(command) => command.server(),
            ClientCommand::Drain(args) => &args.server,
            ClientCommand::ResetStats(args) => &args.server,
            ClientCommand::LogLevel(args) => &args.server,
        };
        server.output
    }
}

/// Runs a client command to its end. Values and reports go to standard output, notes and errors to
/// standard error.
///
/// Exit codes: 0 done; 1 the answer is no (a miss, a failed condition, not serving); 2 usage; 3 the
/// service could not be reached in time; 4 any other error.
pub async fn run(command: ClientCommand) -> ExitCode {
    let output = command.output();
    let output_or_error = match command {
        ClientCommand::Get(args) => args.run().await,
        ClientCommand::Set(args) => args.run().await,
        ClientCommand::Invalidate(args) => args.run().await,
        ClientCommand::Touch(args) => args.run().await,
        ClientCommand::Batch(command) => command.run().await,
        ClientCommand::Export(args) => args.run().await,
        ClientCommand::Import(args) => args.run().await,
        ClientCommand::Watch(args) => args.run().await,
        ClientCommand::Release(args) => args.run().await,
        ClientCommand::Stats(args) => args.run().await,
        ClientCommand::Health(args) => args.run().await,
        ClientCommand::Inspect(args) => args.run().await,
        ClientCommand::HotKeys(args) => args.run().await,
        ClientCommand::Policy(command) => command.run().await,
        ClientCommand::Drain(args) => args.run().await,
        ClientCommand::ResetStats(args) => args.run().await,
        ClientCommand::LogLevel(args) => args.run().await,
    };
    match output_or_error.and_then(|output| output.print()) {
        Ok(exit) => exit,
        Err(failure) => failure.report(output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn command(args: &[&str]) -> Command {
        Cli::try_parse_from([&["twintier"], args].concat()).expect("valid arguments").into_command()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_serves_with_the_same_arguments() {
        let Command::Serve(args) = command(&["--listen", "0.0.0.0:50051", "--set", "l1.size=1GiB"]) else {
            panic!("not serve")
        };
        assert_eq!(args.listen.as_deref(), Some("0.0.0.0:50051"));
        assert_eq!(args.set, [("l1.size".to_owned(), "1GiB".to_owned())]);
        assert!(matches!(command(&[]), Command::Serve(_)));
    }

    #[test]
    fn serving_arguments_before_another_command_are_refused() {
        assert!(Cli::try_parse_from(["twintier", "--listen", "0.0.0.0:1", "get", "key"]).is_err());
    }

    #[test]
    fn config_takes_the_arguments_of_serve() {
        let Command::Config(ConfigCommand::Show(args)) =
            command(&["config", "show", "-o", "json", "--redis-url", "redis://r"])
        else {
            panic!("not config show")
        };
        assert_eq!(args.output, OutputFormat::Json);
        assert_eq!(args.serve.redis_url.as_deref(), Some("redis://r"));
        assert!(matches!(
            command(&["config", "check", "--config", "a.toml"]),
            Command::Config(ConfigCommand::Check(_))
        ));
    }
}
