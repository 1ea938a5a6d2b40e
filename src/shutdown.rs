//! Signals that stop the process: SIGTERM drains, SIGINT does not wait.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, from an orchestrator: callers need time to notice that this replica stops.
    Drain,
    /// SIGINT, from a terminal: finish the requests in flight, without that time.
    Now,
}

/// Receiver of the signals that stop the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Drain,
            _ = self.interrupt.recv() => Stop::Now,
        }
    }
}
