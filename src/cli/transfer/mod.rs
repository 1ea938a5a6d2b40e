//! Export and import of entries as JSON lines.

mod backoff;
mod chunk;
mod export;
mod export_line;
mod import;
mod lane;
mod lines;
mod tally;

pub use export::ExportArgs;
pub use import::ImportArgs;
