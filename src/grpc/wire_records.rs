//! Iterator over the fields of an encoded message, without decoding them.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Iterates over the fields of an encoded message: number, wire type, and payload if it has a
/// length.
///
/// Ends at the first malformed one.
pub struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (u32, WireType, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.0 = &[];
        }
        record
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Option<(u32, WireType, &'a [u8])> {
        let (number, wire) = decode_key(&mut self.0).ok()?;
        let payload = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                &[]
            }
            WireType::SixtyFourBit => self.skip(8)?,
            WireType::ThirtyTwoBit => self.skip(4)?,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                self.skip(length)?
            }
            WireType::StartGroup => self.skip_group()?,
            WireType::EndGroup => return None,
        };
        Some((number, wire, payload))
    }

    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(skipped)
    }

    /// Skips a group whose start has been read, and the groups inside it.
    fn skip_group(&mut self) -> Option<&'a [u8]> {
        let mut open = 1;
        while open > 0 {
            let (_, wire) = decode_key(&mut self.0).ok()?;
            match wire {
                WireType::Varint => _ = decode_varint(&mut self.0).ok()?,
                WireType::SixtyFourBit => _ = self.skip(8)?,
                WireType::ThirtyTwoBit => _ = self.skip(4)?,
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                    self.skip(length)?;
                }
                WireType::StartGroup => open += 1,
                WireType::EndGroup => open -= 1,
            }
        }
        Some(&[])
    }
}
