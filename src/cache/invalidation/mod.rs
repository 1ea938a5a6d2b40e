//! Invalidation by selector: tags, prefixes, patterns and namespaces, and the log that memory keeps
//! of them.

pub mod log;
pub mod log_budget;
pub mod pattern;
pub mod selector;
