//! The health of Redis as this replica sees it. Logs each change once.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::backend::redis::config::Address;
use crate::cache::clock::{Clock, Moment};
use crate::cache::tier::L2State;
use crate::sync::Mutex;

/// State of L2, and the reason if it is not healthy.
pub struct RedisHealth {
    clock: Arc<dyn Clock>,
    inner: Mutex<HealthInner>,
}

/// Reports the health of one primary.
pub struct PrimaryHealth {
    health: Arc<RedisHealth>,
    address: Address,
    number: u64,
}

struct HealthInner {
    /// Works if the primary of every partition is known.
    placement: PrimaryState,
    primaries: BTreeMap<u64, KnownHealth>,
    next_number: u64,
    state: L2State,
    changed: Moment,
}

struct KnownHealth {
    address: Address,
    /// One for each connection for commands.
    connections: Vec<PrimaryState>,
    subscription: PrimaryState,
    /// Consecutive attempts that did not prove the subscription.
    unproven: u32,
    /// True if the log has the warning that the subscription is not proven.
    unproven_is_logged: bool,
    /// True if reads work while commands do not.
    only_reads: bool,
    server_version: String,
    /// The reason why this replica must not serve, if its configuration contradicts Redis.
    halted: Option<String>,
}

#[derive(Default)]
struct PrimaryState {
    works: bool,
    why_not: Option<String>,
}

/// The current health.
pub struct HealthReport {
    /// State.
    pub state: L2State,
    /// The reason if it is not healthy, else empty.
    pub reason: String,
    /// Time since the state changed.
    pub state_age: Duration,
    /// Version of a server; empty if unknown.
    pub server_version: String,
}

impl PrimaryState {
    fn set(&mut self, why_not: Option<&str>) -> bool {
        let changed = (self.works, self.why_not.as_deref()) != (why_not.is_none(), why_not);
        self.works = why_not.is_none();
        self.why_not = why_not.map(str::to_owned);
        changed
    }

    fn reason(&self) -> Option<&str> {
        if self.works { None } else { Some(self.why_not.as_deref().unwrap_or("not connected yet")) }
    }
}

impl KnownHealth {
    fn commands_work(&self) -> bool {
        self.connections.iter().any(|connection| connection.works)
    }

    fn reason(&self) -> Option<&str> {
        if self.commands_work() {
            self.subscription.reason()
        } else {
            self.connections.first().and_then(PrimaryState::reason)
        }
    }
}

impl HealthInner {
    fn state(&self) -> L2State {
        let healthy = self.placement.works && self.primaries.values().all(|primary| primary.reason().is_none());
        let any = |works: fn(&KnownHealth) -> bool| self.primaries.values().any(works);
        if any(KnownHealth::commands_work) {
            if healthy { L2State::Healthy } else { L2State::Degraded }
        } else if any(|primary| primary.only_reads) {
            L2State::Degraded
        } else {
            L2State::Unavailable
        }
    }

    fn halted(&self) -> Option<String> {
        self.primaries.values().find_map(|primary| primary.halted.clone())
    }

    fn reason(&self) -> String {
        let of_one = |primary: &KnownHealth| match (primary.reason(), self.primaries.len()) {
            (Some(why), 1) => Some(why.to_owned()),
            (why, _) => why.map(|why| format!("{}: {why}", primary.address)),
        };
        let placed = || self.placement.reason().map(str::to_owned);
        let first = self.halted().or_else(placed).or_else(|| self.primaries.values().find_map(of_one));
        first.unwrap_or_default()
    }
}

// === impl RedisHealth ===

