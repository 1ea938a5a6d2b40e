//! The state of L2 in Redis: health, counters of commands, connections and its server.

use std::sync::PoisonError;

use super::redis_l2::RedisL2;
use crate::backend::redis::connection::health::HealthReport;
use crate::cache::stats::LabeledHistograms;
use crate::cache::tier::{BoxFuture, L2Report, TierStatus};

impl TierStatus for RedisL2 {
    fn report(&self) -> L2Report {
        let HealthReport { state, reason, state_age, server_version } = self.health.report();
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        server.version = server_version;
        server.warnings.extend(self.shared.foreign.warning(self.shared.clock.now()));
        let routes = self.executor.routes();
        let links = || routes.shards.iter().flat_map(|shard| &shard.links);
        L2Report {
            state,
            reason,
            state_age,
            round_trip: links().filter(|link| link.connection().is_some()).find_map(|link| link.round_trip()),
            reconnects: self.shared.reconnects.get(),
            keys_gone: [0, 1].map(|kind| self.shared.keys_gone[kind].get()),
            commands: self.shared.commands.get(),
            errors: self.shared.errors.get(),
            undecodable: self.undecodable.get(),
            foreign_messages: self.shared.foreign.count.get(),
            bus_lag: self.shared.lag.snapshot(),
            connections_up: links().filter(|link| link.connection().is_some()).count() as u64,
            connections_down: links().filter(|link| link.connection().is_none()).count() as u64,
            in_flight: self.executor.in_flight() as u64,
            max_in_flight: self.shared.config.max_in_flight as u64,
            server,
            keyspace: self.keyspace(),
        }
    }

    fn operations(&self) -> Option<&LabeledHistograms> {
        Some(&self.shared.operations.0)
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
