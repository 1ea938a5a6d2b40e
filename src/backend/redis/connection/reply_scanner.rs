//! Limits on what a server may send, checked before fred's parser sees it.
//!
//! That parser recurses with each level of nesting and keeps a reply of any size until it is
//! complete. The scanner follows RESP3 byte by byte in constant space. It does not interpret
//! replies.

use super::reply_limits::ReplyLimits;

/// Deepest nesting. Replies of this service's commands have at most four levels.
const MAX_DEPTH: usize = 8;
/// Longest line, bytes: a status, an error, a number.
const MAX_LINE: usize = 64 * 1024;
/// Most elements of one reply, at all levels. A batch of the most keys has about half of them.
const MAX_ELEMENTS: u64 = 100_000;
/// Digits of the largest length that is read.
const MAX_DIGITS: u8 = 10;

/// A reply that is refused, and with it the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyViolation {
    /// Too deep nesting.
    #[error("the server sent a reply of more than {MAX_DEPTH} levels")]
    TooDeep,
    /// A line does not end.
    #[error("the server sent a line of more than {MAX_LINE} bytes")]
    LineTooLong,
    /// Too many elements.
    #[error("the server sent a reply of more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// Too many bytes.
    #[error(
        "the server sent a reply of more than {0} bytes, the most that limits.value_size and limits.keys allow for"
    )]
    TooLarge(u64),
    /// Too many bytes in one value.
    #[error(
        "the server sent a value of more than {0} bytes, the most that limits.value_size and limits.keys allow for"
    )]
    ValueTooLarge(u64),
    /// Too many bytes in reply to one trip.
    #[error("the server sent more than was requested")]
    TripTooLarge,
    /// The bytes are another protocol.
    #[error("the server does not speak the protocol of Redis")]
    OtherProtocol,
    /// The bytes are a TLS record.
    #[error("the server speaks TLS: redis.url has to begin with rediss")]
    Tls,
}

/// The limits of this service's own requests.
const NO_LIMITS: ReplyLimits = ReplyLimits { reply: usize::MAX, value: usize::MAX };

/// The position in the stream of one connection's replies.
pub struct ReplyScanner {
    max_reply: u64,
    max_value: u64,
    max_elements: u64,
    has_plain_lines: bool,
    state: ScanState,
    /// Elements that are still to come, of each aggregate around the current element.
    open: Vec<u64>,
    /// Bytes of the current reply so far.
    size: u64,
    /// Elements of the current reply so far.
    elements: u64,
}

#[derive(Clone, Copy, Debug)]
enum ScanState {
    /// Before the first byte of an element.
    Kind,
    /// In a line, which ends with CR LF.
    Line { length: usize, after_cr: bool },
    /// In the length of a blob or an aggregate.
    Length { kind: ReplyKind, length: u64, digits: u8 },
    /// Before the LF that ends the length.
    LengthEnd { kind: ReplyKind, length: u64 },
    /// In a blob, before this many bytes, the CR LF at its end included.
    Blob { left: u64 },
}

#[derive(Clone, Copy, Debug)]
enum ReplyKind {
    Blob,
    List,
    Map,
    Attributes,
}

// === impl ReplyScanner ===

impl ReplyScanner {
    /// Creates a scanner at the start of a stream.
    pub fn new(limits: ReplyLimits) -> ReplyScanner {
        ReplyScanner {
            max_reply: limits.reply as u64,
            max_value: limits.value as u64,
            max_elements: MAX_ELEMENTS,
            has_plain_lines: false,
            state: ScanState::Kind,
            open: Vec::new(),
            size: 0,
            elements: 0,
        }
    }

    /// Creates a scanner of this service's own requests: without limits, and HELLO is a plain line.
    pub fn of_requests() -> ReplyScanner {
        ReplyScanner { max_elements: u64::MAX, has_plain_lines: true, ..ReplyScanner::new(NO_LIMITS) }
    }

    /// Returns true between two elements of the stream.
    pub fn is_between(&self) -> bool {
        matches!(self.state, ScanState::Kind) && self.open.is_empty()
    }

