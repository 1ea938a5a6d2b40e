//! Encodes the answer to a Set straight into the frame of its response.

use bytes::{BufMut, Bytes};

use crate::cache::tiered::SetAnswer;
use crate::grpc::convert;
use crate::grpc::request_body::PREFIX_BYTES;
use crate::grpc::wire_fields::{MAX_TOKEN_BYTES, field_size, head_size, put_bytes, put_number, put_version, written};

/// Numbers of the fields of `SetResponse`.
const OUTCOME: u32 = 1;
const VERSION: u32 = 2;
const TOKEN: u32 = 3;

/// Encodes a `SetResponse` with the prefix of a message that is not compressed.
///
/// The request had no tokens.
pub(super) fn encode(answer: &SetAnswer, partitions: u16) -> Bytes {
    let mut space = [0; MAX_TOKEN_BYTES];
    let version = answer.version.map_or(&[][..], |version| written(&mut space, |to| put_version(version, to)));
    let (outcome, token) =
        (convert::set_outcome(answer.outcome) as usize, convert::token_text(&answer.token, partitions));
    let texts = [(VERSION, version), (TOKEN, token.as_bytes())].into_iter().filter(|(_, text)| !text.is_empty());
    let size = head_size(outcome) + texts.clone().map(|(_, text)| field_size(text.len())).sum::<usize>();
    let mut frame = Vec::with_capacity(PREFIX_BYTES + size);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    put_number(OUTCOME, outcome as u64, &mut frame);
    texts.for_each(|(field, text)| put_bytes(field, text, &mut frame));
    frame.into()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::cache::tiered::SetOutcome;
    use crate::cache::token::Token;
    use crate::cache::version::Version;

    #[test]
    fn a_frame_is_what_the_generated_message_encodes_to() {
        let (version, largest) = (Version::new(1_763_000_000_000_000, 42), Version::new(u64::MAX, u64::MAX));
        let stored = SetAnswer { outcome: SetOutcome::Stored, version: Some(version), token: Token::at(63, version) };
        let answers = [
            SetAnswer { version: Some(largest), ..stored.clone() },
            SetAnswer { version: Some(largest), token: Token::at(u16::MAX, largest), ..stored.clone() },
            SetAnswer { token: Token::default(), ..stored.clone() },
            SetAnswer { outcome: SetOutcome::Disabled, version: None, token: Token::default() },
            SetAnswer { outcome: SetOutcome::AlreadyPresent, ..stored.clone() },
            stored,
        ];
        for (index, answer) in answers.into_iter().enumerate() {
            let message = convert::set_response(answer.clone(), Token::default(), 64).encode_to_vec();
            let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
            assert_eq!(encode(&answer, 64), [&[0][..], &length, &message].concat(), "answer {index}");
        }
    }
}
