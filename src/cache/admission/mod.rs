//! Admission: limits on requests in flight, on their bytes, and on each connection and peer.

mod config;
pub mod limits;
mod peer;
pub mod resource;
pub mod slot;
