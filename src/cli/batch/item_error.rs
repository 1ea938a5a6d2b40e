//! Error of one item of a batch: as text, for programs, and as an exit code.

use serde_json::{Map, Value};
use tonic::Code;

use crate::cli::{error, units};
use crate::pb;

/// Formats the error of an item as text.
pub(super) fn words(error: &pb::ItemError) -> String {
    let retry = error.retry_delay.map(|delay| format!("; retry after {}", units::duration(units::from_wire(delay))));
    let unknown = |unknown| format!("; may still take effect for {}", units::duration(units::from_wire(unknown)));
    let unknown = error.outcome_unknown_for.map(unknown).unwrap_or_default();
    format!("{}: {}{unknown}{}", error::code_name(Code::from(error.code)), error.message, retry.unwrap_or_default())
}

/// Formats the error of an item for programs.
pub(super) fn put_error(document: &mut Map<String, Value>, error: &pb::ItemError) {
    document.insert("code".to_owned(), error::code_name(Code::from(error.code)).into());
    document.insert("error".to_owned(), error.message.as_str().into());
    document.insert("retry_delay_seconds".to_owned(), units::wire_seconds(error.retry_delay));
    document.insert("outcome_unknown_for_seconds".to_owned(), units::wire_seconds(error.outcome_unknown_for));
}

/// Returns the exit code of an item's error, as if the call had failed with it.
pub(super) fn exit(error: &pb::ItemError) -> u8 {
    match Code::from(error.code) {
        Code::Unavailable | Code::DeadlineExceeded => 3,
        _ => 4,
    }
}
