//! `twintier batch`: many entries in one call, with a result for each.

mod command;
mod get;
mod invalidate;
mod item_error;
mod keys;
mod set;

pub use command::BatchCommand;
