//! Entries of one call of an import, each with the number of its line.

use std::collections::HashSet;

use prost::Message as _;

use crate::cli::error::CliError;
use crate::pb;

/// Bytes at which a call is full: well below the smallest limit of a service.
const FULL: usize = 1 << 20;

/// Entries of one namespace, with different keys.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// First line: identifies the chunk.
    pub first: u64,
    pub namespace: String,
    /// Number of the line, and the entry.
    pub items: Vec<(u64, pb::SetRequest)>,
    keys: HashSet<String>,
    bytes: usize,
}

// === impl Chunk ===

impl Chunk {
    /// Creates a chunk with the entry of one line.
    pub fn new(namespace: &str, number: u64, item: pb::SetRequest) -> Chunk {
        let mut chunk = Chunk { first: number, namespace: namespace.to_owned(), ..Chunk::default() };
        chunk.add(number, item);
        chunk
    }

    /// Adds the entry of a line.
    pub fn add(&mut self, number: u64, item: pb::SetRequest) {
        self.bytes += item.encoded_len();
        self.keys.insert(item.key.clone());
        self.items.push((number, item));
    }

    /// Returns true if the entry has to be in a later call: this one is full, or has its key.
    pub fn is_closed_to(&self, item: &pb::SetRequest, most: usize) -> bool {
        self.items.len() >= most || self.bytes + item.encoded_len() > FULL || self.keys.contains(&item.key)
    }

    /// Returns the request.
    pub fn request(&self) -> pb::BatchSetRequest {
        let items = self.items.iter().map(|(_, item)| item.clone()).collect();
        pb::BatchSetRequest { namespace: self.namespace.clone(), items, ..Default::default() }
    }

    /// Removes the entries that a failed call rejects. Returns the line and the reason of each.
    pub fn take_rejected(&mut self, failure: &CliError) -> Vec<(u64, String)> {
        let mut rejected: Vec<(usize, String)> = Vec::new();
        for (field, rule) in failure.violations() {
            let index = field.strip_prefix("items[").and_then(|rest| rest.split_once(']'));
            let Some((index, field)) = index.and_then(|(index, field)| Some((index.parse().ok()?, field))) else {
                continue;
            };
            let why = format!("{} {rule}", field.trim_start_matches('.'));
            match rejected.iter_mut().find(|(other, _)| *other == index) {
                Some((_, reasons)) => *reasons += &format!("; {why}"),
                None => rejected.push((index, why)),
            }
        }
        rejected.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
        rejected.retain(|(index, _)| *index < self.items.len());
        let mut lines: Vec<_> = rejected.into_iter().map(|(index, why)| (self.items.remove(index).0, why)).collect();
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

    use super::*;
    use crate::cli::credential_args::Encryption;

    fn item(key: &str) -> pb::SetRequest {
        pb::SetRequest { key: key.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_key_is_in_a_chunk_once() {
        let mut chunk = Chunk::new("n", 1, item("a"));
        chunk.add(2, item("b"));
        assert!(chunk.is_closed_to(&item("a"), 10) && chunk.is_closed_to(&item("c"), 2));
        assert!(!chunk.is_closed_to(&item("c"), 3));
        let large = pb::set_request::Content::Value(vec![0; FULL].into());
        assert!(chunk.is_closed_to(&pb::SetRequest { content: Some(large), ..item("c") }, 10));
    }

    #[test]
    fn rejected_items_leave_with_the_numbers_of_their_lines() {
        let mut chunk = Chunk::new("n", 5, item("a"));
        chunk.add(7, item("b"));
        chunk.add(8, item("c"));
        let violation = |field: &str, rule: &str| FieldViolation::new(field, rule);
        let details = ErrorDetails::with_bad_request(vec![
            violation("items[2].ttl", "must be at most 30d (max_ttl); was 40d"),
            violation("items[0].key", "must not be empty"),
            violation("items[2].tags", "must be at most 16 tags; was 17 tags"),
            violation("items[9].key", "is of another call"),
            violation("namespace", "must be short"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "bad", details).into();
        let failure = CliError::Call { server: String::new(), encryption: Encryption::Plain, status };
        let both = "ttl must be at most 30d (max_ttl); was 40d; tags must be at most 16 tags; was 17 tags";
        let expected = [(5, "key must not be empty".to_owned()), (8, both.to_owned())];
        assert_eq!(chunk.take_rejected(&failure), expected);
        assert_eq!(chunk.request().items, [item("b")]);
    }
}
