//! A Get that memory answers at once, without a task, a timer or generated messages.
//!
//! Any other request is left to the generated service. Both ways give the same response:
//! `tests/api/two_ways.rs` compares them byte by byte.

mod fast_get;
mod request;
mod response;

pub use fast_get::{FastGet, PATH};
#[cfg(any(test, fuzzing))]
pub use request::PlainGet;
