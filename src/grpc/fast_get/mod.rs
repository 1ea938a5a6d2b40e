//! A plain Get: memory answers it at once, without a task or a timer; the other tier without
//! generated messages.
//!
//! Any other request is left to the generated service. Both ways give the same response:
//! `tests/api/two_ways.rs` compares them byte by byte.

mod fast_get;
mod request;
mod response;

pub use fast_get::{FastGet, PATH};
#[cfg(any(test, fuzzing))]
pub use request::PlainGet;
