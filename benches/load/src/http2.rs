//! Client side of HTTP/2 for unary and server-streaming calls, with as little work as possible.
//!
//! Headers of answers are not decoded: an answer without the right messages is wrong, whatever its
//! status is.

use crate::dialect::{Dialect, Events, Verdict};
use crate::messages::Messages;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest window that HTTP/2 allows: servers never wait for this client.
const WINDOW: u32 = i32::MAX as u32;
/// Bytes of answers after which the connection's window is filled up.
const REFILL: usize = 1 << 29;
const FRAME: usize = 16 << 10;
const HEAD: usize = 9;
/// Most bytes of a wrong answer that are logged.
const LOGGED: usize = 400;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Header block of later requests: each header by its index. The first block has put them into the
/// table of the server, as other clients do.
const INDEXED: [u8; 7] = [0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];
/// The same with a token.
const INDEXED_WITH_TOKEN: [u8; 8] = [0x83, 0x86, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

/// A connection to a gRPC server.
pub struct Http2 {
    messages: Messages,
    authority: String,
    /// The header `authorization`.
    authorization: Option<String>,
    streams: Vec<Stream>,
    next_id: u32,
    /// Bytes that may be sent on the connection, and on a stream that begins.
    window: i64,
    initial_window: i64,
    received: usize,
}

/// A slot's request and answer.
#[derive(Default)]
struct Stream {
    id: u32,
    request: Vec<u8>,
    sent: usize,
    window: i64,
    answer: Vec<u8>,
}

impl Http2 {
    pub fn new(messages: Messages, authority: String) -> Http2 {
        let (window, initial_window) = (65_535, 65_535);
        let (authorization, streams) = (None, Vec::new());
        Http2 { messages, authority, authorization, streams, next_id: 1, window, initial_window, received: 0 }
    }

    /// Sends a token with each request.
    pub fn with_token(self, token: Option<&str>) -> Http2 {
        Http2 { authorization: token.map(|token| format!("Bearer {token}")), ..self }
    }

    /// Header block of the first request. All but method and scheme enter the table.
    fn first_block(&self) -> Vec<u8> {
        let mut block = vec![0x83, 0x86];
        let mut text = |name: &[u8], value: &str| {
            block.extend_from_slice(name);
            block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend_from_slice(value.as_bytes());
        };
        text(&[0x44], &self.messages.path);
        text(&[0x41], &self.authority);
        text(b"\x40\x02te", "trailers");
        text(&[0x5f], "application/grpc");
        text(&[0x7a], "twintier-bench");
        if let Some(authorization) = &self.authorization {
            text(&[0x57], authorization);
        }
        block
    }

    /// Sends of a slot's request what the windows allow.
    fn send(&mut self, slot: usize, output: &mut Vec<u8>) {
        let stream = &mut self.streams[slot];
        while stream.sent < stream.request.len() {
            let rest = stream.request.len() - stream.sent;
            let allowed = self.window.min(stream.window).max(0) as usize;
            let length = rest.min(allowed).min(FRAME);
            if length == 0 {
                return;
            }
            frame(DATA, if length == rest { END_STREAM } else { 0 }, stream.id, length, output);
            output.extend_from_slice(&stream.request[stream.sent..][..length]);
            stream.sent += length;
            stream.window -= length as i64;
            self.window -= length as i64;
        }
    }

    fn slot(&self, id: u32) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == id)
    }

    fn on_settings(&mut self, settings: &[u8], output: &mut Vec<u8>) {
        for setting in settings.chunks_exact(6) {
            if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW_SIZE {
                let window = i64::from(number(&setting[2..]));
                let more = window - self.initial_window;
                self.initial_window = window;
                self.streams.iter_mut().for_each(|stream| stream.window += more);
            }
        }
        frame(SETTINGS, ACK, 0, 0, output);
        self.send_all(output);
    }

    fn on_window_update(&mut self, id: u32, more: u32, output: &mut Vec<u8>) {
        match (id, self.slot(id)) {
            (0, _) => self.window += i64::from(more),
            (_, Some(slot)) => self.streams[slot].window += i64::from(more),
            // The stream has ended.
            (_, None) => return,
        }
        self.send_all(output);
    }

    fn send_all(&mut self, output: &mut Vec<u8>) {
        (0..self.streams.len()).for_each(|slot| self.send(slot, output));
    }

    fn on_data(&mut self, id: u32, data: &[u8], output: &mut Vec<u8>) {
        if let Some(slot) = self.slot(id) {
            self.streams[slot].answer.extend_from_slice(data);
        }
        self.received += data.len();
        if self.received > REFILL {
            frame(WINDOW_UPDATE, 0, 0, 4, output);
            output.extend_from_slice(&(self.received as u32).to_be_bytes());
            self.received = 0;
        }
    }

    fn on_frame(&mut self, head: Head, payload: &[u8], keys: &[Vec<u32>], events: &mut Events) {
        match head.kind {
            DATA => self.on_data(head.id, payload, &mut events.output),
            SETTINGS if head.flags & ACK == 0 => self.on_settings(payload, &mut events.output),
            PING if head.flags & ACK == 0 => {
                frame(PING, ACK, 0, payload.len(), &mut events.output);
                events.output.extend_from_slice(payload);
            }
            WINDOW_UPDATE => self.on_window_update(head.id, number(payload), &mut events.output),
            GOAWAY => panic!("the server closes the connection: {}", String::from_utf8_lossy(payload)),
            _ => {}
        }
        let ends = matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0;
        if (ends || head.kind == RST_STREAM)
            && let Some(slot) = self.slot(head.id)
        {
            let stream = &mut self.streams[slot];
            stream.id = 0;
            let verdict = self.messages.check(&stream.answer, &keys[slot]);
            if !verdict.is_right {
                let answer = &stream.answer[..stream.answer.len().min(LOGGED)];
                eprintln!("wrong answer: {:?} {:?}", String::from_utf8_lossy(answer), String::from_utf8_lossy(payload));
            }
            events.answers.push((slot, if ends { verdict } else { Verdict::of(false) }));
        }
    }
}

