//! Binary format of the hot-key list in the shared store.
//!
//! Format 1, then for each key its Gets per second (f32), its namespace with its size (u8) and the
//! key with its size (u16). Numbers are big-endian. Damaged parts are left out.

use std::collections::HashMap;

use bytes::{BufMut as _, Bytes};

use crate::cache::stats::hot_keys::HotKey;

const FORMAT_VERSION: u8 = 1;
/// Most bytes of a list.
const MAX_LIST_BYTES: usize = 1 << 20;

/// A key of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedKey {
    /// Its namespace.
    pub namespace: Box<str>,
    /// The caller's bytes.
    pub key: Bytes,
    /// Gets per second.
    pub rate: f32,
}

impl From<HotKey> for ListedKey {
    fn from(hot: HotKey) -> ListedKey {
        let key = Bytes::copy_from_slice(hot.key.bytes());
        ListedKey { namespace: hot.key.namespace().name().into(), key, rate: hot.rate as f32 }
    }
}

/// Encodes a list, as far as there is room.
pub fn write(list: &[ListedKey]) -> Bytes {
    let mut bytes = vec![FORMAT_VERSION];
    for ListedKey { namespace, key, rate } in list {
        let size = 4 + 1 + namespace.len() + 2 + key.len();
        if bytes.len() + size > MAX_LIST_BYTES || key.len() > usize::from(u16::MAX) {
            continue;
        }
        bytes.put_f32(*rate);
        bytes.put_u8(namespace.len() as u8);
        bytes.put_slice(namespace.as_bytes());
        bytes.put_u16(key.len() as u16);
        bytes.put_slice(key);
    }
    bytes.into()
}

/// Decodes a list that is `half_lives` old.
pub fn read(bytes: &Bytes, half_lives: f64) -> Vec<ListedKey> {
    let mut list = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(&[FORMAT_VERSION]) else { return list };
    let faded = (-half_lives).exp2() as f32;
    while let Some((listed, after)) = read_one(bytes, rest) {
        rest = after;
        list.push(ListedKey { rate: listed.rate * faded, ..listed });
    }
    list
}

fn read_one<'a>(whole: &Bytes, rest: &'a [u8]) -> Option<(ListedKey, &'a [u8])> {
    let (rate, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first()?;
    let (namespace, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let namespace = std::str::from_utf8(namespace).ok()?.into();
    Some((ListedKey { namespace, key: whole.slice_ref(key), rate: f32::from_be_bytes(*rate) }, rest))
}

/// Returns the hottest keys of both lists, at most `limit`.
pub fn merge(own: Vec<ListedKey>, others: Vec<ListedKey>, limit: usize) -> Vec<ListedKey> {
    let mut merged: HashMap<(Box<str>, Bytes), f32> = HashMap::new();
    for ListedKey { namespace, key, rate } in own.into_iter().chain(others) {
        let known = merged.entry((namespace, key)).or_insert(0.0);
        *known = known.max(rate);
    }
    let mut merged: Vec<ListedKey> =
        merged.into_iter().map(|((namespace, key), rate)| ListedKey { namespace, key, rate }).collect();
    merged.sort_by(|one, other| other.rate.total_cmp(&one.rate));
    merged.truncate(limit);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(namespace: &str, key: &str, rate: f32) -> ListedKey {
        ListedKey { namespace: namespace.into(), key: Bytes::copy_from_slice(key.as_bytes()), rate }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_fades_with_its_age() {
        let list = vec![listed("default", "a", 8.0), listed("n", "", 2.0)];
        assert_eq!(read(&write(&list), 0.0), list);
        assert_eq!(read(&write(&list), 2.0)[0].rate, 2.0);
    }

    #[test]
    fn a_damaged_list_is_read_as_far_as_it_goes() {
        let whole = write(&[listed("default", "a", 8.0), listed("default", "b", 2.0)]);
        for length in 0..whole.len() {
            assert!(read(&whole.slice(..length), 0.0).len() <= 1, "{length}");
        }
        assert_eq!(read(&Bytes::from_static(b"\x02whatever"), 0.0), []);
        assert_eq!(read(&Bytes::new(), 0.0), []);
    }

    #[test]
    fn the_hottest_of_two_lists_are_kept_in_bounded_room() {
        let own = vec![listed("n", "a", 1.0), listed("n", "b", 5.0)];
        let others = vec![listed("n", "a", 3.0), listed("o", "a", 4.0), listed("n", "c", 0.5)];
        let merged = merge(own, others, 3);
        assert_eq!(merged, [listed("n", "b", 5.0), listed("o", "a", 4.0), listed("n", "a", 3.0)]);
        let long = "k".repeat(60_000);
        let many: Vec<_> = (0..100).map(|n| listed("n", &long, n as f32)).collect();
        assert!(write(&many).len() <= MAX_LIST_BYTES);
    }
}
