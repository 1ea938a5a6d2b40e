//! Servers on TCP and unix sockets: listening, accepting within limits, and closing without losing
//! data.
//!
//! Knows no protocol above them.

pub mod acceptor;
pub mod certificate;
pub mod close;
pub mod connections;
pub mod listener;
pub mod peer;
pub mod socket_file;
pub mod stream;
