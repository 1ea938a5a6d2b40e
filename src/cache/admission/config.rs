//! Configuration of admission.

/// The limits of a replica.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Most requests in flight.
    pub requests: usize,
    /// Most bytes in flight.
    pub bytes: usize,
    /// Most calls of the health and reflection services, beside streams that watch health.
    pub probes: usize,
    /// Most watches of changes.
    pub watches: usize,
    /// Most open connections.
    pub connections: usize,
    /// Most requests that wait for another caller.
    pub waiting: usize,
    /// Largest share of each limit that one peer can have, from 0 to 1. With 1 the limits of peers
    /// are off.
    pub peer_share: f64,
}
