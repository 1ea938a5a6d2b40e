//! Limits the headers and trailers of a response to 4 KiB.
//!
//! Clients and proxies reject more than 8 KiB, and some then close the whole connection.

use http::{HeaderMap, HeaderName};
use tonic::Status;

use crate::cache::error::{Violation, Violations};

/// Maximum size of the three status headers.
///
/// HTTP/2 counts names, values, and 32 bytes for each. The other headers of a response, with a
/// request id at its limit, have less than 384 bytes.
const MAX_STATUS_BYTES: usize = 4096 - 384;
/// Maximum size of `grpc-message`, percent-encoded.
const MAX_MESSAGE_BYTES: usize = 640;
/// Maximum size of "; … and N more", percent-encoded.
const MAX_MORE_BYTES: usize = 64;
/// Maximum size of `grpc-status-details-bin`, in base64.
///
/// Together with the message it is below [`MAX_STATUS_BYTES`].
const MAX_DETAILS_BYTES: usize = 2900;
/// Bytes of the details before base64 without violations: code, types, ErrorInfo.
const DETAILS_OVERHEAD_BYTES: usize = 256;
/// Bytes of a violation in the details without its texts.
const VIOLATION_OVERHEAD_BYTES: usize = 12;
/// Maximum length of the field of one violation. Quoted parts are shorter; this limits the rest.
const MAX_FIELD_BYTES: usize = 160;
const MAX_DESCRIPTION_BYTES: usize = 400;

const ELLIPSIS: char = '…';

/// Returns a status message, truncated to the limit.
pub fn message(text: &str) -> String {
    cut(text, MAX_MESSAGE_BYTES, encoded_size)
}

/// Returns the status message of an invalid request: the violations that fit, and the number of the
/// others.
///
/// The details contain more of them.
pub fn summary(violations: &Violations) -> String {
    let mut summary = "invalid request: ".to_owned();
    let named = violations.named();
    let total = named.len() + violations.unnamed();
    for (index, Violation { field, description }) in named.iter().enumerate() {
        let violation = format!("{field} {description}");
        if index == 0 {
            summary = cut(&(summary + &violation), MAX_MESSAGE_BYTES - MAX_MORE_BYTES, encoded_size);
            continue;
        }
        let rest = and_more(total - index);
        let longer = format!("{summary}; {violation}");
        if encoded_sum(&longer) + encoded_sum("; ") + encoded_sum(&rest) > MAX_MESSAGE_BYTES {
            return format!("{summary}; {rest}");
        }
        summary = longer;
    }
    // There is room: it was reserved for a larger number.
    if violations.unnamed() > 0 { format!("{summary}; {}", and_more(violations.unnamed())) } else { summary }
}

/// Returns the violations for the details of a status with this message: those that fit, and the
/// number of the others as the last.
pub fn fitting(violations: &Violations, message: &str) -> Vec<Violation> {
    let named = violations.named();
    let total = named.len() + violations.unnamed();
    let mut room = (MAX_DETAILS_BYTES / 4 * 3).saturating_sub(DETAILS_OVERHEAD_BYTES + message.len());
    let mut fitting = Vec::new();
    for Violation { field, description } in named {
        let violation = Violation::new(
            cut(field, MAX_FIELD_BYTES, char::len_utf8),
            cut(description, MAX_DESCRIPTION_BYTES, char::len_utf8),
        );
        let size = violation.field.len() + violation.description.len() + VIOLATION_OVERHEAD_BYTES;
        if size > room {
            break;
        }
        room -= size;
        fitting.push(violation);
    }
    if fitting.len() < total {
        fitting.push(Violation::new("", and_more(total - fitting.len())));
    }
    fitting
}

/// Truncates a status in `headers` that is too large, such as one of tonic: removes its details and
/// shortens its message.
pub fn limit(headers: &mut HeaderMap) {
    let names = [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS];
    let entry = |name: HeaderName| headers.get(&name).map_or(0, |value| name.as_str().len() + value.len() + 32);
    if names.map(entry).iter().sum::<usize>() <= MAX_STATUS_BYTES {
        return;
    }
    headers.remove(Status::GRPC_STATUS_DETAILS);
    if let Some(status) = Status::from_header_map(headers) {
        // The encoder takes any text.
        let _ = Status::new(status.code(), message(status.message())).add_header(headers);
    }
}

