//! Audits of one subscription, by groups of partitions: sent, answered, and echoed.

use std::sync::Arc;
use std::time::Duration;

use fred::prelude::Error;
use fred::types::Value;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::primary::Primary;
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::connection::redis_error::ConnectError;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::{number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::tier::BoxFuture;
use crate::units::format_duration;

/// Shortest time without an echo after which a subscription is closed.
pub const MIN_ECHO_TIMEOUT: Duration = Duration::from_millis(500);

/// The replies of an audit's scripts, by group. The echoes arrive separately.
pub type AuditReplies = BoxFuture<'static, Vec<Result<Vec<Value>, Error>>>;

/// The partitions of a subscription, in groups.
pub struct AuditGroups {
    primary: Arc<Primary>,
    context: Arc<RedisContext>,
    groups: Vec<AuditGroup>,
    /// Time without an echo after which the subscription is closed.
    echo_timeout: Duration,
}

/// Partitions that are audited by one script.
pub struct AuditGroup {
    /// Partitions.
    pub partitions: Arc<[u16]>,
    /// Channel of the echoes.
    pub echo_channel: String,
    /// Start of the wait for the next echo.
    awaiting_since: Instant,
    echoed: bool,
    /// True if one of its channels was refused: its echoes prove nothing.
    pub is_refused: bool,
}

// === impl AuditGroups ===

impl AuditGroups {
    /// Creates the groups of `partitions`, none of them echoed.
    pub fn new(primary: &Arc<Primary>, partitions: &[u16]) -> AuditGroups {
        let context = primary.context.clone();
        let group = |partitions: &[u16]| AuditGroup {
            partitions: partitions.into(),
            echo_channel: context.keys.replica_channel(partitions[0], context.replica),
            awaiting_since: Instant::now(),
            echoed: false,
            is_refused: false,
        };
        let groups = context.keys.groups(partitions).map(group).collect();
        let echo_timeout = (context.config.max_staleness / 2).max(MIN_ECHO_TIMEOUT);
        AuditGroups { primary: primary.clone(), groups, echo_timeout, context }
    }

    /// The groups.
    pub fn groups(&self) -> &[AuditGroup] {
        &self.groups
    }

    /// The groups, to record which of them are refused.
    pub fn groups_mut(&mut self) -> &mut [AuditGroup] {
        &mut self.groups
    }

    /// Starts the wait for the first echo.
    pub fn await_echoes(&mut self) {
        self.groups.iter_mut().for_each(|group| group.awaiting_since = Instant::now());
    }

    /// Sends an audit.
    pub fn send(&self, connection: &Arc<Connection>, nonce: u64) -> AuditReplies {
        let script = |group: &AuditGroup| {
            let (connection, context) = (connection.clone(), &self.context);
            let counters = context.keys.counters(&group.partitions);
            let args = vec![
                context.floors_argument(&group.partitions),
                connection.identity.as_str().into(),
                context.keys.partitions().to_string().into(),
                group.echo_channel.as_str().into(),
                Value::Bytes(codec::echo_head(nonce, &context.protection).into()),
                Value::Bytes(codec::partition_numbers(&group.partitions).into()),
                codec::replica_field(context.replica).into(),
                context.longest_pause().as_micros().to_string().into(),
            ];
            let primary = self.primary.clone();
            async move {
                let sent_at = primary.context.clock.now();
                let reply = connection.run(Script::Audit, counters, args).await?;
                if let (Some("OK"), Some(micros)) = (status(&reply), number(&reply, 1)) {
                    let micros = u64::try_from(micros).unwrap_or_default();
                    primary.sample_clock(micros, sent_at, primary.context.clock.now());
                }
                Ok(reply)
            }
        };
        Box::pin(join_all(self.groups.iter().map(script).collect::<Vec<_>>()))
    }

    /// Checks the replies of an audit. Fails if the subscription has to be replaced.
    pub fn check(&mut self, replies: Vec<Result<Vec<Value>, Error>>) -> Result<(), ConnectError> {
        for (group, reply) in self.groups.iter_mut().zip(replies) {
            match check_reply(reply, self.context.keys.partitions()) {
                Ok(()) => self.primary.health.agreed(),
                Err(ConnectError::Misplaced(why)) if self.context.keys.sharded() => {
                    // The slot is moving to another primary. If it stays, the next placement
                    // restores it.
                    (group.awaiting_since, group.echoed) = (Instant::now(), false);
                    self.context.misplaced.notify_one();
                    self.primary.health.subscription_fails(&why);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records an echo of the group that begins with partition `first`. Returns true if every group
    /// has echoed.
    pub fn record_echo(&mut self, first: u16) -> bool {
        let is_echoed = |group: &&mut AuditGroup| !group.is_refused && group.partitions.first() == Some(&first);
        if let Some(group) = self.groups.iter_mut().find(is_echoed) {
            (group.awaiting_since, group.echoed) = (Instant::now(), true);
        }
        self.groups.iter().all(|group| group.echoed)
    }

    /// Fails if a group has not echoed for too long. fred does not report that SUBSCRIBE was
    /// refused.
    pub fn check_silence(&self) -> Result<(), ConnectError> {
        let is_silent = |group: &&AuditGroup| group.awaiting_since.elapsed() > self.echo_timeout;
        let Some(silent) = self.groups.iter().find(is_silent) else { return Ok(()) };
        let hint = if silent.echoed {
            ""
        } else {
            " (may this user subscribe? docs/redis.md lists the rights this service needs)"
        };
        let silence = format_duration(self.echo_timeout);
        Err(ConnectError::Failed(format!("no echo came back through the subscription for {silence}{hint}")))
    }
}

fn check_reply(reply: Result<Vec<Value>, Error>, partitions: u16) -> Result<(), ConnectError> {
    let reply = reply?;
    match (status(&reply), number(&reply, 1)) {
        (Some("OK"), _) => Ok(()),
        (Some("PARTITIONS"), Some(theirs)) => Err(ConnectError::Partitions { theirs, ours: partitions }),
        (Some("BEHIND"), _) => Err(ConnectError::Failed("redis has older data than before; reconnecting".to_owned())),
        _ => Err(ConnectError::Failed("unexpected reply to an audit".to_owned())),
    }
}
