//! What this replica knows of Redis, and when it last changed. Says so in the log, once a change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::clock::{Clock, Moment};
use crate::cache::tier::L2State;

/// State, and why it is not healthy.
pub struct Health {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// One for each connection that carries commands.
    links: Vec<Part>,
    subscription: Part,
    halted: Option<String>,
    state: L2State,
    changed: Moment,
    server_version: String,
}

#[derive(Default)]
struct Part {
    works: bool,
    why_not: Option<String>,
}

impl Part {
    fn set(&mut self, why_not: Option<&str>) -> bool {
        let changed = (self.works, self.why_not.as_deref()) != (why_not.is_none(), why_not);
        self.works = why_not.is_none();
        self.why_not = why_not.map(str::to_owned);
        changed
    }
}

impl Inner {
    fn commands_work(&self) -> bool {
        self.links.iter().any(|link| link.works)
    }
}

// === impl Health ===

impl Health {
    /// Nothing works yet.
    pub fn new(links: usize, clock: Arc<dyn Clock>) -> Health {
        let inner = Inner {
            links: (0..links).map(|_| Part::default()).collect(),
            subscription: Part::default(),
            halted: None,
            state: L2State::Unavailable,
            changed: clock.now(),
            server_version: String::new(),
        };
        Health { clock, inner: Mutex::new(inner) }
    }

    /// Commands work on one of the connections.
    pub fn commands_work(&self, link: usize, server_version: &str) {
        let changed = self.update(|inner| {
            inner.server_version = server_version.to_owned();
            let worked = inner.commands_work();
            inner.links[link].set(None);
            !worked
        });
        if changed {
            tracing::info!(server_version, "redis: commands work");
        }
    }

    /// Commands do not work on one of the connections. While another works, that is no outage.
    pub fn commands_fail(&self, link: usize, why: &str) {
        let changed = self.update(|inner| {
            let news = inner.links.iter().all(|part| part.why_not.as_deref() != Some(why));
            inner.links[link].set(Some(why));
            news && !inner.commands_work()
        });
        if changed {
            tracing::warn!(why, "redis: commands do not work; answering from memory, refusing writes");
        }
    }

    /// The subscription delivers: an echo came back through it.
    pub fn subscription_works(&self) {
        if self.update(|inner| inner.subscription.set(None)) {
            tracing::info!("redis: subscription proven; memory answers as fresh");
        }
    }

    /// The subscription is not proven.
    pub fn subscription_fails(&self, why: &str) {
        if self.update(|inner| inner.subscription.set(Some(why))) {
            tracing::warn!(
                why,
                "redis: subscription not proven; memory answers as fresh no longer than its last proof lasts"
            );
        }
    }

    /// This replica must not serve.
    pub fn halt(&self, why: &str) {
        let changed = self.update(|inner| inner.halted.replace(why.to_owned()).as_deref() != Some(why));
        if changed {
            tracing::error!(why, "this replica does not serve");
        }
    }

    /// The deployment's configuration was compared with this replica's, and agrees.
    pub fn agreed(&self) {
        if self.update(|inner| inner.halted.take().is_some()) {
            tracing::info!("this replica serves again");
        }
    }

    /// Why this replica must not serve.
    pub fn halted(&self) -> Option<String> {
        self.lock().halted.clone()
    }

    /// State, why it is not healthy (empty when it is), time since it changed, and the server's version.
    pub fn report(&self) -> (L2State, String, Duration, String) {
        let inner = self.lock();
        let why_not = |part: &Part| part.why_not.clone().unwrap_or_else(|| "not connected yet".to_owned());
        let reason = match (&inner.halted, inner.state) {
            (Some(halted), _) => halted.clone(),
            (None, L2State::Degraded) => why_not(&inner.subscription),
            (None, L2State::Unavailable) => inner.links.first().map(why_not).unwrap_or_default(),
            (None, L2State::Healthy | L2State::Disabled) => String::new(),
        };
        (inner.state, reason, self.clock.now().since(inner.changed), inner.server_version.clone())
    }

    fn update(&self, change: impl FnOnce(&mut Inner) -> bool) -> bool {
        let mut inner = self.lock();
        let changed = change(&mut inner);
        let state = match (inner.commands_work(), inner.subscription.works) {
            (true, true) => L2State::Healthy,
            (true, false) => L2State::Degraded,
            (false, _) => L2State::Unavailable,
        };
        if state != inner.state {
            inner.state = state;
            inner.changed = self.clock.now();
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
