//! `twintier batch`: many entries in one call, with a result for each.

mod command;
mod get;
mod invalidate;
mod item;
mod item_error;
mod keys;
mod progress;
mod set;

pub use command::BatchCommand;
