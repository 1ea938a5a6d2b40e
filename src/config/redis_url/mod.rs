//! Redis URLs: their parts and their parser.

mod parse;
mod url;

pub use parse::RedisUrlError;
pub use url::{Address, RedisUrl, Topology};
