//! Requests that were built before: only the digits of keys and values are written into them.

use std::rc::Rc;

use crate::keys::{DIGITS, digits};

/// Stand-ins for digits in a template.
pub const KEY_MARK: &str = "########";
pub const VALUE_MARK: &[u8; DIGITS] = b"@@@@@@@@";

/// Bytes of a request with places for digits.
#[derive(Clone)]
pub struct Template(Rc<Parts>);

struct Parts {
    bytes: Vec<u8>,
    /// Places of the digits of each entry: in its key, and in its value.
    keys: Vec<usize>,
    values: Vec<usize>,
}

impl Template {
    pub fn new(bytes: Vec<u8>) -> Template {
        let keys = places(&bytes, KEY_MARK.as_bytes());
        let values = places(&bytes, VALUE_MARK);
        assert!(values.is_empty() || values.len() == keys.len(), "a value for each key or none");
        Template(Rc::new(Parts { bytes, keys, values }))
    }

    /// Appends the request for these keys.
    pub fn write(&self, keys: &[u32], output: &mut Vec<u8>) {
        let parts = &*self.0;
        assert_eq!(keys.len(), parts.keys.len(), "keys of a request");
        let start = output.len();
        output.extend_from_slice(&parts.bytes);
        for (index, key) in keys.iter().enumerate() {
            let digits = digits(*key);
            for place in [parts.keys.get(index), parts.values.get(index)].into_iter().flatten() {
                output[start + place..][..DIGITS].copy_from_slice(&digits);
            }
        }
    }
}

fn places(bytes: &[u8], mark: &[u8]) -> Vec<usize> {
    let found = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark);
    found.map(|(place, _)| place).collect()
}
