//! The `twintier` program: a server, and the client commands to talk to one.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use twintier::app::App;
use twintier::cli::{self, Cli, Command, ConfigCommand, ServeArgs};
use twintier::config::{self, Config, Loaded, Sources};
use twintier::shutdown::Signals;
use twintier::telemetry::logs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status of a command that was given something unusable.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // What sends telemetry over TLS takes this one; a second installation would be refused, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let code = match Cli::parse().into_command() {
        Command::Serve(args) => runtime.block_on(serve(args)),
        Command::Config(command) => config_command(command),
        Command::Client(command) => runtime.block_on(cli::run(command)),
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn serve(args: ServeArgs) -> ExitCode {
    let config = match load(args) {
        Ok(loaded) => loaded.config,
        Err(problems) => return fail(&problems, USAGE),
    };
    let format = match config.log.format {
        config::LogFormat::Auto => logs::Format::Auto,
        config::LogFormat::Human => logs::Format::Human,
        config::LogFormat::Json => logs::Format::Json,
    };
    if let Err(error) = logs::start(&config.log.level, format) {
        return fail(&error, 1);
    }
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, 1),
    };
    let app = match App::start(config).await {
        Ok(app) => app,
        Err(error) => return fail(&error, 1),
    };
    let stop = signals.next().await;
    tokio::select! {
        _ = app.stop(stop) => ExitCode::SUCCESS,
        _ = signals.next() => fail(&"asked a second time: ending at once", 1),
    }
}

fn config_command(command: ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Check(args) => match load(args) {
            Ok(_) => {
                println!("the configuration is valid");
                ExitCode::SUCCESS
            }
            Err(problems) => fail(&problems, USAGE),
        },
        ConfigCommand::Show(args) => match load(args.serve) {
            Ok(loaded) => {
                print!("{}", config::show(&loaded.settings, args.output == cli::OutputFormat::Json));
                ExitCode::SUCCESS
            }
            Err(problems) => fail(&problems, USAGE),
        },
    }
}

fn load(args: ServeArgs) -> Result<Loaded, config::Problems> {
    let dedicated = [("server.listen", args.listen), ("redis.url", args.redis_url)];
    let dedicated = dedicated.into_iter().filter_map(|(path, value)| Some((path.to_owned(), value?)));
    let environment = std::env::vars().filter(|(name, _)| !cli::VARIABLES.contains(&name.as_str())).collect();
    Config::load(&Sources {
        file: args.config,
        environment,
        overrides: args.set.into_iter().chain(dedicated).collect(),
    })
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("twintier: {error}");
    ExitCode::from(code)
}
