//! Decompression of requests before they are measured: limits hold for the decompressed size.

use std::io::Read;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request_body::ReceivedMessage;
use crate::cache::admission::limits::TakenAmounts;
use crate::cache::error::{CacheError, Violation};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Maximum zstd window, as a power of two: that of level 19.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that are decompressed at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// Decompresses a message that is compressed with gzip or zstd, adding its bytes to `taken` as they
/// appear.
///
/// Returns a message with another encoding unchanged: the generated service rejects it and names
/// the supported encodings.
pub fn unpack(
    message: ReceivedMessage,
    headers: &mut HeaderMap,
    max_message: usize,
    taken: &mut TakenAmounts,
) -> Result<ReceivedMessage, CacheError> {
    if !message.is_compressed() {
        return Ok(message);
    }
    let unpacked = match headers.get(&ENCODING).map(HeaderValue::as_bytes) {
        Some(b"gzip") => read(flate2::read::GzDecoder::new(message.bytes()), max_message, taken)?,
        Some(b"zstd") => {
            let mut decoder = zstd::stream::read::Decoder::new(message.bytes()).map_err(unreadable)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(unreadable)?;
            read(decoder, max_message, taken)?
        }
        _ => return Ok(message),
    };
    headers.remove(&ENCODING);
    Ok(ReceivedMessage::new(unpacked))
}

fn read(mut packed: impl Read, max_message: usize, taken: &mut TakenAmounts) -> Result<Vec<u8>, CacheError> {
    let mut unpacked = Vec::new();
    loop {
        match packed.by_ref().take(CHUNK_BYTES).read_to_end(&mut unpacked).map_err(unreadable)? {
            0 => {
                unpacked.shrink_to_fit();
                return Ok(unpacked);
            }
            more => taken.grow(more)?,
        }
        if unpacked.len() > max_message {
            return Err(CacheError::Exhausted { what: "message size", limit: max_message, retry_after: None });
        }
    }
}

fn unreadable(error: std::io::Error) -> CacheError {
    Violation::new("request", format!("cannot be decompressed: {error}")).into()
}
