//! Keys and values of the load, and the order in which keys are requested.

use crate::plan::{BATCH, Keys};

/// Bytes of a key.
pub const KEY: usize = 30;
/// Digits at the end of a key and at the beginning of its value.
pub const DIGITS: usize = 8;
/// Exponent of the zipfian distribution.
const SKEW: f64 = 0.99;
/// Keys that are drawn before a run. They repeat after that.
const DRAWN: usize = 1 << 20;

/// Everything of a key before its digits. Entries of each size have keys of their own.
pub fn prefix(size: usize) -> String {
    let prefix = format!("bench-{size:05}-30-bytes::");
    assert_eq!(prefix.len() + DIGITS, KEY, "the length of keys");
    prefix
}

/// Value of a key.
pub fn value(key: u32, size: usize) -> Vec<u8> {
    let mut value: Vec<u8> = (0..size).map(|at| b'a' + (at * 7 % 26) as u8).collect();
    value[..DIGITS].copy_from_slice(&digits(key));
    value
}

pub fn digits(mut number: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Endless sequence of keys.
pub struct Sequence {
    drawn: Vec<u32>,
    at: usize,
    /// Number of keys.
    keys: u32,
}

impl Sequence {
    pub fn new(kind: Keys, keys: u32, seed: u64) -> Sequence {
        let mut random = Random(seed | 1);
        let drawn = match kind {
            Keys::InOrder => (0..keys).collect(),
            Keys::Uniform => (0..DRAWN).map(|_| (random.share() * f64::from(keys)) as u32).collect(),
            Keys::Zipfian => zipfian(keys, &mut random),
        };
        Sequence { drawn, at: 0, keys }
    }

    /// Fills `keys` with the next one, or with the next ones of a batch.
    pub fn next(&mut self, entries: usize, keys: &mut Vec<u32>) {
        keys.clear();
        for _ in 0..entries {
            keys.push(self.drawn[self.at]);
            self.at = (self.at + 1) % self.drawn.len();
        }
    }

    /// Fills `keys` with different ones: neighbours of the next one.
    pub fn next_distinct(&mut self, keys: &mut Vec<u32>) {
        self.next(1, keys);
        let first = keys[0];
        keys.extend((1..BATCH as u32).map(|step| (first + step) % self.keys));
        // A sequence in order goes on behind them.
        self.at = (self.at + BATCH - 1) % self.drawn.len();
    }
}

/// Keys whose frequencies fall with their rank. Neighbours in rank are far apart.
fn zipfian(keys: u32, random: &mut Random) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += f64::from(rank).powf(-SKEW);
            sum
        })
        .collect();
    let drawn = (0..DRAWN).map(|_| {
        let share = random.share() * sum;
        let rank = sums.partition_point(|sum| *sum < share) as u64;
        // A prime that divides no number of keys here: each rank has a key of its own.
        (rank * 48_271 % u64::from(keys)) as u32
    });
    drawn.collect()
}

/// Generator xorshift64*: the same sequence in every run.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}
