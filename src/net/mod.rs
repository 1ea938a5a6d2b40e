//! TCP servers: listening, accepting within limits, and closing without losing data.
//!
//! Knows no protocol above TCP.

pub mod acceptor;
pub mod close;
pub mod connections;
