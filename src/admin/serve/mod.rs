//! The serving loop: speaks HTTP/1.1 on each connection, within limits. The one place here that knows hyper.

mod accept;
mod response;
mod write_timeout;

pub use accept::{AGE, accept};
pub use response::Caller;
