//! Use of L1 by a namespace, as L1 records it to share its memory fairly.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// Use of L1 by one namespace. L1 alone writes it.
#[derive(Default)]
pub struct L1Activity {
    /// Id of the L1 that knows the namespace. 0: none.
    pub l1: AtomicU64,
    /// Time of its last use, in the unit of that L1.
    pub used_at: AtomicU32,
    /// Calls counted when that L1 last looked.
    pub calls: AtomicU64,
}
