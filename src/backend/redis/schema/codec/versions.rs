//! Encoding of versions.

use bytes::BufMut as _;

use super::byte_reader::ByteReader;
use crate::cache::version::Version;

/// Encodes a position and a time.
pub fn version_and_time(version: Version, micros: u64) -> Vec<u8> {
    let mut bytes = version_bytes(version);
    bytes.put_u64(micros);
    bytes
}

/// Encodes a version, as scripts compare it.
pub fn version_bytes(version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    bytes.put_u64(version.epoch);
    bytes.put_u64(version.sequence);
    bytes
}

/// Decodes a version from the reply of a script.
pub fn decode_version(bytes: &[u8]) -> Option<Version> {
    ByteReader(bytes).version()
}

/// Decodes consecutive positions.
pub fn decode_versions(bytes: &[u8]) -> Option<Vec<Version>> {
    bytes.chunks(16).map(decode_version).collect()
}
