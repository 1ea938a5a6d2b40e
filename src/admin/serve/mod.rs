//! HTTP/1.1 server on each connection, within limits. The only place here that knows hyper.

mod accept;
mod response;
mod write_timeout;

pub use accept::{Accepting, Ends, MAX_AGE, accept};
pub use response::HttpCaller;
