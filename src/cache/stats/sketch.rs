//! Counts of the heaviest keys of a stream in bounded memory, with counts that fade.
//!
//! SpaceSaving (Metwally, Agrawal, El Abbadi, 2005) with forward decay (Cormode et al., 2009). A
//! new key in a full sketch replaces the lightest one and inherits its count. The inherited count
//! is kept as its error and subtracted from reported counts.

use std::collections::HashMap;
use std::time::Duration;

use crate::cache::clock::Moment;
use crate::cache::key::Key;

/// Time in which counts fade to 1/e of what they were.
pub const FADE_TIME: Duration = Duration::from_secs(30);
/// Multiple of the fade time after which weights are scaled back: well within the range of a
/// double.
const RESCALE_AFTER: f64 = 64.0;
/// Faded counts below this are not reported.
const MIN_REPORTED_COUNT: f64 = 0.05;

/// Counts of the heaviest keys.
pub struct Sketch {
    /// A heap, the lightest key first.
    slots: Vec<SketchSlot>,
    /// Index of each key in the heap.
    indexes: HashMap<Key, usize>,
    capacity: usize,
    started_at: Moment,
    /// The moment relative to which weights are scaled.
    landmark: Moment,
}

struct SketchSlot {
    key: Key,
    weight: f64,
    error: f64,
}

/// A hot key.
#[derive(Clone, Debug)]
pub struct HotKey {
    /// The key.
    pub key: Key,
    /// Estimate of recent Gets per second, rather too low than too high.
    pub rate: f64,
}

// === impl Sketch ===

impl Sketch {
    /// Creates a sketch for `capacity` keys.
    pub fn new(capacity: usize, now: Moment) -> Sketch {
        let capacity = capacity.max(1);
        Sketch { slots: Vec::new(), indexes: HashMap::new(), capacity, started_at: now, landmark: now }
    }

    /// Adds `weight` to the count of `key`.
    pub fn add(&mut self, key: Key, weight: f64, now: Moment) {
        let weight = weight * self.scale(now);
        let index = match self.indexes.get(&key) {
            Some(index) => *index,
            None if self.slots.len() < self.capacity => {
                self.slots.push(SketchSlot { key: key.clone(), weight: 0.0, error: 0.0 });
                self.indexes.insert(key, self.slots.len() - 1);
                self.sift_up(self.slots.len() - 1)
            }
            None => {
                let lightest = &mut self.slots[0];
                lightest.error = lightest.weight;
                let gone = std::mem::replace(&mut lightest.key, key.clone());
                self.indexes.remove(&gone);
                self.indexes.insert(key, 0);
                0
            }
        };
        self.slots[index].weight += weight;
        self.sift_down(index);
    }

    /// Returns every key with its rate per second, unordered.
    pub fn rates(&mut self, now: Moment) -> Vec<HotKey> {
        let scale = self.scale(now);
        let age = now.since(self.started_at).as_secs_f64().max(1.0);
        // The count that a steady stream of one per second would reach.
        let one_a_second = FADE_TIME.as_secs_f64() * -(-age / FADE_TIME.as_secs_f64()).exp_m1();
        let count = |slot: &SketchSlot| (slot.weight - slot.error) / scale;
        let seen = self.slots.iter().filter(|slot| count(slot) >= MIN_REPORTED_COUNT);
        seen.map(|slot| HotKey { key: slot.key.clone(), rate: count(slot) / one_a_second }).collect()
    }

    /// Returns the current weight of a count of one.
    fn scale(&mut self, now: Moment) -> f64 {
        let times = now.since(self.landmark).as_secs_f64() / FADE_TIME.as_secs_f64();
        if times < RESCALE_AFTER {
            return times.exp();
        }
        let faded = (-times).exp();
        for slot in &mut self.slots {
            slot.weight *= faded;
            slot.error *= faded;
        }
        self.landmark = now;
        1.0
    }

