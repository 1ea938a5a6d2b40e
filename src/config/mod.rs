//! Configuration: from flags, environment and file to validated settings.
//!
//! Every problem is reported at once, with its path. Each section declares its settings once;
//! values, `config show` and the reference all come from that declaration.

mod auth;
mod config;
mod environment;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kinds;
mod problem;
mod raw_value;
mod reader;
mod redis_url;
mod sections;
mod setting;
mod show;
mod sources;

pub use auth::{apply_auth, build_auth};
pub use config::{Config, Loaded, reference};
pub use problem::{Problem, Problems};
pub use sections::log::{FILTERS, is_filter};
pub use sections::server::Drain;
pub use setting::{Origin, REDACTED, Setting, SettingKind};
pub use show::show;
pub use sources::Sources;
