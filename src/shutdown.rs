//! The end of a service: the signals that stop the process, and the tasks that end with it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// Background tasks, and the signals that stop them.
#[derive(Default)]
pub(crate) struct Lifecycle {
    /// Cancelled when the drain begins.
    pub draining: CancellationToken,
    /// Cancelled after the last RPC.
    pub ending: CancellationToken,
    /// The tasks.
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Spawns a task that runs until the service ends.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.ending.clone().run_until_cancelled_owned(work));
    }
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
