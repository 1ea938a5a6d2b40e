//! Requests that wait for one server and travel together.
//!
//! A request that finds fewer trips under way than allowed is sent at once. What arrives while all
//! trips are under way makes the next one: nothing waits at low load, and a batch grows with the load.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;

/// Limits of the trips to one server.
#[derive(Clone, Copy, Debug)]
pub struct TripLimits {
    /// Most trips under way.
    pub trips: usize,
    /// Most requests of a trip.
    pub requests: usize,
    /// Most bytes of a trip. One request may be larger, and then travels alone.
    pub bytes: usize,
}

/// Queue of the requests to one server.
///
/// It has no limit of its own: a caller that adds a request holds a place in flight.
pub struct Batcher<T> {
    queue: Mutex<Queue<T>>,
    limits: TripLimits,
}

struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    trips: usize,
}

/// The right to make one trip after another, until nothing waits.
pub struct Trips<T> {
    batcher: Arc<Batcher<T>>,
    ended: bool,
}

// === impl Batcher ===

impl<T> Batcher<T> {
    /// Creates an empty queue.
    pub fn new(limits: TripLimits) -> Arc<Batcher<T>> {
        Arc::new(Batcher { queue: Mutex::new(Queue { waiting: VecDeque::new(), trips: 0 }), limits })
    }

    /// Adds a request of about `bytes` bytes.
    ///
    /// Returns trips if the caller has to make them, in a task of its own.
    #[must_use]
    pub fn add(self: &Arc<Self>, request: T, bytes: usize) -> Option<Trips<T>> {
        let mut queue = self.queue.lock();
        queue.waiting.push_back((request, bytes));
        if queue.trips == self.limits.trips {
            return None;
        }
        queue.trips += 1;
        Some(Trips { batcher: self.clone(), ended: false })
    }
}

// === impl Trips ===

impl<T> Trips<T> {
    /// The requests of the next trip, in the order of their arrival. `None` ends the trips.
    pub fn next(&mut self) -> Option<Vec<T>> {
        let Batcher { queue, limits } = &*self.batcher;
        let mut queue = queue.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((_, size)) = queue.waiting.front() {
            bytes += size;
            if !batch.is_empty() && (bytes > limits.bytes || batch.len() == limits.requests) {
                break;
            }
            batch.extend(queue.waiting.pop_front().map(|(request, _)| request));
        }
        if batch.is_empty() {
            queue.trips -= 1;
            self.ended = true;
            return None;
        }
        Some(batch)
    }
}

impl<T> Drop for Trips<T> {
    /// After a panic, or when the service ends: drops what no other trip would send, so that its
    /// callers learn that it was not sent.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut queue = self.batcher.queue.lock();
        queue.trips -= 1;
        let abandoned = if queue.trips == 0 { std::mem::take(&mut queue.waiting) } else { VecDeque::new() };
        drop(queue);
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batcher() -> Arc<Batcher<u32>> {
        Batcher::new(TripLimits { trips: 1, requests: 3, bytes: 100 })
    }

    #[test]
    fn the_first_request_travels_at_once_and_the_next_ones_together() {
        let batcher = batcher();
        let mut trips = batcher.add(1, 10).expect("nothing is under way");
        assert_eq!(trips.next(), Some(vec![1]));
        assert!((2..=5).all(|request| batcher.add(request, 10).is_none()), "a trip is under way");
        assert_eq!(trips.next(), Some(vec![2, 3, 4]));
        assert_eq!(trips.next(), Some(vec![5]));
        assert_eq!(trips.next(), None);
        assert!(batcher.add(6, 10).is_some(), "the trips have ended");
    }

    #[test]
    fn a_trip_has_a_limit_of_bytes_and_a_larger_request_travels_alone() {
        let batcher = batcher();
        let mut trips = batcher.add(1, 60).expect("nothing is under way");
        for (request, bytes) in [(2, 60), (3, 500), (4, 1)] {
            assert!(batcher.add(request, bytes).is_none());
        }
        let batches: Vec<Vec<u32>> = std::iter::from_fn(|| trips.next()).collect();
        assert_eq!(batches, [vec![1], vec![2], vec![3], vec![4]]);
    }

    #[test]
    fn abandoned_trips_leave_no_request_behind() {
        let batcher = batcher();
        let mut trips = batcher.add(1, 10).expect("nothing is under way");
        assert_eq!(trips.next(), Some(vec![1]));
        assert!(batcher.add(2, 10).is_none());
        drop(trips);
        let mut trips = batcher.add(3, 10).expect("the abandoned trips have ended");
        assert_eq!(trips.next(), Some(vec![3]), "request 2 was dropped");
    }
}
