//! Where Redis is, as one URL names it. Only says what the URL says: connecting, and which topologies are supported, is for others.

mod parse;
mod url;

pub use parse::RedisUrlError;
pub use url::{Address, RedisUrl, Topology};