impl RedisHealth {
    /// Creates the state in which no connection works yet.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<RedisHealth> {
        let inner = HealthInner {
            placement: PrimaryState::default(),
            primaries: BTreeMap::new(),
            next_number: 0,
            state: L2State::Unavailable,
            changed: clock.now(),
        };
        Arc::new(RedisHealth { clock, inner: Mutex::new(inner) })
    }

    /// Adds a primary without a working connection.
    pub fn primary(self: &Arc<Self>, address: &Address, connections: usize) -> PrimaryHealth {
        let number = self.update(|inner| {
            let connections = (0..connections).map(|_| PrimaryState::default()).collect();
            let known = KnownHealth {
                address: address.clone(),
                connections,
                subscription: PrimaryState::default(),
                unproven: 0,
                unproven_is_logged: false,
                only_reads: false,
                server_version: String::new(),
                halted: None,
            };
            inner.next_number += 1;
            inner.primaries.insert(inner.next_number, known);
            inner.next_number
        });
        PrimaryHealth { health: self.clone(), address: address.clone(), number }
    }

    /// Records that the primary of every partition is known.
    pub fn placed(&self) {
        self.update(|inner| inner.placement.set(None));
    }

    /// Records that the primary of a partition is unknown.
    pub fn not_placed(&self, why: &str) {
        let news = self.update(|inner| {
            let news = inner.placement.works || inner.placement.why_not.is_none();
            inner.placement.set(Some(why));
            news
        });
        if news {
            tracing::warn!(why, "redis: not every primary is known");
        }
    }

    /// The reason why this replica must not serve.
    pub fn halted(&self) -> Option<String> {
        self.lock().halted()
    }

    /// The current health.
    pub fn report(&self) -> HealthReport {
        let inner = self.lock();
        HealthReport {
            state: inner.state,
            reason: inner.reason(),
            state_age: self.clock.now().since(inner.changed),
            server_version: inner
                .primaries
                .values()
                .map(|primary| primary.server_version.clone())
                .max()
                .unwrap_or_default(),
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut HealthInner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        let state = inner.state();
        if state != inner.state {
            inner.state = state;
            inner.changed = self.clock.now();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, HealthInner> {
        self.inner.lock()
    }
}

// === impl PrimaryHealth ===

impl PrimaryHealth {
    /// Removes this primary from the report.
    pub fn retire(&self) {
        self.health.update(|inner| inner.primaries.remove(&self.number));
    }

    /// Records that Redis contradicts this replica's configuration: the replica must not serve.
    pub fn halt(&self, why: &str) {
        if self.update(|primary| primary.halted.replace(why.to_owned()).as_deref() != Some(why)) {
            tracing::error!(server = %self.address, why, "this replica does not serve");
        }
    }

    /// Records that Redis agrees with this replica's configuration.
    pub fn agreed(&self) {
        if self.update(|primary| primary.halted.take().is_some()) {
            tracing::info!(server = %self.address, "configuration agrees with redis again; serving");
        }
    }

    /// Records that commands work on one of the connections.
    pub fn commands_work(&self, connection: usize, server_version: &str) {
        let changed = self.update(|primary| {
            primary.server_version = server_version.to_owned();
            let worked = primary.commands_work();
            primary.connections[connection].set(None);
            !worked
        });
        if changed {
            tracing::info!(server = %self.address, server_version, "redis: commands work");
        }
    }

    /// Records that commands fail on one of the connections.
    ///
    /// It is no outage while another one works. An outage is logged as one warning, even if its
    /// reason changes.
    pub fn commands_fail(&self, connection: usize, why: &str) {
        let (mut begins, server) = (false, &self.address);
        let changed = self.update(|primary| {
            let worked = primary.commands_work();
            begins = worked || primary.connections.iter().all(|part| part.why_not.is_none());
            let news = primary.connections.iter().all(|part| part.why_not.as_deref() != Some(why));
            primary.connections[connection].set(Some(why));
            (worked || news) && !primary.commands_work()
        });
        if changed && begins {
            tracing::warn!(%server, why, "redis: commands do not work; answering from memory, refusing writes");
        } else if changed {
            tracing::info!(%server, why, "redis: commands still do not work");
        }
    }

    /// Records that reads work although commands do not, or no longer.
    pub fn reads_work(&self, works: bool) {
        let changed = self.update(|primary| std::mem::replace(&mut primary.only_reads, works) != works);
        if changed && works {
            tracing::warn!(server = %self.address, "redis: writes are refused; reads continue");
        }
    }

    /// Records that an echo came back through the subscription.
    pub fn subscription_works(&self) {
        let changed = self.update(|primary| {
            (primary.unproven, primary.unproven_is_logged) = (0, false);
            primary.subscription.set(None)
        });
        if changed {
            tracing::info!(server = %self.address, "redis: subscription proven; memory answers as fresh");
        }
    }

    /// Records that the subscription is not proven.
    ///
    /// Warns once, and only if it was not renewed by the next attempt: if commands fail, too, their
    /// warning covers it.
    pub fn subscription_fails(&self, why: &str) {
        let server = &self.address;
        let warns = self.update(|primary| {
            primary.subscription.set(Some(why));
            primary.unproven = primary.unproven.saturating_add(1);
            let warns = !primary.unproven_is_logged && primary.unproven > 1 && primary.commands_work();
            primary.unproven_is_logged |= warns;
            warns
        });
        if warns {
            tracing::warn!(
                %server,
                why,
                "redis: subscription not proven; memory answers as fresh no longer than its last proof lasts"
            );
        } else {
            tracing::debug!(%server, why, "redis: subscription not proven; trying again");
        }
    }

    fn update(&self, change: impl FnOnce(&mut KnownHealth) -> bool) -> bool {
        self.health.update(|inner| inner.primaries.get_mut(&self.number).is_some_and(change))
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
