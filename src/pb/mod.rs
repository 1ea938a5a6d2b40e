//! The generated types of the contract, `twintier.v1`, for `grpc/` and the commands in `cli/`.
#![allow(missing_docs, clippy::all)]

mod batch_get_response;
mod codec;
mod contract;

pub use batch_get_response::{BatchGetResponse, PreparedItems};
pub use codec::ExactCodec;
pub use contract::*;

/// The contract as a descriptor set with comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/twintier.protoset"));
