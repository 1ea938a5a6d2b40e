//! Waits until every replica has applied a change, or has lost the right to answer older data.

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

/// Stands for replicas whose ids are unknown.
const UNKNOWN: u64 = 0;

/// The barrier of one change.
pub struct FleetChange<'a> {
    context: &'a RedisContext,
    executor: &'a CommandExecutor,
    barrier: BarrierState<'a>,
}

// === impl FleetChange ===

impl<'a> FleetChange<'a> {
    /// Opens the barrier. Must be called before the change is sent.
    pub fn new(context: &'a RedisContext, executor: &'a CommandExecutor) -> FleetChange<'a> {
        FleetChange { context, executor, barrier: context.barriers.open() }
    }

    /// The replicas that have to confirm, by partition, each with the time at which its right to
    /// answer with older data ends.
    async fn awaited(&self, partitions: &[u16], deadline: Moment) -> HashMap<(u64, u16), Moment> {
        // Without the registry, this is the longest time for which a replica could answer with
        // older data.
        let longest = self.context.clock.now().plus(self.context.config.max_staleness);
        let mut registries: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for partition in partitions {
            registries.entry(self.context.keys.registrar(*partition)).or_default().push(*partition);
        }
        let requests = registries.iter().map(|(registrar, partitions)| async move {
            (partitions, self.registered(*registrar, longest.min(deadline)).await)
        });
        let mut awaited = HashMap::new();
        for (partitions, registered) in join_all(requests).await {
            let members = registered.unwrap_or_else(|_| HashMap::from([(UNKNOWN, longest)]));
            awaited.extend(partitions.iter().flat_map(|p| members.iter().map(move |(m, end)| ((*m, *p), *end))));
        }
        awaited
    }

    /// The other replicas registered with `partition`.
    async fn registered(&self, partition: u16, deadline: Moment) -> Result<HashMap<u64, Moment>, L2Error> {
        let pause = self.context.longest_pause().as_micros().to_string().into();
        let reply = self.executor.run_script(Script::LiveReplicas, partition, vec![pause], deadline).await?;
        let now = self.context.clock.now();
        let end = |age: &Value| {
            let left = self.context.config.max_staleness.checked_sub(Duration::from_micros(age.as_u64()?))?;
            Some(now.plus(left))
        };
        let member = |member: &[Value]| {
            let replica = codec::registered_replica(std::str::from_utf8(member[0].as_bytes()?).ok()?)?;
            Some((replica, end(&member[1])?)).filter(|_| replica != self.context.replica)
        };
        let [_, registry, members @ ..] = reply.as_slice() else {
            return Err(L2Error::unavailable("unexpected reply from redis"));
        };
        let mut registered: HashMap<u64, Moment> = members.chunks_exact(2).filter_map(member).collect();
        // A replica may have registered before the registry was lost and begun anew.
        registered.extend(end(registry).map(|end| (UNKNOWN, end)));
        Ok(registered)
    }
}

impl FleetBarrier for FleetChange<'_> {
    fn ticket(&self) -> u64 {
        self.barrier.ticket
    }

    fn passed<'a>(&'a self, partitions: &'a [u16], deadline: Moment) -> BoxFuture<'a, Result<(), L2Error>> {
        Box::pin(async move {
            let mut awaited = self.awaited(partitions, deadline).await;
            loop {
                self.barrier.remove_confirmed(&mut awaited);
                let now = self.context.clock.now();
                awaited.retain(|_, end| *end > now);
                let Some(next) = awaited.values().min() else { return Ok(()) };
                if now >= deadline {
                    return Err(L2Error::Unavailable {
                        reason: "not every replica has confirmed the change in time",
                        outcome_unknown_for: Some(Duration::ZERO),
                    });
                }
                let pause = (*next).min(deadline).since(now);
                let _ = timeout(pause, self.barrier.next_confirmation()).await;
            }
        })
    }
}
