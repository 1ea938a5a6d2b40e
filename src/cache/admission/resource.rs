//! The limited resources, with the names of their limits.

/// A resource of which there is a limited amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Requests in flight.
    Requests,
    /// Bytes of requests and responses in memory.
    Bytes,
    /// Calls of the health and reflection services.
    Probes,
    /// Bytes of these calls in memory.
    ProbeBytes,
    /// Requests that wait for another caller.
    Waiting,
    /// Watches of changes.
    Watches,
    /// Streams that watch health.
    HealthWatches,
}

/// Number of resources.
pub(super) const RESOURCES: usize = 7;

// === impl Resource ===

impl Resource {
    pub(super) fn is_bytes(self) -> bool {
        matches!(self, Resource::Bytes | Resource::ProbeBytes)
    }

    /// Names of the limit, of a peer's share and of a connection's share, for errors.
    pub(super) fn names(self) -> [&'static str; 3] {
        match self {
            Resource::Requests => [
                "requests in flight",
                "share of this address in the requests in flight",
                "share of this connection in the requests in flight",
            ],
            Resource::Bytes => [
                "bytes in flight",
                "share of this address in the bytes in flight",
                "share of this connection in the bytes in flight",
            ],
            Resource::Probes => [
                "health and reflection calls",
                "share of this address in the health and reflection calls",
                "share of this connection in the health and reflection calls",
            ],
            Resource::ProbeBytes => [
                "bytes of health and reflection calls",
                "share of this address in the bytes of health and reflection calls",
                "share of this connection in the bytes of health and reflection calls",
            ],
            Resource::Waiting => [
                "waiting Gets",
                "share of this address in the waiting Gets",
                "share of this connection in the waiting Gets",
            ],
            Resource::Watches => {
                ["watches", "share of this address in the watches", "share of this connection in the watches"]
            }
            Resource::HealthWatches => [
                "health watches",
                "share of this address in the health watches",
                "share of this connection in the health watches",
            ],
        }
    }
}
