//! The state of L2 in Redis: health, counters of commands, connections and its server.

use std::sync::Arc;

use super::redis_l2::RedisL2;
use crate::backend::redis::connection::health::HealthReport;
use crate::cache::stats::LabeledHistograms;
use crate::cache::stats::keyspace::KeyspaceSample;
use crate::cache::tier::{BoxFuture, L2Report, TierStatus};

impl TierStatus for RedisL2 {
    fn report(&self) -> L2Report {
        let HealthReport { state, reason, state_age, server_version } = self.health.report();
        let mut server = self.server.lock().clone();
        server.version = server_version;
        server.warnings.extend(self.context.foreign.warning(self.context.clock.now()));
        let routes = self.executor.routes();
        let supervisors = || routes.shards.iter().flat_map(|shard| &shard.supervisors);
        L2Report {
            state,
            reason,
            state_age,
            round_trip: supervisors().filter(|one| one.connection().is_some()).find_map(|one| one.round_trip()),
            reconnects: self.context.reconnects.get(),
            keys_gone: [0, 1].map(|kind| self.context.keys_gone[kind].get()),
            commands: self.context.commands.get(),
            errors: self.context.errors.get(),
            undecodable: self.undecodable.get(),
            foreign_messages: self.context.foreign.count.get(),
            refused: self.context.refusals.counts(),
            bus_lag: self.context.lag.snapshot(),
            connections_up: supervisors().filter(|one| one.connection().is_some()).count() as u64,
            connections_down: supervisors().filter(|one| one.connection().is_none()).count() as u64,
            in_flight: self.executor.in_flight() as u64,
            max_in_flight: self.context.config.max_in_flight as u64,
            server,
            keyspace: self.keyspace(),
        }
    }

    fn operations(&self) -> Option<&LabeledHistograms> {
        Some(&self.context.operations.0)
    }

    fn keyspace(&self) -> Option<Arc<KeyspaceSample>> {
        RedisL2::keyspace(self)
    }

    fn halted(&self) -> Option<String> {
        self.health.halted()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        })
    }
}
