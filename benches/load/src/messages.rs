//! Messages of the service and of the echo: requests built before, answers checked field by field.

use prost::Message as _;

use crate::dialect::Verdict;
use crate::echo::EchoRequest;
use crate::keys::{DIGITS, digits, prefix, value};
use crate::plan::{Operation, Row, Target};
use crate::template::{KEY_MARK, Template, VALUE_MARK};

/// Namespaces: entries that are read are not written by other rows.
pub const READ: &str = "reads";
pub const WRITTEN: &str = "writes";

/// `TIER_L2` and `SET_OUTCOME_STORED` of the contract.
const TIER_L2: u64 = 2;
const STORED: u64 = 1;

// === the fields of the contract that are sent ===

#[derive(Clone, PartialEq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SetRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bytes = "vec", tag = "3")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchGetRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BatchSetRequest {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(message, repeated, tag = "2")]
    items: Vec<SetRequest>,
}

// === impl Messages ===

/// Requests of a row and the check of their answers.
#[derive(Clone)]
pub struct Messages {
    pub path: String,
    pub template: Template,
    operation: Operation,
    /// Value of key 0. Others differ in their digits.
    value: Vec<u8>,
    /// Length of an echo's payload.
    echoed: Option<usize>,
}

impl Messages {
    /// `namespace` is not of interest to the echo, whose payload has `answer` bytes.
    pub fn new(row: &Row, namespace: &str, answer: usize) -> Messages {
        let echoed = matches!(row.target, Target::EchoCurrent | Target::EchoMulti).then_some(answer);
        let (path, message) = match echoed {
            Some(size) => (crate::echo::PATH.to_owned(), echo(row, namespace, size)),
            None => (format!("/twintier.v1.CacheService/{:?}", row.operation), request(row, namespace)),
        };
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&message);
        let value = value(0, row.size);
        Messages { path, template: Template::new(body), operation: row.operation, value, echoed }
    }

    /// Checks the messages of an answer.
    pub fn check(&self, body: &[u8], keys: &[u32]) -> Verdict {
        self.check_entries(body, keys).unwrap_or(Verdict::of(false))
    }

    fn check_entries(&self, body: &[u8], keys: &[u32]) -> Option<Verdict> {
        let (mut answered, mut from_redis) = (0, 0);
        for message in messages(body) {
            let message = message?;
            if let Some(echoed) = self.echoed {
                return Some(Verdict::of(bytes_of(message, 1)?.len() == echoed));
            }
            match self.operation {
                Operation::Get => from_redis += self.check_hit(bytes_of(message, 1)?, *keys.first()?)?,
                Operation::Set => stored(message)?,
                Operation::BatchSet => {
                    answered += fields(message, 1).map(stored).collect::<Option<Vec<()>>>()?.len();
                    continue;
                }
                Operation::BatchGet => {
                    for item in fields(message, 1) {
                        from_redis += self.check_hit(bytes_of(item, 2)?, *keys.get(answered)?)?;
                        answered += 1;
                    }
                    continue;
                }
            }
            answered += 1;
        }
        Some(Verdict { is_right: answered == keys.len(), from_redis, bytes: body.len() })
    }

    /// Checks the value of a `Hit`. Returns 1 if it came from Redis.
    fn check_hit(&self, hit: &[u8], key: u32) -> Option<usize> {
        let value = bytes_of(hit, 1)?;
        let is_right = value.len() == self.value.len()
            && value[..DIGITS] == digits(key)
            && value[DIGITS..] == self.value[DIGITS..];
        let tier = number_of(bytes_of(hit, 3)?, 4)?;
        is_right.then_some(usize::from(tier == TIER_L2))
    }
}

/// Checks that a Set was stored.
fn stored(result: &[u8]) -> Option<()> {
    (number_of(result, 1)? == STORED).then_some(())
}

// === requests ===

fn request(row: &Row, namespace: &str) -> Vec<u8> {
    let (namespace, key) = (namespace.to_owned(), format!("{}{KEY_MARK}", prefix(row.size)));
    let mut value = value(0, row.size);
    value[..DIGITS].copy_from_slice(VALUE_MARK);
    let entries = row.operation.entries();
    match row.operation {
        Operation::Get => GetRequest { namespace, key }.encode_to_vec(),
        Operation::Set => SetRequest { namespace, key, value }.encode_to_vec(),
        Operation::BatchGet => BatchGetRequest { namespace, keys: vec![key; entries] }.encode_to_vec(),
        Operation::BatchSet => {
            let item = SetRequest { namespace: String::new(), key, value };
            BatchSetRequest { namespace, items: vec![item; entries] }.encode_to_vec()
        }
    }
}

fn echo(row: &Row, namespace: &str, size: usize) -> Vec<u8> {
    let key = format!("{}{KEY_MARK}", prefix(row.size));
    EchoRequest { namespace: namespace.to_owned(), key, size: size as u64 }.encode_to_vec()
}

// === reading of protobuf ===

/// The messages of a gRPC body. `None` for one that is compressed or not complete.
fn messages(mut body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let split = || {
            let (head, rest) = body.split_at_checked(5)?;
            let length = u32::from_be_bytes(head[1..].try_into().ok()?);
            rest.split_at_checked(length as usize).filter(|_| head[0] == 0)
        };
        let message = split();
        body = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message))
    })
}

enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes the next field of a message.
fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Content<'a>)> {
    let tag = varint(message)?;
    let content = match tag & 7 {
        0 => Content::Number(varint(message)?),
        kind @ (1 | 2 | 5) => {
            let length = match kind {
                1 => 8,
                5 => 4,
                _ => usize::try_from(varint(message)?).ok()?,
            };
            let (bytes, rest) = message.split_at_checked(length)?;
            *message = rest;
            Content::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, content))
}

/// Bytes of each field with this number.
fn fields(mut message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            match field(&mut message)? {
                (found, Content::Bytes(bytes)) if found == number => return Some(bytes),
                _ => {}
            }
        }
    })
}

fn bytes_of(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message, number).next()
}

fn number_of(mut message: &[u8], number: u64) -> Option<u64> {
    loop {
        match field(&mut message)? {
            (found, Content::Number(value)) if found == number => return Some(value),
            _ => {}
        }
    }
}
