//! Safeguards of the protocol by name, so that a test build can switch one off and prove that its
//! absence is noticed.

/// One rule whose absence breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Safeguard {
    /// A fill or an own write enters L1 only if nothing newer was applied meanwhile.
    Fence = 1,
    /// A message that is not next in sequence makes the partition unproven.
    Gap = 2,
    /// An overrun of the subscription's queue makes every partition unproven.
    Lag = 4,
    /// An echo proves only the partitions whose watermark equals the echoed counter.
    EchoCounters = 8,
    /// The first echo of a subscription makes everything from before it unproven.
    FirstEcho = 16,
    /// This replica's own messages take effect like any other.
    OwnMessages = 32,
    /// A proof ends after the staleness bound.
    Audit = 64,
    /// Only an echo that came back through the subscription proves anything; an open connection
    /// does not.
    Echo = 128,
    /// A counter that was lost begins an epoch above every one before.
    NewEpoch = 256,
    /// A write whose answer was lost is not sent again.
    NoRetry = 512,
    /// A write is announced in the step that takes effect, never before it.
    OneStep = 1024,
    /// After a failover nothing from before counts until what was lost is invalidated again.
    Repair = 2048,
    /// After a read has shown a version, nothing older is answered.
    Monotonic = 4096,
    /// A server that stands before what a replica has seen is taken over, even if its life is the
    /// same.
    Return = 8192,
}

/// The safeguards that are on: all of them, outside of a test build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Safeguards {
    #[cfg(any(test, feature = "drills"))]
    off: u32,
}

impl Safeguards {
    /// Returns true if `safeguard` is on.
    #[cfg(any(test, feature = "drills"))]
    pub fn on(self, safeguard: Safeguard) -> bool {
        self.off & safeguard as u32 == 0
    }

    /// Returns true: every safeguard is on.
    #[cfg(not(any(test, feature = "drills")))]
    #[inline(always)]
    pub fn on(self, _: Safeguard) -> bool {
        true
    }

    /// Switches off one safeguard.
    #[cfg(any(test, feature = "drills"))]
    pub fn without(safeguard: Safeguard) -> Self {
        Safeguards { off: safeguard as u32 }
    }
}
