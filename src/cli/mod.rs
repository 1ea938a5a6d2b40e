//! The command line: its definition for the whole program, and the client commands.
//!
//! `serve` and `config` are only described here; `main.rs` runs them. Every client command is a call of the generated client,
//! an answer made of the response by a pure function, and an exit code.

mod args;
mod batch;
mod command;
mod connection;
mod drain;
mod error;
mod expiry;
mod get;
mod health;
mod hot_keys;
mod inspect;
mod invalidate;
mod log_level;
mod output;
mod policy;
mod release;
mod set;
mod stats;
mod table;
mod touch;
mod units;
mod value;
mod watch;

pub use args::{ConfigCommand, ConfigShowArgs, OutputFormat, ServeArgs, ServerArgs};
pub use batch::BatchCommand;
pub use command::{Cli, ClientCommand, Command, VARIABLES, run};
pub use drain::{DrainArgs, ResetStatsArgs};
pub use get::GetArgs;
pub use health::HealthArgs;
pub use hot_keys::HotKeysArgs;
pub use inspect::InspectArgs;
pub use invalidate::InvalidateArgs;
pub use log_level::LogLevelArgs;
pub use policy::PolicyCommand;
pub use release::ReleaseArgs;
pub use set::SetArgs;
pub use stats::StatsArgs;
pub use touch::TouchArgs;
pub use watch::WatchArgs;
