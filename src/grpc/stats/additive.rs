//! `Additive`: sums of Stats over the replicas of a fleet.

use crate::pb;

/// Numbers that can be added over replicas.
pub trait Additive {
    /// Adds the numbers of another replica.
    fn add(&mut self, other: &Self);
}

impl<T: Additive + Clone> Additive for Option<T> {
    fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Some(mine), Some(other)) => mine.add(other),
            (None, Some(other)) => *self = Some(other.clone()),
            (_, None) => {}
        }
    }
}

/// Matches namespaces by name. An unknown one is inserted.
impl Additive for Vec<pb::NamespaceStats> {
    fn add(&mut self, other: &Self) {
        for namespace in other {
            match self.binary_search_by(|mine| mine.namespace.cmp(&namespace.namespace)) {
                Ok(index) => self[index].add(namespace),
                Err(index) => self.insert(index, namespace.clone()),
            }
        }
    }
}
