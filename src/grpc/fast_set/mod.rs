//! A Set that needs nothing but its entry, without the generated service.
//!
//! Any other request is left to the generated service. Both ways give the same response:
//! `tests/api/two_ways.rs` compares them byte by byte.

mod fast_set;
mod request;
mod response;

pub use fast_set::{FastSet, PATH};
#[cfg(any(test, fuzzing))]
pub(in crate::grpc) use request::read;
