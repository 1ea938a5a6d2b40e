//! The caller of the current request, for shares of what callers use up.

use std::net::IpAddr;
use std::sync::Arc;

tokio::task_local! {
    static CALLER: CallerKey;
}

/// Key of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerKey {
    /// Address of a caller without an identity.
    Peer(IpAddr),
    /// Name of an identity.
    Identity(Arc<str>),
}

// === impl CallerKey ===

impl CallerKey {
    /// Runs the work of a request of this caller. An inner scope wins over an outer one.
    pub async fn scope<Work: Future>(self, work: Work) -> Work::Output {
        CALLER.scope(self, work).await
    }

    /// Returns the caller of the current request. `None` outside of one.
    pub fn current() -> Option<CallerKey> {
        CALLER.try_with(Clone::clone).ok()
    }
}