impl Dialect for Http2 {
    fn open(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(PREFACE);
        frame(SETTINGS, 0, 0, 6, output);
        output.extend_from_slice(&INITIAL_WINDOW_SIZE.to_be_bytes());
        output.extend_from_slice(&WINDOW.to_be_bytes());
        frame(WINDOW_UPDATE, 0, 0, 4, output);
        output.extend_from_slice(&(WINDOW - 65_535).to_be_bytes());
    }

    fn request(&mut self, slot: usize, keys: &[u32], output: &mut Vec<u8>) {
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, Stream::default);
        }
        let first = (self.next_id == 1).then(|| self.first_block());
        let later: &[u8] = if self.authorization.is_some() { &INDEXED_WITH_TOKEN } else { &INDEXED };
        let block = first.as_deref().unwrap_or(later);
        frame(HEADERS, END_HEADERS, self.next_id, block.len(), output);
        output.extend_from_slice(block);
        let stream = &mut self.streams[slot];
        (stream.id, stream.sent, stream.window) = (self.next_id, 0, self.initial_window);
        self.next_id += 2;
        stream.answer.clear();
        stream.request.clear();
        self.messages.template.write(keys, &mut stream.request);
        self.send(slot, output);
    }

    fn read(&mut self, input: &[u8], keys: &[Vec<u32>], events: &mut Events) -> usize {
        let mut read = 0;
        while let Some((head, payload)) = Head::take(&input[read..]) {
            read += HEAD + payload.len();
            self.on_frame(head, payload, keys, events);
        }
        read
    }
}

// === frames ===

struct Head {
    kind: u8,
    flags: u8,
    id: u32,
}

impl Head {
    /// Head and payload of a complete frame.
    fn take(input: &[u8]) -> Option<(Head, &[u8])> {
        let (head, rest) = input.split_at_checked(HEAD)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = rest.get(..length)?;
        Some((Head { kind: head[3], flags: head[4], id: number(&head[5..]) }, payload))
    }
}

fn frame(kind: u8, flags: u8, id: u32, length: usize, output: &mut Vec<u8>) {
    output.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&id.to_be_bytes());
}

/// The first four bytes, without the reserved bit.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & WINDOW
}