    /// Moves a slot towards the root while it is lighter than its parent. Returns its new index.
    fn sift_up(&mut self, mut index: usize) -> usize {
        while index > 0 && self.slots[index].weight < self.slots[(index - 1) / 2].weight {
            self.swap(index, (index - 1) / 2);
            index = (index - 1) / 2;
        }
        index
    }

    /// Moves a slot away from the root while it is heavier than a child.
    fn sift_down(&mut self, mut index: usize) {
        loop {
            let children = (2 * index + 1)..(2 * index + 3).min(self.slots.len()).max(2 * index + 1);
            let weight = |index: &usize| self.slots[*index].weight;
            let lightest = children.min_by(|one, other| weight(one).total_cmp(&weight(other)));
            match lightest.filter(|child| weight(child) < self.slots[index].weight) {
                Some(child) => {
                    self.swap(index, child);
                    index = child;
                }
                None => return,
            }
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.slots.swap(one, other);
        for index in [one, other] {
            if let Some(known) = self.indexes.get_mut(&self.slots[index].key) {
                *known = index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::key::KeyRef;
    use crate::cache::namespace::Namespace;
    use crate::cache::policy::NamespacePolicy;

    const START: Moment = Moment(1_000_000_000);

    fn namespace() -> Arc<Namespace> {
        Arc::new(Namespace::new("n", 0, NamespacePolicy::default(), 4))
    }

    fn rates(sketch: &mut Sketch, now: Moment) -> Vec<(String, f64)> {
        let mut rates: Vec<_> = sketch.rates(now).into_iter().map(|hot| (format!("{:?}", hot.key), hot.rate)).collect();
        rates.sort_by(|one, other| other.1.total_cmp(&one.1));
        rates
    }

    #[test]
    fn the_heavy_keys_are_found_among_many_light_ones_in_bounded_room() {
        let (namespace, mut sketch) = (namespace(), Sketch::new(50, START));
        let mut now = START;
        for n in 0..200_000u32 {
            // Five keys take half of the stream, 50,000 others the rest.
            let name = if n.is_multiple_of(2) { format!("hot{}", n / 2 % 5) } else { format!("cold{}", n % 50_000) };
            sketch.add(KeyRef::new(&namespace, name.as_bytes()).to_key(), 1.0, now);
            now = now.plus(Duration::from_micros(100));
        }
        assert!(sketch.slots.len() == 50 && sketch.indexes.len() == 50);
        let rates = rates(&mut sketch, now);
        assert!(
            rates[..5].iter().all(|(key, rate)| key.starts_with("n/hot") && (900.0..=1001.0).contains(rate)),
            "{rates:?}"
        );
        assert!(rates[5..].iter().all(|(_, rate)| *rate < 50.0), "{rates:?}");
        let in_order = |index: usize| index == 0 || sketch.slots[(index - 1) / 2].weight <= sketch.slots[index].weight;
        assert!(
            (0..50).all(in_order) && sketch.slots.iter().enumerate().all(|(at, slot)| sketch.indexes[&slot.key] == at)
        );
    }

    #[test]
    fn counts_fade_and_are_forgotten() {
        let (namespace, mut sketch) = (namespace(), Sketch::new(10, START));
        let key = KeyRef::new(&namespace, b"k").to_key();
        let mut now = START;
        for _ in 0..10_000 {
            sketch.add(key.clone(), 1.0, now);
            now = now.plus(Duration::from_millis(10));
        }
        let steady = rates(&mut sketch, now)[0].1;
        assert!((95.0..=105.0).contains(&steady), "{steady}");
        let later = rates(&mut sketch, now.plus(FADE_TIME))[0].1;
        assert!((later / steady - (-1.0f64).exp()).abs() < 0.05, "{later}");
        assert_eq!(rates(&mut sketch, now.plus(20 * FADE_TIME)), []);
        // Far beyond the point of rescaling.
        now = now.plus(1000 * FADE_TIME);
        sketch.add(key, 3.0, now);
        let anew = rates(&mut sketch, now)[0].1;
        assert!((anew - 3.0 / FADE_TIME.as_secs_f64()).abs() < 0.01, "{anew}");
    }
}
