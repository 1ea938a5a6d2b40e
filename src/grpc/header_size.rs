//! The size of an answer's headers and trailers: at most 4 KiB, whatever was sent. Clients and proxies refuse more than 8 KiB, and some then lose
//! the whole connection.

use http::{HeaderMap, HeaderName};
use tonic::Status;

use crate::cache::error::{Violation, Violations};

/// Largest size of what states a status: three headers. HTTP/2 counts names, values, and 32 bytes for each. The other headers of an answer,
/// with a request id at its limit, have less than 384 bytes.
const STATUS_SIZE: usize = 4096 - 384;
/// Largest `grpc-message`, percent-encoded.
const MESSAGE_SIZE: usize = 640;
/// Largest size of "; … and N more", percent-encoded.
const MORE_SIZE: usize = 64;
/// Largest `grpc-status-details-bin`, in base64. With the message that is below [`STATUS_SIZE`].
const DETAILS_SIZE: usize = 2900;
/// Bytes of the details before base64 that are not violations: code, types, ErrorInfo.
const DETAILS_OVERHEAD: usize = 256;
/// Bytes of a violation in the details beside its texts.
const VIOLATION_OVERHEAD: usize = 12;
/// Longest field and description of one violation, bytes. Their quotations are shorter; this holds for what is not quoted.
const FIELD_SIZE: usize = 160;
const DESCRIPTION_SIZE: usize = 400;

const ELLIPSIS: char = '…';

/// Returns a status message, cut to what fits.
pub fn message(text: &str) -> String {
    cut(text, MESSAGE_SIZE, encoded_size)
}

/// Returns the status message of an invalid request: the violations that fit, and the number of the others. Its details have more of them.
pub fn summary(violations: &Violations) -> String {
    let mut summary = "invalid request: ".to_owned();
    let named = violations.named();
    let total = named.len() + violations.unnamed();
    for (index, Violation { field, description }) in named.iter().enumerate() {
        let violation = format!("{field} {description}");
        if index == 0 {
            summary = cut(&(summary + &violation), MESSAGE_SIZE - MORE_SIZE, encoded_size);
            continue;
        }
        let rest = and_more(total - index);
        let longer = format!("{summary}; {violation}");
        if encoded_sum(&longer) + encoded_sum("; ") + encoded_sum(&rest) > MESSAGE_SIZE {
            return format!("{summary}; {rest}");
        }
        summary = longer;
    }
    // There is room: it was kept for a larger number.
    if violations.unnamed() > 0 { format!("{summary}; {}", and_more(violations.unnamed())) } else { summary }
}

/// Returns the violations for the details of a status with this message: those that fit, and the number of the others as the last.
pub fn fitting(violations: &Violations, message: &str) -> Vec<Violation> {
    let named = violations.named();
    let total = named.len() + violations.unnamed();
    let mut room = (DETAILS_SIZE / 4 * 3).saturating_sub(DETAILS_OVERHEAD + message.len());
    let mut fitting = Vec::new();
    for Violation { field, description } in named {
        let violation =
            Violation::new(cut(field, FIELD_SIZE, char::len_utf8), cut(description, DESCRIPTION_SIZE, char::len_utf8));
        let size = violation.field.len() + violation.description.len() + VIOLATION_OVERHEAD;
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

/// Cuts a status in `headers` that is too large: one that was not made here. Its details go, its message is shortened.
pub fn limit(headers: &mut HeaderMap) {
    let names = [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS];
    let entry = |name: HeaderName| headers.get(&name).map_or(0, |value| name.as_str().len() + value.len() + 32);
    if names.map(entry).iter().sum::<usize>() <= STATUS_SIZE {
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

/// Cuts `text` at a character so that it has at most `limit` bytes with its ellipsis, as `size` counts them.
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

/// Size of a character in a `grpc-message`, where all but plain ASCII is percent-encoded.
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
    fn a_status_of_others_is_cut() {
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
        for size in [MESSAGE_SIZE - 10, MESSAGE_SIZE - 9, MESSAGE_SIZE] {
            assert_eq!(message(&"x".repeat(size)), "x".repeat(size));
        }
        assert_eq!(message(&"x".repeat(MESSAGE_SIZE + 1)), format!("{}…", "x".repeat(MESSAGE_SIZE - 9)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_status_fits_whatever_its_violations(texts in prop::collection::vec((".{0,200}", ".{0,500}"), 1..40)) {
            let violations = texts.into_iter().map(|(field, description)| Violation::new(field, description)).collect();
            let refusal = status(&CacheError::Invalid(violations));
            let headers = headers(&refusal);
            prop_assert!(headers["grpc-message"].len() <= MESSAGE_SIZE);
            prop_assert!(headers["grpc-status-details-bin"].len() <= DETAILS_SIZE);
            prop_assert!(size(&headers) <= STATUS_SIZE, "{}", size(&headers));
        }
    }
}
