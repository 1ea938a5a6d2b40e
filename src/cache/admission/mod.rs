//! Admission: limits on requests in flight, on their bytes, and on each connection and peer.

pub mod limits;
mod peer;
pub mod resource;
pub mod slot;