fn and_more(count: usize) -> String {
    format!("{ELLIPSIS} and {count} more")
}

/// Truncates `text` so that it has at most `limit` bytes with its ellipsis, as `size` counts them.
fn cut(text: &str, limit: usize, size: impl Fn(char) -> usize) -> String {
    let room = limit - size(ELLIPSIS);
    let (mut used, mut end) = (0, None);
    for (index, character) in text.char_indices() {
        used += size(character);
        if used <= room {
            continue;
        }
        end.get_or_insert(index);
        if used > limit {
            return format!("{}{ELLIPSIS}", &text[..end.unwrap_or(index)]);
        }
    }
    text.to_owned()
}

fn encoded_sum(text: &str) -> usize {
    text.chars().map(encoded_size).sum()
}

/// Returns the size of a character in a `grpc-message`, where all but plain ASCII is
/// percent-encoded.
fn encoded_size(character: char) -> usize {
    if character.is_ascii_graphic() && !"\"#%<>`?{}".contains(character) { 1 } else { 3 * character.len_utf8() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::error::CacheError;
    use crate::grpc::status::status;
    use proptest::prelude::*;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    fn size(headers: &HeaderMap) -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    fn headers(status: &Status) -> HeaderMap {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).expect("text");
        headers
    }

    fn violations(count: usize) -> Violations {
        (0..count).map(|index| Violation::new(format!("items[{index}].ttl"), "must be at most 30 days")).collect()
    }

    #[test]
    fn violations_beyond_the_limit_are_counted_in_the_message_and_in_the_details() {
        for total in [1, 5, 20, 32, 33, 5000] {
            let refusal = status(&CacheError::Invalid(violations(total)));
            let said = refusal.message().to_owned();
            let named = said.matches("must be").count();
            let fields = refusal.get_error_details().bad_request().expect("BadRequest").field_violations.clone();
            let listed = fields.iter().filter(|violation| !violation.field.is_empty()).count();
            let more = |named: usize| format!("… and {} more", total - named);
            assert_eq!(said.ends_with(&more(named)), named < total, "{said}");
            assert_eq!(fields.last().expect("one").description == more(listed), listed < total, "{fields:?}");
            assert!(named >= total.min(4) && listed >= total.min(12), "{total}: {named} named, {listed} listed");
        }
    }

    #[test]
    fn a_foreign_status_is_truncated() {
        let mut trailers = headers(&Status::with_details(Code::NotFound, "é%".repeat(9000), vec![1; 9000].into()));
        limit(&mut trailers);
        let status = Status::from_header_map(&trailers).expect("a status");
        assert_eq!((status.code(), status.details().len()), (Code::NotFound, 0));
        assert!(status.message().starts_with("é%é%") && status.message().ends_with('…'), "{status:?}");
        assert!(size(&trailers) < 1000);
        let small = headers(&Status::not_found("x".repeat(3000)));
        let mut same = small.clone();
        limit(&mut same);
        assert_eq!(same, small);
    }

    #[test]
    fn a_text_at_its_limit_stays_whole() {
        for size in [MAX_MESSAGE_BYTES - 10, MAX_MESSAGE_BYTES - 9, MAX_MESSAGE_BYTES] {
            assert_eq!(message(&"x".repeat(size)), "x".repeat(size));
        }
        assert_eq!(message(&"x".repeat(MAX_MESSAGE_BYTES + 1)), format!("{}…", "x".repeat(MAX_MESSAGE_BYTES - 9)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_status_fits_for_any_violations(texts in prop::collection::vec((".{0,200}", ".{0,500}"), 1..40)) {
            let violations = texts.into_iter().map(|(field, description)| Violation::new(field, description)).collect();
            let refusal = status(&CacheError::Invalid(violations));
            let headers = headers(&refusal);
            prop_assert!(headers["grpc-message"].len() <= MAX_MESSAGE_BYTES);
            prop_assert!(headers["grpc-status-details-bin"].len() <= MAX_DETAILS_BYTES);
            prop_assert!(size(&headers) <= MAX_STATUS_BYTES, "{}", size(&headers));
        }
    }
}
