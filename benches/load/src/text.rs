//! Protocols of Redis and memcached: answers come in the order of the requests.

use std::collections::VecDeque;

use crate::dialect::{Dialect, Events, Verdict};
use crate::keys::{prefix, value};
use crate::plan::{Operation, Row, Target};
use crate::template::{KEY_MARK, Template, VALUE_MARK};

/// Milliseconds that entries of Redis live.
const LIFE: &str = "3600000";

/// A connection to Redis or memcached.
pub struct Text {
    template: Template,
    expected: Expected,
    slots: VecDeque<usize>,
}

/// The answer to a request.
enum Expected {
    /// A fixed line for each entry.
    Lines { line: &'static [u8], entries: usize },
    /// Values, with what is before and behind them.
    Values {
        head: Vec<u8>,
        before: Vec<u8>,
        key_at: Option<usize>,
        value: Vec<u8>,
        after: &'static [u8],
        end: &'static [u8],
    },
}

impl Text {
    pub fn new(row: &Row) -> Text {
        let (template, expected) = match row.target {
            Target::Memcached => memcached(row),
            _ => redis(row),
        };
        Text { template: Template::new(template), expected, slots: VecDeque::new() }
    }
}

/// Request and answer of Redis.
fn redis(row: &Row) -> (Vec<u8>, Expected) {
    let key = format!("{}{KEY_MARK}", prefix(row.size));
    let entries = row.operation.entries();
    let value = marked_value(row.size);
    let set = || resp(&[b"SET", key.as_bytes(), &value, b"PX", LIFE.as_bytes()]);
    let stored = Expected::Lines { line: b"+OK\r\n", entries };
    let values = |head: String| Expected::Values {
        head: head.into_bytes(),
        before: format!("${}\r\n", row.size).into_bytes(),
        key_at: None,
        value: value.clone(),
        after: b"\r\n",
        end: b"",
    };
    match row.operation {
        Operation::Get => (resp(&[b"GET", key.as_bytes()]), values(String::new())),
        Operation::Set | Operation::BatchSet => ((0..entries).flat_map(|_| set()).collect(), stored),
        Operation::BatchGet => {
            let keys = std::iter::repeat_n(key.as_bytes(), entries);
            let words: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(keys).collect();
            (resp(&words), values(format!("*{entries}\r\n")))
        }
    }
}

/// A command as an array of bulk strings.
fn resp(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Request and answer of memcached.
fn memcached(row: &Row) -> (Vec<u8>, Expected) {
    let key = format!("{}{KEY_MARK}", prefix(row.size));
    let value = marked_value(row.size);
    if row.operation == Operation::Get {
        let before = format!("VALUE {key} 0 {}\r\n", row.size).into_bytes();
        let key_at = Some("VALUE ".len() + prefix(row.size).len());
        let expected = Expected::Values { head: Vec::new(), before, key_at, value, after: b"\r\n", end: b"END\r\n" };
        return (format!("get {key}\r\n").into_bytes(), expected);
    }
    let mut set = format!("set {key} 0 3600 {}\r\n", row.size).into_bytes();
    set.extend_from_slice(&value);
    set.extend_from_slice(b"\r\n");
    (set, Expected::Lines { line: b"STORED\r\n", entries: 1 })
}

fn marked_value(size: usize) -> Vec<u8> {
    let mut value = value(0, size);
    value[..VALUE_MARK.len()].copy_from_slice(VALUE_MARK);
    value
}

// === impl Expected ===

impl Expected {
    /// Bytes of a right answer.
    fn length(&self, entries: usize) -> usize {
        match self {
            Expected::Lines { line, entries } => line.len() * entries,
            Expected::Values { head, before, value, after, end, .. } => {
                head.len() + (before.len() + value.len() + after.len()) * entries + end.len()
            }
        }
    }

    /// Returns false if the bytes so far are not those of a right answer: an error, or no value.
    fn begins_right(&self, answer: &[u8]) -> bool {
        let start: &[u8] = match self {
            Expected::Lines { line, .. } => line,
            Expected::Values { head, before, key_at, .. } if head.is_empty() => {
                &before[..key_at.unwrap_or(before.len())]
            }
            Expected::Values { head, .. } => head,
        };
        let length = start.len().min(answer.len());
        answer[..length] == start[..length]
    }

    fn is_right(&self, mut answer: &[u8], keys: &[u32]) -> bool {
        let mut take = |length: usize| {
            let (taken, rest) = answer.split_at(length);
            answer = rest;
            taken
        };
        match self {
            Expected::Lines { line, entries } => (0..*entries).all(|_| take(line.len()) == *line),
            Expected::Values { head, before, key_at, value, after, end } => {
                let mut is_right = take(head.len()) == head;
                for key in keys {
                    let digits = crate::keys::digits(*key);
                    is_right &= is_marked(take(before.len()), before, *key_at, &digits);
                    is_right &= is_marked(take(value.len()), value, Some(0), &digits);
                    is_right &= take(after.len()) == *after;
                }
                is_right && take(end.len()) == *end
            }
        }
    }
}

/// Returns true if `found` is `wanted` with these digits at a place.
fn is_marked(found: &[u8], wanted: &[u8], place: Option<usize>, digits: &[u8]) -> bool {
    let Some(place) = place else { return found == wanted };
    let end = place + digits.len();
    found[..place] == wanted[..place] && found[place..end] == *digits && found[end..] == wanted[end..]
}

// === impl Text ===

impl Dialect for Text {
    fn open(&mut self, _: &mut Vec<u8>) {}

    fn request(&mut self, slot: usize, keys: &[u32], output: &mut Vec<u8>) {
        self.template.write(keys, output);
        self.slots.push_back(slot);
    }

    /// Every right answer has the same length. After a wrong one the connection is of no use: its
    /// verdict ends the run.
    fn read(&mut self, input: &[u8], keys: &[Vec<u32>], events: &mut Events) -> usize {
        let mut read = 0;
        while let Some(slot) = self.slots.front().copied() {
            let rest = &input[read..];
            let length = self.expected.length(keys[slot].len());
            let is_right = self.expected.begins_right(rest);
            if is_right && rest.len() < length {
                break;
            }
            let is_right = is_right && self.expected.is_right(&rest[..length], &keys[slot]);
            events.answers.push((slot, Verdict::of(is_right)));
            self.slots.pop_front();
            if !is_right {
                return input.len();
            }
            read += length;
        }
        read
    }
}
