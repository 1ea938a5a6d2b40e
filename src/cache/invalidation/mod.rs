//! Invalidation by selector: tags, prefixes, patterns and namespaces, and the log that memory keeps
//! of them.

mod coverage;
pub mod log;
pub mod log_budget;
mod log_table;
pub mod pattern;
pub mod selector;
mod table_half;

pub use coverage::{Coverage, EntryFacts};
pub use log_table::MAX_PATTERNS;
