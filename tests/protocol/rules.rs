//! The rules of one replica, under the names of src/cache/coherence.

use crate::world::*;

/// Set of active safeguards.
#[derive(Clone, Copy)]
pub struct Rules {
    pub policy: Policy,
    pub off: Option<Safeguard>,
    /// True if sentinels or a cluster name the primary and count its changes. Otherwise all
    /// replicas move from one primary to the next together.
    pub named: bool,
    /// True if epochs may go back: a counter was set to an epoch that no clock leads to, and then
    /// lost. Tokens and earlier answers of that epoch are not checked, because their order is
    /// unknown.
    pub epochs_go_back: bool,
}

impl Rules {
    pub fn on(self, safeguard: Safeguard) -> bool {
        self.off != Some(safeguard)
    }
}

// === impl Replica: following the bus ===

impl Replica {
    pub fn apply(&mut self, rules: Rules, me: usize, message: Announced) {
        if self.synced {
            self.follow(rules, message.version);
        }
        if message.by != me || rules.on(Safeguard::OwnMessages) {
            self.take_effect(rules, message);
        }
        if self.synced {
            self.watermark = message.version;
        }
        if message.operation != Operation::Other {
            self.remember(rules, message.version);
            self.received = self.received.max(message.change.unwrap_or(0));
        }
    }

    fn follow(&mut self, rules: Rules, version: Version) {
        let at = self.watermark;
        let next = version.epoch == at.epoch && version.sequence == at.sequence + 1;
        if next || !rules.on(Safeguard::Gap) {
            return;
        }
        self.bump();
        if version.epoch != at.epoch || version.sequence <= at.sequence {
            self.unsync();
        }
    }

    fn take_effect(&mut self, rules: Rules, message: Announced) {
        if message.operation != Operation::Other {
            self.apply_to_stripe(rules, message.version);
            self.drop_older(message.version);
        }
    }

    /// `settle`: the counter had reached `position` at the start of the audit.
    pub fn settle(&mut self, rules: Rules, position: Version, age: Age) {
        if position.epoch < self.watermark.epoch {
            self.start_over();
        }
        let first = !self.synced;
        let behind = !first && self.watermark != position && rules.on(Safeguard::EchoCounters);
        if behind || (first && rules.on(Safeguard::FirstEcho)) {
            self.bump();
        }
        if first || behind {
            self.sync(position);
        }
        self.proof = self.proof.min(age);
    }

    fn start_over(&mut self) {
        self.bump();
        self.unsync();
        self.applied = Version::default();
    }

    /// Messages were lost, and their partition is unknown.
    pub fn lose_place(&mut self) {
        self.bump();
        self.unsync();
        self.queue.retain(|message| matches!(message, Message::Changed(_)));
    }

    pub fn disconnected(&mut self) {
        self.link = Link::Down;
        self.queue.clear();
        self.unsync();
    }

    pub fn sync(&mut self, position: Version) {
        self.watermark = position;
        self.synced = true;
    }

    /// Forgets the watermark except for its epoch.
    fn unsync(&mut self) {
        self.watermark.sequence = 0;
        self.synced = false;
    }

    fn bump(&mut self) {
        self.memory.iter_mut().for_each(|held| held.suspect = true);
        if let Some(fetch) = &mut self.fetch {
            (fetch.guard.stands, fetch.age) = (false, OLD);
        }
        if let Some(sent) = &mut self.sent {
            sent.guard.stands = false;
        }
    }
}

// === impl Replica: entering memory ===

impl Replica {
    /// The epoch in which fills are admitted, if any.
    fn live_epoch(&self) -> Option<u8> {
        self.synced.then_some(self.watermark.epoch)
    }

    fn passes(&self, rules: Rules, guard: FillGuard, position: Version) -> bool {
        let stands = guard.stands && self.live_epoch() == Some(position.epoch);
        (stands && !guard.overtaken) || !rules.on(Safeguard::Fence)
    }

    /// Handles the answer of a fetch. Returns true if the answer entered memory.
    pub fn admit(&mut self, rules: Rules, fetch: Fetch) -> bool {
        let admitted = self.passes(rules, fetch.guard, fetch.position);
        if admitted {
            let suspect = !fetch.guard.stands;
            self.memory = Some(Held { entry: fetch.entry, position: fetch.position, suspect });
        }
        admitted
    }

    /// Handles the answer of a read, which proves that everything below `least` is outdated.
    /// `entered` is true if the answer is in memory.
    pub fn observe_read(&mut self, rules: Rules, least: Version, entered: bool) {
        if !rules.on(Safeguard::Monotonic) {
            return;
        }
        if !entered {
            self.drop_older(least);
        }
        if let Some(fetch) = &mut self.fetch {
            fetch.guard.overtaken |= fetch.entry.version < least;
            fetch.age = OLD;
        }
        if let Some(sent) = &mut self.sent {
            sent.guard.overtaken |= sent.version < least;
        }
    }

    /// Handles the acknowledgement of an own write at `version`. `new` is the value that it set.
    /// Returns true if that entered memory.
    pub fn apply_own_set(&mut self, rules: Rules, version: Version, new: Option<(Change, FillGuard)>) -> bool {
        self.check_epoch(version);
        let new = new.filter(|(_, guard)| self.passes(rules, *guard, version));
        self.apply_to_stripe(rules, version);
        match new {
            Some((value, guard)) => {
                let entry = Entry { version, value };
                self.memory = Some(Held { entry, position: version, suspect: !guard.stands });
            }
            None => self.drop_older(version),
        }
        new.is_some()
    }

    fn check_epoch(&mut self, version: Version) {
        let another = self.live_epoch().is_some_and(|live| live != version.epoch);
        if another || version.epoch < self.watermark.epoch {
            self.bump();
            self.unsync();
        }
    }

    fn apply_to_stripe(&mut self, rules: Rules, version: Version) {
        let newest = version > self.applied;
        self.applied = self.applied.max(version);
        if let Some(fetch) = &mut self.fetch {
            fetch.guard.overtaken |= newest && version > fetch.entry.version;
            if rules.on(Safeguard::FlightCloses) {
                fetch.age = OLD;
            }
        }
        if let Some(sent) = &mut self.sent {
            sent.guard.overtaken |= newest && version > sent.version;
        }
    }

    fn drop_older(&mut self, version: Version) {
        if self.memory.is_some_and(|held| held.entry.version < version) {
            self.memory = None;
        }
    }

    /// Remembers a change for a repair.
    pub fn remember(&mut self, rules: Rules, version: Version) {
        if rules.policy == Policy::Repair {
            self.remembered = self.remembered.max(version);
        }
    }
}

// === impl Replica: answering ===

impl Replica {
    /// `judge`: the entry in memory, if it may be answered as fresh.
    pub fn freshness(&self, rules: Rules) -> Option<Held> {
        let proven = self.proof <= BOUND || !rules.on(Safeguard::Audit);
        self.memory.filter(|held| !held.suspect && proven)
    }

    /// `Place::of`: the position that `held` is known to reflect.
    pub fn reflects(&self, held: Held) -> Version {
        if self.synced && !held.suspect { held.position.max(self.watermark) } else { held.position }
    }
}
