//! Steps of the model, and their effects.

use stateright::{Model, Property};

use crate::rules::Rules;
use crate::world::*;

/// Bounds of the exploration.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub writes: usize,
    /// Number of replicas whose subscription and memory are modelled.
    pub watched: usize,
    pub faults: Faults,
}

/// The protocol with some rules, explored within some bounds.
pub struct Protocol {
    pub rules: Rules,
    pub bounds: Bounds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Tick,
    Send {
        by: usize,
        operation: Operation,
    },
    /// Redis stores a change that was announced before.
    Land,
    Acknowledge {
        by: usize,
    },
    LoseReply {
        by: usize,
    },
    SendAgain {
        by: usize,
    },
    Fetch {
        by: usize,
    },
    Answer {
        by: usize,
    },
    /// A Get reads Redis on its own and is answered.
    Read {
        by: usize,
    },
    Deliver {
        to: usize,
    },
    Lose {
        to: usize,
    },
    /// A message is lost, and the replica notices.
    Overrun {
        to: usize,
    },
    Audit {
        by: usize,
    },
    Break {
        of: usize,
    },
    Notice {
        by: usize,
    },
    Subscribe {
        by: usize,
    },
    /// A Redis replica that has the first `kept` changes becomes the primary.
    Failover {
        kept: usize,
    },
    Flush,
    /// The replaced primary returns with its data, in its old life.
    Return,
    Repair {
        by: usize,
    },
    /// A settlement stops waiting for replicas that have not repaired.
    GiveUp,
    Die {
        who: usize,
    },
}

// === impl Protocol ===

impl Model for Protocol {
    type State = World;
    type Action = Step;

