//! The barrier of one change: who may still answer with what was before, and until when.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::backend::redis::command::executor::CommandExecutor;
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::schema::barrier::BarrierState;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::tier::{BoxFuture, FleetBarrier, L2Error};

/// A replica that cannot be named.
const UNKNOWN: u64 = 0;

/// A change that waits for the fleet.
pub struct FleetChange<'a> {
    shared: &'a RedisContext,
    calls: &'a CommandExecutor,
    barrier: BarrierState<'a>,
}

// === impl Fleet ===

impl<'a> FleetChange<'a> {
    /// Before the change is made.
    pub fn new(shared: &'a RedisContext, calls: &'a CommandExecutor) -> FleetChange<'a> {
        FleetChange { shared, calls, barrier: shared.barriers.open() }
    }

    /// Who is to confirm each of `partitions`, each with the moment at which its right to answer with what was before runs out.
    async fn awaited(&self, partitions: &[u16], until: Moment) -> HashMap<(u64, u16), Moment> {
        // Were the registry not to be had, nobody could answer with what was before for longer than this.
        let longest = self.shared.clock.now().plus(self.shared.config.max_staleness);
        let mut registries: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for partition in partitions {
            registries.entry(self.shared.layout.registrar(*partition)).or_default().push(*partition);
        }
        let asked = registries.iter().map(|(registrar, partitions)| async move {
            (partitions, self.registered(*registrar, longest.min(until)).await)
        });
        let mut awaited = HashMap::new();
        for (partitions, registered) in join_all(asked).await {
            let members = registered.unwrap_or_else(|_| HashMap::from([(UNKNOWN, longest)]));
            awaited.extend(partitions.iter().flat_map(|p| members.iter().map(move |(m, end)| ((*m, *p), *end))));
        }
        awaited
    }

    /// The other replicas registered with `partition`.
    async fn registered(&self, partition: u16, until: Moment) -> Result<HashMap<u64, Moment>, L2Error> {
        let pause = self.shared.longest_pause().as_micros().to_string().into();
        let reply = self.calls.ask(Script::Members, partition, vec![pause], until).await?;
        let now = self.shared.clock.now();
        let end = |age: &Value| {
            let left = self.shared.config.max_staleness.checked_sub(Duration::from_micros(age.as_u64()?))?;
            Some(now.plus(left))
        };
        let member = |member: &[Value]| {
            let replica = codec::registered_replica(std::str::from_utf8(member[0].as_bytes()?).ok()?)?;
            Some((replica, end(&member[1])?)).filter(|_| replica != self.shared.replica)
        };
        let [_, registry, members @ ..] = reply.as_slice() else {
            return Err(L2Error::unavailable("redis answered with something unknown"));
        };
        let mut registered: HashMap<u64, Moment> = members.chunks_exact(2).filter_map(member).collect();
        // Somebody may have registered before the registry was lost and begun anew.
        registered.extend(end(registry).map(|end| (UNKNOWN, end)));
        Ok(registered)
    }
}

impl FleetBarrier for FleetChange<'_> {
    fn ticket(&self) -> u64 {
        self.barrier.ticket
    }

    fn passed<'a>(&'a self, partitions: &'a [u16], until: Moment) -> BoxFuture<'a, Result<(), L2Error>> {
        Box::pin(async move {
            let mut awaited = self.awaited(partitions, until).await;
            loop {
                self.barrier.strike(&mut awaited);
                let now = self.shared.clock.now();
                awaited.retain(|_, end| *end > now);
                let Some(next) = awaited.values().min() else { return Ok(()) };
                if now >= until {
                    return Err(L2Error::Unavailable {
                        reason: "not every replica has confirmed the change in time",
                        outcome_unknown_for: Some(Duration::ZERO),
                    });
                }
                let patience = (*next).min(until).since(now);
                let _ = timeout(patience, self.barrier.news()).await;
            }
        })
    }
}
