//! Headers of requests that the middleware reads: deadline, request id, and their memory.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::error::Violation;
use crate::cache::quoted::quoted_bytes;

/// Header with the id that the response repeats.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a request id that is echoed in the response.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// Memory of a request without headers and body: its stream and its task.
pub const REQUEST_OVERHEAD_BYTES: usize = 16 << 10;
/// Memory of a header without its name and value.
const HEADER_OVERHEAD_BYTES: usize = 64;

/// Returns the request id, if it is echoed.
pub fn echoed_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(REQUEST_ID).filter(|id| is_echoed(id)).cloned()
}

/// Returns true if a request id is echoed: visible ASCII of limited length.
fn is_echoed(id: &HeaderValue) -> bool {
    id.len() <= MAX_REQUEST_ID_BYTES && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Returns the memory of a request without its body.
pub fn overhead(headers: &HeaderMap) -> usize {
    REQUEST_OVERHEAD_BYTES + headers.iter().map(|(name, value)| header_memory(name, value)).sum::<usize>()
}

/// Returns the memory of a header.
pub fn header_memory(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES
}

/// Parses the header grpc-timeout.
///
/// A malformed one is rejected: its caller would wait for `server.max_deadline`.
pub fn client_timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Violation> {
    const RULE: &str = "must be at most eight digits and a unit of H, M, S, m, u or n";
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong = || Violation::new("grpc-timeout", format!("{RULE}; was {}", quoted_bytes(value.as_bytes())));
    value.to_str().ok().and_then(parse_timeout).map(Some).ok_or_else(wrong)
}

/// Parses at most eight digits and a unit.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}
