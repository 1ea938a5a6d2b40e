//! The `twintier` program: the server and the client commands.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory as _, Parser as _};
use tokio::runtime::{Builder, Runtime};
use twintier::app::{App, Observers};
use twintier::cache::fleet::replica::Replica;
use twintier::check_files::check_files;
use twintier::cli::{self, AuthCommand, Cli, Command, ConfigCommand, ServeArgs};
use twintier::config::{self, Config, Loaded, Sources};
use twintier::grpc::{LogLevel, ReadFilter};
use twintier::reload::Reload;
use twintier::shutdown::Signals;
use twintier::telemetry::{self, logs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status of a usage error.
const USAGE_EXIT_CODE: u8 = 2;
/// Shortest and longest timeout of exporting the last telemetry.
const TELEMETRY_FLUSH_TIMEOUTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

fn main() -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    let code = match Cli::parse().into_command() {
        Command::Serve(args) => runtime.block_on(serve(args)),
        Command::Config(command) => config_command(command),
        Command::Auth(command) => auth_command(command),
        Command::Completions(args) => args.run(Cli::command()),
        Command::Man(args) => args.run(Cli::command()),
        Command::Client(command) => runtime.block_on(cli::run(command)),
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Creates the runtime. On one core a single thread costs less than a scheduler for many.
fn runtime() -> std::io::Result<Runtime> {
    let is_single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if is_single { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

async fn serve(args: ServeArgs) -> ExitCode {
    let sources = sources(args);
    let Loaded { config, settings, exposed_secrets } = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems, USAGE_EXIT_CODE),
    };
    // One for the process: TLS towards a collector uses it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let replica = Replica::new();
    let telemetry = match telemetry::start(&config.log, &replica.id, config.admin.is_some(), std::env::vars()) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error, 1),
    };
    for setting in exposed_secrets {
        tracing::warn!(setting, "a password is in the command line: other users can read it");
    }
    let log_level = Some(LogLevel::new(config.log.level.clone(), read_filter(telemetry.change_level())));
    let observers = Observers { tracing: telemetry.rpcs(), metrics: telemetry.metrics(), log_level };
    let limit = config.drain.delay + config.drain.timeout;
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, 1),
    };
    let reload = match Reload::new(sources, settings) {
        Ok(reload) => reload,
        Err(error) => return fail(&error, 1),
    };
    let app = match App::start_reloadable(replica, config, observers, Some(reload)).await {
        Ok(app) => app,
        Err(error) => return fail(&error, 1),
    };
    let stop = signals.next().await;
    let stop_requested_at = Instant::now();
    let stopped = async {
        app.stop(stop).await;
        let [least, most] = TELEMETRY_FLUSH_TIMEOUTS;
        telemetry.stop(limit.saturating_sub(stop_requested_at.elapsed()).clamp(least, most)).await;
    };
    tokio::select! {
        () = stopped => ExitCode::SUCCESS,
        _ = signals.next() => {
            eprintln!("twintier: second signal, exiting immediately");
            // Dropping the rest of telemetry would wait for its collector.
            std::process::exit(1)
        }
    }
}

fn read_filter(change: logs::ChangeLevel) -> ReadFilter {
    Arc::new(move |level| {
        if !config::is_filter(level) {
            return Err(format!("must be {}; was {level:?}", config::FILTERS));
        }
        let (change, level) = (change.clone(), level.to_owned());
        Ok(Box::new(move || {
            if let Err(error) = change(&level) {
                tracing::error!(level, error, "the log level is not changed");
            }
        }))
    })
}

fn config_command(command: ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Check(args) => match load(args).and_then(|loaded| check_files(&loaded.config)) {
            Ok(_) => {
                println!("the configuration is valid");
                ExitCode::SUCCESS
            }
            Err(problems) => fail(&problems, USAGE_EXIT_CODE),
        },
        ConfigCommand::Show(args) => match load(args.serve) {
            Ok(loaded) => {
                print!("{}", config::show(&loaded.settings, args.output == cli::OutputFormat::Json));
                ExitCode::SUCCESS
            }
            Err(problems) => fail(&problems, USAGE_EXIT_CODE),
        },
    }
}

fn auth_command(command: AuthCommand) -> ExitCode {
    match command {
        AuthCommand::NewToken(args) => cli::new_token(&args),
        AuthCommand::Check(args) => {
            let auth = load(args.serve.clone()).and_then(|loaded| config::build_auth(&loaded.config));
            match auth {
                Ok(auth) => cli::check_access(&args, &auth),
                Err(problems) => fail(&problems, USAGE_EXIT_CODE),
            }
        }
    }
}

fn load(args: ServeArgs) -> Result<Loaded, config::Problems> {
    Config::load(&sources(args))
}

fn sources(args: ServeArgs) -> Sources {
    let dedicated = [("server.listen", args.listen), ("redis.url", args.redis_url)];
    let dedicated = dedicated.into_iter().filter_map(|(path, value)| Some((path.to_owned(), value?)));
    let environment = std::env::vars().filter(|(name, _)| !cli::VARIABLES.contains(&name.as_str())).collect();
    Sources { file: args.config, environment, overrides: args.set.into_iter().chain(dedicated).collect() }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("twintier: {error}");
    ExitCode::from(code)
}
