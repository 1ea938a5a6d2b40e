//! Interface of a protocol to the client: writing requests, reading and checking answers.

/// One connection's side of a protocol.
pub trait Dialect {
    /// Appends what a client sends first.
    fn open(&mut self, output: &mut Vec<u8>);

    /// Appends a request for these keys. No other request is in flight in this slot.
    fn request(&mut self, slot: usize, keys: &[u32], output: &mut Vec<u8>);

    /// Reads the complete answers at the beginning of `input`, and returns how many bytes they have.
    /// `keys` has those of each slot.
    fn read(&mut self, input: &[u8], keys: &[Vec<u32>], events: &mut Events) -> usize;
}

/// Result of reading.
#[derive(Default)]
pub struct Events {
    /// Slots whose answers came.
    pub answers: Vec<(usize, Verdict)>,
    /// Bytes to be sent.
    pub output: Vec<u8>,
}

/// Outcome of checking an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True if each entry was found with the bytes of its value, or each write was stored.
    pub is_right: bool,
    /// Entries that the service read from Redis.
    pub from_redis: usize,
    /// Bytes of the answer, if they are of interest.
    pub bytes: usize,
}

impl Verdict {
    pub fn of(is_right: bool) -> Verdict {
        Verdict { is_right, from_redis: 0, bytes: 0 }
    }
}
