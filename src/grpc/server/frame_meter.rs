//! Price of the frames that a peer sends beside its requests.
//!
//! HTTP/2 allows any number of frames that carry no request: SETTINGS, PING, PRIORITY,
//! WINDOW_UPDATE, empty DATA, CONTINUATION, streams that are reset. Each of them costs tokens. A
//! request earns tokens, and so does a response that is written. The prices are far above what
//! clients send for a request: at most a WINDOW_UPDATE for the stream, one for the connection and a
//! PING for each DATA frame that they receive. A connection without tokens takes some of its peer,
//! which has a few thousand a second for all of its connections.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::grpc::tracked_body::WriteProgress;

/// Length of the head of a frame.
const HEAD_BYTES: usize = 9;

/// Tokens of a new connection.
const FIRST_TOKENS: i64 = 200;
/// Most tokens that a connection saves up.
const MAX_TOKENS: i64 = 2_000;
/// Tokens that a request earns.
const REQUEST_TOKENS: i64 = 4;
/// Tokens for each step of a response: a frame that is written, and the end of the message.
const RESPONSE_TOKENS: i64 = 3;
/// Tokens that a connection takes of its peer at a time.
const PEER_TOKENS: NonZeroU32 = NonZeroU32::new(100).expect("above 0");

/// Price of a frame that carries no request.
const CONTROL_PRICE: i64 = 1;
/// Price of SETTINGS, which change all streams of a connection.
const SETTINGS_PRICE: i64 = 4;
/// Price of a reset: a stream that is begun and reset costs more than it earns.
const RESET_PRICE: i64 = 5;
/// Size of a DATA frame below which it is paid for, unless it ends a request.
const SMALL_DATA_BYTES: usize = 256;
/// Bytes of an unknown frame for each further token.
const UNKNOWN_BYTES: usize = 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
/// Types up to this one are known.
const LAST_KNOWN: u8 = CONTINUATION;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Number of CONTINUATION frames that ends a connection, whatever its limit of metadata is.
const TOO_MANY_CONTINUATIONS: usize = 64;

/// The frames of a connection, and the tokens that are left for them.
pub(super) struct FrameMeter {
    progress: Arc<WriteProgress>,
    tokens: i64,
    /// Steps of responses that earned tokens.
    earned_steps: u64,
    /// Bytes up to the next head of a frame.
    left: usize,
    /// The part of a head that has arrived.
    head: [u8; HEAD_BYTES],
    head_length: usize,
    /// The stream whose header block goes on in the next frame. 0 if there is none.
    open_stream: u32,
    is_exhausted: bool,
}

// === impl FrameMeter ===

impl FrameMeter {
    /// Creates the meter of a new connection, which begins with a preface of this length.
    pub fn new(progress: Arc<WriteProgress>, preface: usize) -> FrameMeter {
        FrameMeter {
            progress,
            tokens: FIRST_TOKENS,
            earned_steps: 0,
            left: preface,
            head: [0; HEAD_BYTES],
            head_length: 0,
            open_stream: 0,
            is_exhausted: false,
        }
    }

    /// Reads the next bytes of the connection.
    ///
    /// Returns the end of the last frame that may pass if the peer has no tokens left.
    pub fn read(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let skipped = self.left.min(bytes.len() - at);
            at += skipped;
            self.left -= skipped;
            if self.left == 0 && self.is_exhausted {
                return Some(at);
            }
            if at == bytes.len() {
                return None;
            }
            let rest = &bytes[at..];
            if let (0, Some(head)) = (self.head_length, rest.first_chunk()) {
                at += HEAD_BYTES;
                self.frame(*head);
                continue;
            }
            let taken = (HEAD_BYTES - self.head_length).min(rest.len());
            self.head[self.head_length..][..taken].copy_from_slice(&rest[..taken]);
            self.head_length += taken;
            at += taken;
            if self.head_length == HEAD_BYTES {
                self.head_length = 0;
                self.frame(self.head);
            }
        }
    }

    /// Reads the head of a frame.
    fn frame(&mut self, head: [u8; HEAD_BYTES]) {
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.left = length;
        let price = match kind {
            DATA => data_price(flags, length),
            HEADERS => self.headers_price(flags, u32::from_be_bytes(stream)),
            RST_STREAM => RESET_PRICE,
            SETTINGS => SETTINGS_PRICE,
            CONTINUATION => {
                if flags & END_HEADERS != 0 {
                    self.open_stream = 0;
                }
                CONTROL_PRICE
            }
            known if known < LAST_KNOWN => CONTROL_PRICE,
            _ => CONTROL_PRICE + (length / UNKNOWN_BYTES) as i64,
        };
        self.tokens = (self.tokens - price).min(MAX_TOKENS);
        if self.tokens < 0 {
            self.find_tokens();
        }
    }

    /// Returns the price of HEADERS. Those that begin a request with a body earn tokens.
    fn headers_price(&mut self, flags: u8, stream: u32) -> i64 {
        self.open_stream = if flags & END_HEADERS == 0 { stream } else { 0 };
        let is_without_body = flags & END_STREAM != 0;
        let price = if is_without_body { CONTROL_PRICE } else { -REQUEST_TOKENS };
        price + i64::from(flags & PADDED != 0)
    }

    /// Adds the tokens that responses earned, or some of the peer.
    fn find_tokens(&mut self) {
        let steps = self.progress.moved.load(Ordering::Relaxed);
        let earned = steps.saturating_sub(self.earned_steps).min(MAX_TOKENS as u64) as i64;
        self.earned_steps = steps;
        self.tokens = (self.tokens + earned * RESPONSE_TOKENS).min(MAX_TOKENS);
        if self.tokens >= 0 {
            return;
        }
        if self.progress.account().take_overhead(PEER_TOKENS) {
            self.tokens += i64::from(PEER_TOKENS.get());
        } else {
            self.is_exhausted = true;
        }
    }

    /// Returns frames that make HTTP/2 end the connection with GOAWAY and ENHANCE_YOUR_CALM: a
    /// header block of too many parts. They may follow the last frame that passed.
    pub fn ending(&self) -> Vec<u8> {
        let frame = |kind: u8, stream: u32| [&[0, 0, 0, kind, 0][..], &stream.to_be_bytes()].concat();
        let is_open = self.open_stream != 0;
        let stream = if is_open { self.open_stream } else { 1 };
        let begin = if is_open { Vec::new() } else { frame(HEADERS, stream) };
        [begin, frame(CONTINUATION, stream).repeat(TOO_MANY_CONTINUATIONS)].concat()
    }
}

