//! The failovers of L2 in Redis: how an epoch began, and which replicas have settled it.

use std::time::Duration;

use fred::types::Value;

use super::redis_l2::RedisL2;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::{number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::tier::{BoxFuture, FailoverStore, L2Error, Settlement, Takeover};

/// Shortest timeout of replicas in a failover.
const MIN_SETTLEMENT_TIMEOUT: Duration = Duration::from_secs(5);

impl FailoverStore for RedisL2 {
    fn takeover(&self, partition: u16, epoch: u64, deadline: Moment) -> BoxFuture<'_, Result<Takeover, L2Error>> {
        Box::pin(async move {
            let reply = self.settlement(partition, epoch, "look", deadline).await?;
            let text =
                |index| reply.get(index).and_then(Value::as_bytes).and_then(|text| std::str::from_utf8(text).ok());
            let unknown = || L2Error::unavailable("unexpected reply from redis");
            match (text(2), text(3)) {
                (Some(""), _) => Ok(Takeover::Anew),
                (Some(prior), Some(trusted_from)) => {
                    let read = prior.parse().ok().zip(trusted_from.parse().ok());
                    read.map(|(prior, trusted_from)| Takeover::From { prior, trusted_from }).ok_or_else(unknown)
                }
                _ => Err(unknown()),
            }
        })
    }

    fn settle(
        &self,
        partition: u16,
        epoch: u64,
        settlement: Settlement,
        deadline: Moment,
    ) -> BoxFuture<'_, Result<bool, L2Error>> {
        Box::pin(async move {
            let action = match settlement {
                Settlement::Repaired => "done",
                Settlement::Forgotten => "drop",
                Settlement::Cold => "cold",
            };
            let reply = self.settlement(partition, epoch, action, deadline).await?;
            Ok(number(&reply, 1) == Some(1))
        })
    }

    fn is_behind(&self, partition: u16) {
        tracing::warn!(partition, "redis: primary returned data older than its messages; reconnecting");
        if let Ok(shard) = self.executor.shard(partition) {
            shard.condemn();
        }
        self.context.misplaced.notify_one();
    }
}

// === impl RedisL2 ===

impl RedisL2 {
    /// Reads or continues the settlement of the failover that began `epoch`.
    async fn settlement(
        &self,
        partition: u16,
        epoch: u64,
        action: &'static str,
        deadline: Moment,
    ) -> Result<Vec<Value>, L2Error> {
        let timeout = MIN_SETTLEMENT_TIMEOUT.max(2 * self.context.config.max_staleness);
        let args = vec![
            epoch.to_string().into(),
            codec::replica_field(self.context.replica).into(),
            action.into(),
            timeout.as_micros().to_string().into(),
        ];
        let reply = self.executor.run_script(Script::SettleFailover, partition, args, deadline).await?;
        match status(&reply) {
            Some("OK") => Ok(reply),
            _ => Err(L2Error::unavailable("redis began another epoch")),
        }
    }
}
