//! The message codec of the contract's services: prost, with buffers of the exact message size.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Initial size of the encoding buffer. A larger response reserves its exact size.
const INITIAL_BUFFER_BYTES: usize = 512;
/// Maximum size up to which messages of a stream are sent together.
const MAX_COALESCED_BYTES: usize = 32 << 10;

/// Encodes and decodes with prost.
///
/// A buffer that grows by doubling would take up to twice the size of a large value.
#[derive(Clone, Copy, Debug)]
pub struct ExactCodec<T, U>(PhantomData<(T, U)>);

/// Encodes messages.
#[derive(Clone, Copy, Debug)]
pub struct ExactEncoder<T>(PhantomData<T>);

/// Decodes messages.
#[derive(Clone, Copy, Debug)]
pub struct ExactDecoder<U>(PhantomData<U>);

impl<T, U> Default for ExactCodec<T, U> {
    fn default() -> Self {
        ExactCodec(PhantomData)
    }
}

impl<T, U> Codec for ExactCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ExactDecoder<U>;

    fn encoder(&mut self) -> ExactEncoder<T> {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ExactDecoder<U> {
        ExactDecoder(PhantomData)
    }
}

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(INITIAL_BUFFER_BYTES, MAX_COALESCED_BYTES)
    }
}

impl<U: Message + Default> Decoder for ExactDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // INTERNAL, as the gRPC specification requires: the server translates it.
        U::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        // Must not be 0: tonic divides by it when it decompresses a message.
        BufferSettings::new(1, MAX_COALESCED_BYTES)
    }
}
