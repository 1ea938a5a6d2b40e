//! Limits on the bytes of replies, by the limits of requests.

use crate::backend::redis::schema::codec::entry_layout::MAC_SIZE;
use crate::backend::redis::schema::codec::max_entry_size;
use crate::cache::policy::Limits;

/// Limit of one reply in any case, bytes: what servers report of themselves grows with their
/// number.
const MIN_REPLY_LIMIT: usize = 16 << 20;
/// Limit of one value in any case, bytes: lists of hot keys and notes of replicas.
const MIN_VALUE_LIMIT: usize = 2 << 20;
/// Most bytes of an entry beside its value: head, tags, content type.
const MAX_BESIDE_VALUE: usize = 64 * 1024;

/// Limits on the bytes of replies.
#[derive(Clone, Copy, Debug)]
pub struct ReplyLimits {
    /// Largest reply.
    pub reply: usize,
    /// Largest value in a reply.
    pub value: usize,
}

// === impl ReplyLimits ===

impl ReplyLimits {
    /// Returns the limits that allow an entry, and a message that names the keys of a batch with
    /// their tags.
    pub fn of(limits: &Limits) -> ReplyLimits {
        // Old and new tags of each key, and the sizes of them.
        let tags = 2 * limits.tags.saturating_mul(1 + limits.tag_size);
        let key = limits.key_size.saturating_add(tags + 4 + MAC_SIZE);
        let message = limits.keys.saturating_mul(key).saturating_add(1024);
        let entry = limits.value_size.saturating_add(MAX_BESIDE_VALUE);
        let value = message.max(entry).max(MIN_VALUE_LIMIT);
        ReplyLimits { reply: value.saturating_add(1024).max(MIN_REPLY_LIMIT), value }
    }

    /// Limits of this many bytes.
    #[cfg(test)]
    pub fn both(bytes: usize) -> ReplyLimits {
        ReplyLimits { reply: bytes, value: bytes }
    }
}

// An entry has less beside its value.
const _: () = assert!(max_entry_size(0) <= MAX_BESIDE_VALUE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_answer_fits() {
        let limits = Limits { value_size: 64 << 20, keys: 10_000, key_size: 8192, ..Limits::default() };
        let reply = ReplyLimits::of(&limits);
        assert!(reply.value >= limits.value_size + 64 * 1024 && reply.value > limits.keys * limits.key_size);
        assert!(reply.reply > reply.value);
        assert_eq!(ReplyLimits::of(&Limits::default()).reply, MIN_REPLY_LIMIT);
    }
}