/// Returns the price of DATA: nothing for the content of a request.
fn data_price(flags: u8, length: usize) -> i64 {
    let is_last = flags & END_STREAM != 0;
    let is_small = length == 0 || (!is_last && length < SMALL_DATA_BYTES);
    i64::from(is_small || flags & PADDED != 0) * CONTROL_PRICE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::admission::limits::{Admission, AdmissionLimits};
    use crate::cache::admission::slot::Streams;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn meter() -> FrameMeter {
        let limits = AdmissionLimits {
            requests: 8,
            bytes: 1 << 20,
            probes: 8,
            watches: 8,
            connections: 8,
            waiting: 8,
            peer_share: 0.8,
        };
        let admission = Arc::new(Admission::new(limits));
        let (account, streams) = (admission.account([127, 0, 0, 1].into()), Streams::new(8, &admission));
        FrameMeter::new(Arc::new(WriteProgress::new(account, streams)), 0)
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let head = [&(payload as u32).to_be_bytes()[1..], &[kind, flags], &7u32.to_be_bytes()].concat();
        [head, vec![0; payload]].concat()
    }

    /// Reads `frames` again and again. Returns how often until the end.
    fn repetitions(frames: &[u8]) -> Option<usize> {
        let mut meter = meter();
        (0..100_000).find(|_| meter.read(frames).is_some())
    }

    #[test]
    fn floods_end_and_requests_never_do() {
        let request = [frame(HEADERS, END_HEADERS, 40), frame(DATA, END_STREAM, 30)].concat();
        for (name, flood) in [
            ("SETTINGS", frame(SETTINGS, 0, 6)),
            ("PING", frame(PING, 0, 8)),
            ("PRIORITY", frame(2, 0, 5)),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 4)),
            ("empty DATA", frame(DATA, 0, 0)),
            ("padded DATA", frame(DATA, PADDED, 300)),
            ("small DATA", frame(DATA, 0, 1)),
            ("CONTINUATION", frame(CONTINUATION, 0, 10)),
            ("an unknown type", frame(0xbb, 0, 100)),
            ("HEADERS without a body", frame(HEADERS, END_HEADERS | END_STREAM, 40)),
            ("reset streams", [frame(HEADERS, END_HEADERS, 40), frame(RST_STREAM, 0, 4)].concat()),
            ("reset requests", [request.clone(), frame(RST_STREAM, 0, 4)].concat()),
            ("PINGs among requests", [request.clone(), frame(PING, 0, 8).repeat(20)].concat()),
        ] {
            assert!(repetitions(&flood).is_some_and(|times| times > 10), "{name}");
        }
        let acknowledged = [frame(WINDOW_UPDATE, 0, 4).repeat(2), frame(PING, 0, 8)].concat();
        for (name, load) in [
            ("requests", request.clone()),
            (
                "requests in two parts",
                [
                    frame(HEADERS, 0, 40),
                    frame(CONTINUATION, END_HEADERS, 9),
                    frame(DATA, 0, 5),
                    frame(DATA, 0, 90),
                    frame(DATA, END_STREAM, 0),
                ]
                .concat(),
            ),
            ("requests with acknowledgements", [request, acknowledged].concat()),
            (
                "large requests",
                [frame(HEADERS, END_HEADERS, 40), frame(DATA, 0, 16_384).repeat(64), frame(DATA, END_STREAM, 9)]
                    .concat(),
            ),
        ] {
            assert_eq!(repetitions(&load), None, "{name}");
        }
    }

    #[test]
    fn responses_pay_for_acknowledgements() {
        let mut meter = meter();
        let acknowledged = [frame(WINDOW_UPDATE, 0, 4).repeat(2), frame(PING, 0, 8)].concat();
        for _ in 0..100_000 {
            assert_eq!(meter.read(&acknowledged), None);
            meter.progress.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_end_is_between_two_frames_however_they_arrive() {
        let ping = frame(PING, 0, 8);
        for piece in [1, 5, 9, 17, 100, 8192] {
            let (mut meter, flood) = (meter(), ping.repeat(40_000));
            let mut passed = 0;
            for bytes in flood.chunks(piece) {
                match meter.read(bytes) {
                    None => passed += bytes.len(),
                    Some(end) => {
                        passed += end;
                        break;
                    }
                }
            }
            assert!(passed > 0 && passed < flood.len() && passed % ping.len() == 0, "{piece}: {passed}");
        }
    }

    #[test]
    fn an_ending_follows_an_open_header_block() {
        let mut meter = meter();
        assert_eq!(meter.ending()[3], HEADERS);
        meter.read(&frame(HEADERS, 0, 12));
        assert_eq!(meter.ending()[3..9], [CONTINUATION, 0, 0, 0, 0, 7]);
        meter.read(&frame(CONTINUATION, END_HEADERS, 3));
        assert_eq!(meter.ending()[3], HEADERS);
    }
}
