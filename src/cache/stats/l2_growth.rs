//! Bytes that this replica has written into L2 since the last sample of it.

use crate::sync::Mutex;

/// Bytes written by this replica for one namespace.
#[derive(Default)]
pub struct L2Growth(Mutex<SinceSample>);

#[derive(Default)]
struct SinceSample {
    /// Time of the sample.
    taken: u64,
    bytes: u64,
}

// === impl L2Growth ===

impl L2Growth {
    /// Adds `bytes` and returns true, unless those written since the sample of `taken` would exceed
    /// `room`.
    pub fn admit(&self, taken: u64, bytes: u64, room: u64) -> bool {
        let mut since = self.0.lock();
        if since.taken != taken {
            *since = SinceSample { taken, bytes: 0 };
        }
        let written = since.bytes.saturating_add(bytes);
        if written > room {
            return false;
        }
        since.bytes = written;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_what_was_written_before_it() {
        let growth = L2Growth::default();
        assert!(growth.admit(1, 60, 100) && growth.admit(1, 40, 100));
        assert!(!growth.admit(1, 1, 100));
        assert!(growth.admit(2, 20, 20), "the sample has the earlier ones");
        assert!(!growth.admit(2, 1, 20));
    }
}