    /// Follows the next bytes of the stream. Returns the number of replies that ended. After a
    /// violation the stream is of no use.
    pub fn scan(&mut self, mut bytes: &[u8]) -> Result<usize, ReplyViolation> {
        let mut replies = 0;
        while !bytes.is_empty() {
            let (followed, ended) = self.scan_reply(bytes)?;
            bytes = &bytes[followed..];
            replies += usize::from(ended);
        }
        Ok(replies)
    }

    /// Follows the stream up to the end of the current reply. Returns the length, and true if the
    /// reply ended.
    pub fn scan_reply(&mut self, bytes: &[u8]) -> Result<(usize, bool), ReplyViolation> {
        let mut left = bytes;
        while let Some((&byte, rest)) = left.split_first() {
            left = match self.state {
                ScanState::Line { length, after_cr } => self.line(left, length, after_cr)?,
                ScanState::Blob { left: size } => {
                    let here = size.min(left.len() as u64);
                    self.state = ScanState::Blob { left: size - here };
                    if here == size {
                        self.element_ended();
                    }
                    &left[here as usize..]
                }
                ScanState::Kind => {
                    self.begin(byte)?;
                    rest
                }
                ScanState::Length { kind, length, digits } => {
                    self.length(byte, kind, length, digits)?;
                    rest
                }
                ScanState::LengthEnd { kind, length } if byte == b'\n' => {
                    self.content(kind, length)?;
                    rest
                }
                ScanState::LengthEnd { .. } => return Err(ReplyViolation::OtherProtocol),
            };
            if self.is_between() {
                return Ok((bytes.len() - left.len(), true));
            }
        }
        Ok((bytes.len(), false))
    }

