//! The protections of the protocol by name, so that a test build can switch one off and prove that its absence is noticed.

/// One rule whose absence breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Safeguard {
    /// A fill or an own write enters memory only if nothing newer was applied meanwhile.
    Fence = 1,
    /// A message that is not next in line makes the partition suspect.
    Gap = 2,
    /// An overrun of the subscription's queue makes every partition suspect.
    Lag = 4,
    /// An echo proves only the partitions whose watermark equals the echoed counter.
    EchoCounters = 8,
    /// The first echo of a subscription makes everything from before it suspect.
    FirstEcho = 16,
    /// This replica's own messages take effect like any other.
    OwnMessages = 32,
    /// A proof ends after the staleness bound.
    Audit = 64,
    /// Only an echo that came back through the subscription proves anything; that the connection stands does not.
    Echo = 128,
    /// A counter that is gone begins an epoch above every one before, and not at the beginning.
    NewEpoch = 256,
    /// A write whose answer was lost is not sent again.
    NoRetry = 512,
    /// A write is announced in the step that takes effect, and not before it.
    OneStep = 1024,
    /// After a takeover nothing from before counts until what was lost is invalidated again.
    Repair = 2048,
    /// After a read has shown something, nothing older is answered.
    Monotonic = 4096,
    /// A server that stands before what a replica has seen is taken over, though its life is the same.
    Return = 8192,
}

/// Which protections are on: all of them, outside of a test build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Safeguards {
    #[cfg(feature = "drills")]
    off: u32,
}

impl Safeguards {
    /// Whether `protection` is on.
    #[cfg(feature = "drills")]
    pub fn on(self, protection: Safeguard) -> bool {
        self.off & protection as u32 == 0
    }

    /// Whether `protection` is on: always.
    #[cfg(not(feature = "drills"))]
    #[inline(always)]
    pub fn on(self, _: Safeguard) -> bool {
        true
    }

    /// All protections but one.
    #[cfg(feature = "drills")]
    pub fn without(protection: Safeguard) -> Self {
        Safeguards { off: protection as u32 }
    }
}