    /// The key is set and in memory, and the partition is proven.
    fn init_states(&self) -> Vec<World> {
        let position = Version { epoch: FIRST_EPOCH, sequence: 1 };
        let entry = Entry { version: position, value: 0 };
        let replica = |me| {
            if me >= self.bounds.watched {
                return Replica { link: Link::Down, known: FIRST_EPOCH, ..Replica::default() };
            }
            Replica {
                watched: true,
                synced: true,
                watermark: position,
                memory: Some(Held { entry, position, suspect: false }),
                known: FIRST_EPOCH,
                ..Replica::default()
            }
        };
        let first = Record {
            version: position,
            operation: Operation::Set,
            by: None,
            acknowledged: None,
            read: [false; REPLICAS],
            read_at: None,
            lost: false,
        };
        vec![World {
            log: vec![first],
            redis: Redis { position, entry: Some(entry), ..Redis::default() },
            replicas: std::array::from_fn(replica),
            left: self.bounds.faults,
            replaced: None,
            last_epoch: FIRST_EPOCH,
            abandoned: [false; REPLICAS],
            broken: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        if world.redis.landing.is_some() {
            steps.push(Step::Land);
        }
        for me in 0..REPLICAS {
            if !world.replicas[me].gone {
                self.actions_of(world, me, steps);
            }
        }
        if world.left.failovers > 0 {
            steps.extend((0..=world.log.len()).map(|kept| Step::Failover { kept }));
        }
        if world.left.flushes > 0 {
            steps.push(Step::Flush);
        }
        let epoch = world.redis.position.epoch;
        let all_have_left = world.replicas.iter().all(|replica| replica.gone || replica.known == epoch);
        if world.replaced.is_some() && (self.rules.named || all_have_left) {
            steps.push(Step::Return);
        }
        let redis = &world.redis;
        if world.left.abandonments > 0 && redis.took_over && !redis.given_up && redis.repaired != [true; REPLICAS] {
            steps.push(Step::GiveUp);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Tick => world.tick(),
            Step::Send { by, operation } => self.send(&mut world, by, operation),
            Step::Land => world.redis.land(),
            Step::Acknowledge { by } => self.acknowledge(&mut world, by),
            Step::LoseReply { by } => {
                world.left.losses -= 1;
                let sent = world.replicas[by].sent.filter(|_| !self.rules.on(Safeguard::SentOnce));
                world.replicas[by].sent = sent.map(|sent| Sent { again: true, ..sent });
            }
            Step::SendAgain { by } => {
                let sent = world.replicas[by].sent?;
                let operation = world.log[sent.change].operation;
                let version = self.carry_out(&mut world, by, operation, Some(sent.change));
                world.replicas[by].sent = Some(Sent { version, again: false, ..sent });
            }
            Step::Fetch { by } => self.fetch(&mut world, by)?,
            Step::Answer { by } => self.answer(&mut world, by)?,
            Step::Read { by } => self.read(&mut world, by)?,
            Step::Deliver { to } => self.deliver(&mut world.replicas[to], to),
            Step::Lose { to } => {
                world.left.losses -= 1;
                world.replicas[to].queue.remove(0);
            }
            Step::Overrun { to } => {
                world.left.losses -= 1;
                world.replicas[to].queue.remove(0);
                world.replicas[to].lose_place();
            }
            Step::Audit { by } => {
                self.greet(&mut world, by);
                let echo = Message::Echo { age: 0, position: world.redis.position };
                world.replicas[by].queue.push(echo);
            }
            Step::Break { of } => {
                world.left.breaks -= 1;
                world.replicas[of].link = Link::Dead;
            }
            Step::Notice { by } => world.replicas[by].disconnected(),
            Step::Subscribe { by } => {
                self.greet(&mut world, by);
                let position = world.redis.position;
                let replica = &mut world.replicas[by];
                replica.link = Link::Up;
                if !self.rules.on(Safeguard::EchoBeforeTrust) {
                    replica.sync(position);
                    replica.proof = 0;
                }
            }
            Step::Failover { kept } => self.fail_over(&mut world, kept),
            Step::Flush => self.flush(&mut world),
            Step::Return => self.come_back(&mut world)?,
            Step::Repair { by } => self.repair(&mut world, by),
            Step::GiveUp => {
                world.left.abandonments -= 1;
                world.redis.given_up = true;
                (0..REPLICAS).for_each(|me| world.abandoned[me] |= !world.redis.repaired[me]);
            }
            Step::Die { who } => {
                world.left.deaths -= 1;
                world.replicas[who] = Replica { gone: true, link: Link::Down, ..Replica::default() };
            }
        }
        world.join(self.rules);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        vec![Property::always("the promises hold", |protocol: &Protocol, world: &World| {
            world.breaks(protocol.rules).is_none()
        })]
    }
}

impl Protocol {
    fn actions_of(&self, world: &World, me: usize, steps: &mut Vec<Step>) {
        let replica = &world.replicas[me];
        if world.log.len() <= self.bounds.writes && replica.sent.is_none() {
            let operations = [Operation::Set, Operation::Invalidate, Operation::Other];
            steps.extend(operations.map(|operation| Step::Send { by: me, operation }));
        }
        match replica.sent {
            Some(sent) if sent.again => steps.push(Step::SendAgain { by: me }),
            Some(_) if world.redis.landing.is_none() => {
                steps.push(Step::Acknowledge { by: me });
                if world.left.losses > 0 {
                    steps.push(Step::LoseReply { by: me });
                }
            }
            _ => {}
        }
        if self.rules.policy == Policy::Repair && world.redis.took_over && !world.redis.repaired[me] {
            steps.push(Step::Repair { by: me });
        }
        if world.left.deaths > 0 {
            steps.push(Step::Die { who: me });
        }
        if !replica.watched {
            return;
        }
        match replica.fetch {
            None => steps.push(Step::Fetch { by: me }),
            Some(_) => steps.push(Step::Answer { by: me }),
        }
        if world.left.reads > 0 {
            steps.push(Step::Read { by: me });
        }
        if !replica.queue.is_empty() {
            steps.push(Step::Deliver { to: me });
            if world.left.losses > 0 {
                steps.extend([Step::Lose { to: me }, Step::Overrun { to: me }]);
            }
        }
        let echo_under_way = replica.queue.iter().any(|message| matches!(message, Message::Echo { .. }));
        match replica.link {
            Link::Up => {
                if !echo_under_way {
                    steps.push(Step::Audit { by: me });
                }
                if world.left.breaks > 0 {
                    steps.push(Step::Break { of: me });
                }
            }
            Link::Dead => steps.push(Step::Notice { by: me }),
            Link::Down => steps.push(Step::Subscribe { by: me }),
        }
    }

    /// One script: the next sequence, the change, and its announcement to all subscribers.
    fn carry_out(&self, world: &mut World, by: usize, operation: Operation, change: Option<Change>) -> Version {
        let redis = &mut world.redis;
        redis.position.sequence += 1;
        let version = redis.position;
        redis.land();
        redis.landing = match operation {
            Operation::Set => Some(change.map(|value| Entry { version, value })),
            Operation::Invalidate => Some(None),
            Operation::Other => None,
        };
        if self.rules.on(Safeguard::WriteBeforeAnnounce) {
            redis.land();
        }
        let announced = Announced { version, operation, by, change };
        for replica in world.replicas.iter_mut().filter(|replica| !replica.gone && replica.link == Link::Up) {
            replica.queue.push(Message::Changed(announced));
        }
        version
    }

    /// Handshake of `by` before a request: checks that the primary is the known one with all of its
    /// data.
    fn greet(&self, world: &mut World, by: usize) {
        // Where epochs may go back, a known epoch is no lower bound.
        let binds = self.rules.on(Safeguard::Return) && !self.rules.epochs_go_back;
        let is_behind = binds && world.redis.position.epoch < world.replicas[by].known;
        let was_replaced = self.rules.on(Safeguard::Term) && self.rules.named && world.redis.returned;
        if is_behind || was_replaced {
            world.redis.prior = world.redis.position;
            world.last_epoch += 1;
            world.redis.position.epoch = world.last_epoch;
            (world.redis.took_over, world.redis.repaired, world.redis.given_up) = (true, [false; REPLICAS], false);
        }
        world.redis.returned = false;
        let known = &mut world.replicas[by].known;
        *known = world.redis.position.epoch.max(*known);
    }

    fn send(&self, world: &mut World, by: usize, operation: Operation) {
        self.greet(world, by);
        let change = world.log.len();
        let version = self.carry_out(world, by, operation, Some(change));
        let record = Record {
            version,
            operation,
            by: Some(by),
            acknowledged: None,
            read: [false; REPLICAS],
            read_at: None,
            lost: false,
        };
        world.log.push(record);
        world.replicas[by].sent = Some(Sent { change, version, guard: FillGuard::NEW, again: false });
    }

    fn acknowledge(&self, world: &mut World, by: usize) {
        let late = self.is_late(world, by);
        let replica = &mut world.replicas[by];
        let Some(sent) = replica.sent.take() else { return };
        let operation = world.log[sent.change].operation;
        if operation == Operation::Other {
            return;
        }
        replica.remember(self.rules, sent.version);
        if late(sent.version) {
            return;
        }
        let new = (operation == Operation::Set).then_some((sent.change, sent.guard));
        let entered = replica.apply_own_set(self.rules, sent.version, new) && sent.guard.stands;
        if entered && world.is_overwritten(self.rules, by, sent.change) {
            world.broken = Some(Promise::NoResurrection);
        }
        let received = &mut world.replicas[by].received;
        *received = sent.change.max(*received);
        world.log[sent.change].acknowledged = Some(0);
    }

    /// Returns a check if a reply of a version is from before a failover that `me` has repaired.
    fn is_late(&self, world: &World, me: usize) -> impl Fn(Version) -> bool + use<> {
        let repaired = world.replicas[me].repaired;
        let on = self.rules.on(Safeguard::LateReplies);
        move |version| on && version.epoch < repaired
    }

    fn fetch(&self, world: &mut World, by: usize) -> Option<()> {
        self.greet(world, by);
        let (position, entry) = self.redis_answer(world, by)?;
        world.replicas[by].fetch = Some(Fetch { position, entry: entry?, guard: FillGuard::NEW, age: 0, owed: None });
        Some(())
    }

    /// Answer of Redis to replica `by`, if it is valid.
    fn redis_answer(&self, world: &World, by: usize) -> Option<(Version, Option<Entry>)> {
        let (position, entry) = (world.redis.position, world.redis.entry);
        let all_repaired = (0..REPLICAS).all(|me| world.redis.repaired[me] || world.replicas[me].gone);
        let carried = match self.rules.policy {
            Policy::Cold => false,
            Policy::Repair => {
                let settled_here = world.redis.repaired[by] || !self.rules.on(Safeguard::SettledHere);
                all_repaired || (world.redis.given_up && settled_here) || !self.rules.on(Safeguard::RepairAwaited)
            }
        };
        let replica = &world.replicas[by];
        let behind = replica.synced && position < replica.watermark;
        let counts = |entry: &Entry| entry.version.epoch == position.epoch || carried;
        (!behind && entry.as_ref().is_none_or(counts)).then_some((position, entry))
    }

    fn answer(&self, world: &mut World, by: usize) -> Option<()> {
        let late = self.is_late(world, by);
        let fetch = world.replicas[by].fetch.take()?;
        if !late(fetch.position) {
            self.take_in(world, by, fetch);
        }
        Some(())
    }

    fn read(&self, world: &mut World, by: usize) -> Option<()> {
        self.greet(world, by);
        let (position, entry) = self.redis_answer(world, by)?;
        world.left.reads -= 1;
        match entry {
            Some(entry) => {
                let owed = world.owed(by);
                self.take_in(world, by, Fetch { position, entry, guard: FillGuard::NEW, age: 0, owed });
            }
            None => {
                world.replicas[by].observe_read(self.rules, position.next(), false);
                if self.rules.on(Safeguard::RememberReads) {
                    world.replicas[by].remember(self.rules, position);
                }
                if let Some(shown) = world.kept_by_redis() {
                    world.show(by, shown);
                }
            }
        }
        Some(())
    }

    fn take_in(&self, world: &mut World, by: usize, fetch: Fetch) {
        world.broken = world.broken.or(world.answer_breaks(self.rules, by, fetch));
        let replica = &mut world.replicas[by];
        let entered = replica.admit(self.rules, fetch);
        replica.observe_read(self.rules, fetch.entry.version, entered);
        if entered && fetch.guard.stands && world.is_overwritten(self.rules, by, fetch.entry.value) {
            world.broken = Some(Promise::NoResurrection);
        }
        if self.rules.policy == Policy::Repair {
            if self.rules.on(Safeguard::RememberReads) {
                world.replicas[by].remember(self.rules, fetch.entry.version);
            }
            let record = &mut world.log[fetch.entry.value];
            record.read[by] = true;
            record.read_at.get_or_insert(fetch.position);
        }
        world.show(by, fetch.entry.value);
    }

    fn deliver(&self, replica: &mut Replica, me: usize) {
        match replica.queue.remove(0) {
            Message::Changed(announced) => replica.apply(self.rules, me, announced),
            Message::Echo { age, position } => replica.settle(self.rules, position, age),
        }
    }

    fn fail_over(&self, world: &mut World, kept: usize) {
        world.left.failovers -= 1;
        if world.left.returns > 0 {
            world.replaced = Some(Replaced { redis: world.redis.clone(), changes: world.log.len() });
        }
        world.log[kept..].iter_mut().for_each(|record| record.lost = true);
        let redis = &mut world.redis;
        redis.prior = world.log[..kept].last().map_or(Version::default(), |record| record.version);
        let last = world.log[..kept].iter().rposition(|record| record.operation != Operation::Other);
        redis.entry = last.filter(|last| world.log[*last].operation == Operation::Set).map(|value| {
            let version = world.log[value].version;
            Entry { version, value }
        });
        redis.position = Version { epoch: self.next_epoch(redis.position), sequence: redis.prior.sequence };
        world.last_epoch = world.last_epoch.max(redis.position.epoch);
        (redis.took_over, redis.repaired, redis.given_up, redis.returned) = (true, [false; REPLICAS], false, false);
        for replica in world.replicas.iter_mut().filter(|replica| replica.link == Link::Up) {
            replica.link = Link::Dead;
        }
    }

    /// The previous primary becomes the primary again, before it was a replica.
    fn come_back(&self, world: &mut World) -> Option<()> {
        let Replaced { redis, changes } = world.replaced.take()?;
        world.left.returns -= 1;
        world.redis = Redis { returned: true, ..redis };
        // Changes that were lost are back. A replica that has not seen them need not know of them.
        world.log[changes..].iter_mut().for_each(|record| record.lost = true);
        for replica in world.replicas.iter_mut().filter(|replica| replica.link == Link::Up) {
            replica.link = Link::Dead;
        }
        Some(())
    }

    /// All data is lost, including the counter. Connections stay.
    fn flush(&self, world: &mut World) {
        world.left.flushes -= 1;
        world.log.iter_mut().for_each(|record| record.lost = true);
        world.redis.entry = None;
        world.redis.position = Version { epoch: self.next_epoch(world.redis.position), sequence: 0 };
        world.last_epoch = world.last_epoch.max(world.redis.position.epoch);
    }

    fn next_epoch(&self, position: Version) -> u8 {
        if !self.rules.on(Safeguard::NewEpoch) {
            position.epoch
        } else if self.rules.epochs_go_back {
            position.epoch - 1
        } else {
            position.epoch + 1
        }
    }

    /// A replica that has seen the new epoch invalidates its known changes again, because the new
    /// primary may lack them.
    fn repair(&self, world: &mut World, by: usize) {
        let (epoch, prior) = (world.redis.position.epoch, world.redis.prior);
        world.redis.repaired[by] = true;
        world.replicas[by].repaired = epoch;
        let known = world.replicas[by].remembered;
        if known.epoch < epoch && known > prior {
            let version = self.carry_out(world, by, Operation::Invalidate, None);
            world.replicas[by].apply_own_set(self.rules, version, None);
        }
    }
}

impl World {
    fn tick(&mut self) {
        let older = |age: &mut Age| *age = (*age + 1).min(OLD);
        self.log.iter_mut().filter_map(|record| record.acknowledged.as_mut()).for_each(older);
        for replica in &mut self.replicas {
            older(&mut replica.proof);
            replica.fetch.iter_mut().for_each(|fetch| older(&mut fetch.age));
            for message in &mut replica.queue {
                if let Message::Echo { age, .. } = message {
                    older(age);
                }
            }
        }
    }
}

impl Redis {
    fn land(&mut self) {
        if let Some(entry) = self.landing.take() {
            self.entry = entry;
        }
    }
}