    fn begin(&mut self, byte: u8) -> Result<(), ReplyViolation> {
        self.grow(1)?;
        self.elements += 1;
        if self.elements > self.max_elements {
            return Err(ReplyViolation::TooManyElements);
        }
        let kind = match byte {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                self.state = ScanState::Line { length: 0, after_cr: false };
                return Ok(());
            }
            b'$' | b'!' | b'=' => ReplyKind::Blob,
            b'*' | b'~' | b'>' => ReplyKind::List,
            b'%' => ReplyKind::Map,
            b'|' => ReplyKind::Attributes,
            _ if self.has_plain_lines => {
                self.state = ScanState::Line { length: 0, after_cr: false };
                return Ok(());
            }
            // An alert, or a handshake.
            0x15 | 0x16 => return Err(ReplyViolation::Tls),
            _ => return Err(ReplyViolation::OtherProtocol),
        };
        self.state = ScanState::Length { kind, length: 0, digits: 0 };
        Ok(())
    }

    /// Follows a line. Returns what comes after it.
    fn line<'a>(&mut self, bytes: &'a [u8], length: usize, mut after_cr: bool) -> Result<&'a [u8], ReplyViolation> {
        for (index, &byte) in bytes.iter().enumerate().take(MAX_LINE + 1 - length) {
            if after_cr && byte == b'\n' {
                self.grow((length + index + 1) as u64)?;
                self.element_ended();
                return Ok(&bytes[index + 1..]);
            }
            after_cr = byte == b'\r';
        }
        let length = length + bytes.len();
        if length > MAX_LINE {
            return Err(ReplyViolation::LineTooLong);
        }
        self.state = ScanState::Line { length, after_cr };
        Ok(&[])
    }

    fn length(&mut self, byte: u8, kind: ReplyKind, length: u64, digits: u8) -> Result<(), ReplyViolation> {
        self.grow(1)?;
        self.state = match byte {
            b'0'..=b'9' if digits < MAX_DIGITS => {
                ScanState::Length { kind, length: 10 * length + u64::from(byte - b'0'), digits: digits + 1 }
            }
            b'0'..=b'9' => return Err(ReplyViolation::TooLarge(self.max_reply)),
            b'\r' if digits > 0 => ScanState::LengthEnd { kind, length },
            // Neither negative lengths nor streamed replies: a server that speaks RESP3 to this
            // service sends none.
            _ => return Err(ReplyViolation::OtherProtocol),
        };
        Ok(())
    }

    fn content(&mut self, kind: ReplyKind, length: u64) -> Result<(), ReplyViolation> {
        self.grow(1)?;
        let elements = match kind {
            ReplyKind::Blob => {
                if length > self.max_value {
                    return Err(ReplyViolation::ValueTooLarge(self.max_value));
                }
                self.grow(length + 2)?;
                self.state = ScanState::Blob { left: length + 2 };
                return Ok(());
            }
            ReplyKind::List => length,
            ReplyKind::Map => 2 * length,
            // The element that the attributes belong to follows them.
            ReplyKind::Attributes => 2 * length + 1,
        };
        if elements > self.max_elements {
            return Err(ReplyViolation::TooManyElements);
        }
        if elements == 0 {
            self.element_ended();
            return Ok(());
        }
        if self.open.len() == MAX_DEPTH {
            return Err(ReplyViolation::TooDeep);
        }
        self.open.push(elements);
        self.state = ScanState::Kind;
        Ok(())
    }

    fn element_ended(&mut self) {
        self.state = ScanState::Kind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        (self.size, self.elements) = (0, 0);
    }

    fn grow(&mut self, bytes: u64) -> Result<(), ReplyViolation> {
        self.size += bytes;
        if self.size > self.max_reply { Err(ReplyViolation::TooLarge(self.max_reply)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn scan(bytes: &[u8]) -> Result<(), ReplyViolation> {
        ReplyScanner::new(ReplyLimits::both(LIMIT)).scan(bytes).map(drop)
    }

    /// Scans one byte at a time.
    fn scan_slowly(bytes: &[u8]) -> Result<(), ReplyViolation> {
        let mut scanner = ReplyScanner::new(ReplyLimits::both(LIMIT));
        bytes.iter().try_for_each(|byte| scanner.scan(&[*byte]).map(drop))
    }

    #[test]
    fn replies_of_every_kind_pass_at_any_cut() {
        let replies = "+OK\r\n-ERR no\r\n:-12\r\n_\r\n#t\r\n,1.5\r\n(123456789012345678901234567890\r\n$0\r\n\r\n$5\r\na\r\nb!\r\n\
                       !3\r\nERR\r\n=7\r\ntxt:abc\r\n*0\r\n*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n~1\r\n+b\r\n>2\r\n+message\r\n$1\r\nx\r\n\
                       |1\r\n+ttl\r\n:3\r\n+OK\r\n+a\r\r\n"
            .as_bytes();
        for cut in 0..replies.len() {
            let mut scanner = ReplyScanner::new(ReplyLimits::both(LIMIT));
            let (one, other) = replies.split_at(cut);
            let ended = scanner.scan(one).and_then(|ended| Ok(ended + scanner.scan(other)?));
            assert_eq!(ended, Ok(16), "cut at {cut}");
            assert!(scanner.is_between(), "cut at {cut}");
        }
        assert_eq!(scan_slowly(replies), Ok(()));
    }

    #[test]
    fn requests_are_lists_or_plain_lines_without_a_limit() {
        let large = format!("*1\r\n${}\r\n{}\r\n", 2 * LIMIT, "x".repeat(2 * LIMIT));
        let requests = format!("HELLO 3 AUTH u p\r\n*2\r\n$4\r\nPING\r\n$0\r\n\r\n{large}*1\r\n");
        let mut scanner = ReplyScanner::of_requests();
        assert_eq!(scanner.scan(requests.as_bytes()), Ok(3));
        assert!(!scanner.is_between());
    }

    #[test]
    fn nesting_ends_the_stream_at_its_limit() {
        for (level, deepest) in [("*1\r\n", MAX_DEPTH), ("%1\r\n+a\r\n", MAX_DEPTH), ("|1\r\n+a\r\n", MAX_DEPTH)] {
            assert_eq!(scan(level.repeat(deepest).as_bytes()), Ok(()), "{level:?}");
            assert_eq!(scan(level.repeat(deepest + 1).as_bytes()), Err(ReplyViolation::TooDeep), "{level:?}");
            assert_eq!(scan_slowly(level.repeat(100_000).as_bytes()), Err(ReplyViolation::TooDeep), "{level:?}");
        }
    }

    #[test]
    fn a_line_ends_the_stream_at_its_limit() {
        for kind in ["+", "-", ":", "_", "#", ",", "("] {
            let line = |length| format!("{kind}{}\r\n", "7".repeat(length));
            assert_eq!(scan(line(MAX_LINE - 2).as_bytes()), Ok(()));
            let endless = line(MAX_LINE + 1);
            assert_eq!(scan(endless.as_bytes()), Err(ReplyViolation::LineTooLong), "{kind}");
            assert_eq!(scan_slowly(endless.as_bytes()), Err(ReplyViolation::LineTooLong), "{kind}");
        }
    }

    #[test]
    fn a_reply_ends_the_stream_at_its_size() {
        let too_large = Err(ReplyViolation::TooLarge(LIMIT as u64));
        let mut scanner = ReplyScanner::new(ReplyLimits { reply: LIMIT, value: 100 });
        assert_eq!(scanner.scan(b"*2\r\n$100\r\n"), Ok(0));
        let mut scanner = ReplyScanner::new(ReplyLimits { reply: LIMIT, value: 100 });
        assert_eq!(scanner.scan(b"*2\r\n$101\r\n"), Err(ReplyViolation::ValueTooLarge(100)));
        for kind in ["$", "!", "="] {
            assert_eq!(scan(format!("{kind}{}\r\n", LIMIT - 16).as_bytes()), Ok(()));
            assert_eq!(scan(format!("{kind}{LIMIT}\r\n").as_bytes()), too_large);
            assert_eq!(scan(format!("{kind}99999999999\r\n").as_bytes()), too_large);
        }
        let half = format!("${}\r\n{}\r\n", LIMIT / 2, "x".repeat(LIMIT / 2));
        assert_eq!(scan(half.repeat(3).as_bytes()), Ok(()), "each is a reply of its own");
        assert_eq!(scan(format!("*3\r\n{}", half.repeat(2)).as_bytes()), too_large, "together they are one");
    }

    #[test]
    fn elements_end_the_stream_at_their_number() {
        let too_many = Err(ReplyViolation::TooManyElements);
        assert_eq!(scan(b"*100000\r\n"), Ok(()));
        assert_eq!(scan(b"*100001\r\n"), too_many);
        assert_eq!(scan(b"%50001\r\n"), too_many);
        let nested = format!("*{}\r\n", MAX_ELEMENTS / 2) + &":1\r\n".repeat(MAX_ELEMENTS as usize / 2 - 1);
        assert_eq!(scan(format!("*3\r\n{nested}").as_bytes()), Ok(()));
        let mut scanner = ReplyScanner::new(ReplyLimits::both(LIMIT));
        let all = format!("*3\r\n{nested}:1\r\n{nested}");
        assert_eq!(scanner.scan(all.as_bytes()).map(drop), too_many);
    }

    #[test]
    fn other_protocols_are_named() {
        let other = Err(ReplyViolation::OtherProtocol);
        for bytes in
            ["HTTP/1.1 400", "$-1\r\n", "*?\r\n", "$?\r\n", ";0\r\n", ".\r\n", "$\r\n", "*1\r+", "$ 1\r\n", "H"]
        {
            assert_eq!(scan(bytes.as_bytes()), other, "{bytes:?}");
        }
        assert_eq!(scan(&[0x15, 3, 3, 0, 2]), Err(ReplyViolation::Tls));
    }

    #[test]
    fn the_outcomes_of_the_largest_batch_fit() {
        // A batch of the most keys: each has an outcome, a version and two numbers in a list of
        // their own.
        let outcomes = format!("*10000\r\n{}", "*4\r\n:0\r\n:0\r\n:0\r\n:0\r\n".repeat(10_000));
        assert_eq!(scan(format!("*2\r\n+OK\r\n{outcomes}").as_bytes()), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_alike_at_any_pace(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(scan(&bytes), scan_slowly(&bytes));
        }
    }
}
