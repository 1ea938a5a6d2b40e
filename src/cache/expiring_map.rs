//! A bounded map whose values expire. A full map drops the values that expire first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::clock::Moment;

/// A bounded map whose values expire.
pub struct ExpiringMap<K, V> {
    values: HashMap<K, (V, Moment)>,
    limit: usize,
}

impl<K: Hash + Eq, V> ExpiringMap<K, V> {
    /// Creates a map for at most `limit` values.
    pub fn new(limit: usize) -> Self {
        ExpiringMap { values: HashMap::new(), limit }
    }

    /// Inserts a value that expires at `until`.
    pub fn insert(&mut self, key: K, value: V, until: Moment, now: Moment) {
        if self.values.len() >= self.limit && !self.values.contains_key(&key) {
            self.make_room(now);
        }
        self.values.insert(key, (value, until));
    }

    /// Returns the value of `key`, and when it expires.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Moment) -> Option<(&V, Moment)>
    where
        K: Borrow<Q>,
    {
        self.values.get(key).filter(|(_, until)| now < *until).map(|(value, until)| (value, *until))
    }

    /// Removes `key`.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.values.remove(key);
    }

    /// Removes all values except those for which `keeps` returns true.
    pub fn retain(&mut self, mut keeps: impl FnMut(&K, &V) -> bool) {
        self.values.retain(|key, (value, _)| keeps(key, value));
    }

    /// Removes expired values. If none has expired, removes the half that expires first.
    fn make_room(&mut self, now: Moment) {
        self.values.retain(|_, (_, until)| now < *until);
        if self.values.len() >= self.limit {
            let mut ends: Vec<Moment> = self.values.values().map(|(_, until)| *until).collect();
            let middle = ends.len() / 2;
            let (_, median, _) = ends.select_nth_unstable(middle);
            let median = *median;
            self.values.retain(|_, (_, until)| *until > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_value_is_forgotten_after_its_time() {
        let (mut remembered, now) = (ExpiringMap::new(8), Moment(1_000));
        remembered.insert("a", 1, now.plus(Duration::from_secs(1)), now);
        assert_eq!(remembered.get("a", now).map(|(value, _)| *value), Some(1));
        assert!(remembered.get("a", now.plus(Duration::from_secs(1))).is_none());
        remembered.remove("a");
        assert!(remembered.get("a", now).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut remembered, now) = (ExpiringMap::new(8), Moment(1_000));
        for n in 0..1_000u64 {
            remembered.insert(n, n, now.plus(Duration::from_secs(n + 1)), now);
        }
        assert!(remembered.values.len() <= 8);
        assert!(remembered.get(&999, now).is_some(), "what ends last is kept");
        for n in 0..1_000u64 {
            remembered.insert(n, n, now.plus(Duration::from_secs(1)), now);
        }
        assert!(remembered.values.len() <= 8, "when all end together");
    }
}
