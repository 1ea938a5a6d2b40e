//! The shared store in Redis: in the slot of the first partition, so that one primary has all of
//! it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use fred::types::{Expiration, Value};
use futures_util::future::join_all;

use super::redis_l2::RedisL2;
use crate::backend::redis::command::command_error::CommandError;
use crate::backend::redis::connection::command_metrics::CommandKind;
use crate::backend::redis::connection::large_values::{Load, TRIP_BYTES};
use crate::backend::redis::connection::redis_connection::Connection;
use crate::backend::redis::schema::codec;
use crate::backend::redis::schema::reply::{bytes, number, status};
use crate::backend::redis::schema::scripts::Script;
use crate::cache::clock::Moment;
use crate::cache::fleet::shared_store::{MAX_SETTINGS, ReplicaNote, Settings, SharedStore};
use crate::cache::tier::{BoxFuture, L2Error};
use crate::cache::version::Version;

/// The partition in whose slot the shared store is.
pub const HOME: u16 = 0;
/// Limit of replicas whose notes are read.
const MAX_NOTES: usize = 256;
/// Largest note or list that is read, bytes. Replicas write smaller ones.
const MAX_NOTE_BYTES: usize = 1 << 20;
/// The field that grows with every change.
const REVISION: &str = "revision";

impl SharedStore for RedisL2 {
    fn publish_note(&self, note: Bytes, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<(), L2Error>> {
        Box::pin(self.save(self.context.keys.note(HOME, self.context.replica), note, lifetime, deadline))
    }

    fn notes(&self, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<Vec<ReplicaNote>, L2Error>> {
        Box::pin(async move {
            let pause = self.context.longest_pause().as_micros().to_string().into();
            let reply = self.executor.run_script(Script::LiveReplicas, HOME, vec![pause], deadline).await?;
            let field = |member: &[Value]| Some(std::str::from_utf8(member.first()?.as_bytes()?).ok()?.to_owned());
            let members = reply.get(2..).unwrap_or_default().chunks_exact(2);
            let replicas = members.filter_map(field).filter_map(|field| codec::registered_replica(&field));
            let others = replicas.filter(|replica| *replica != self.context.replica).take(MAX_NOTES);
            let read = others.map(|replica| self.load(self.context.keys.note(HOME, replica), lifetime, deadline));
            let notes: Result<Vec<_>, _> = join_all(read).await.into_iter().collect();
            Ok(notes?.into_iter().flatten().collect())
        })
    }

    fn save_hot_keys(&self, list: Bytes, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<(), L2Error>> {
        Box::pin(self.save(self.context.keys.hot_keys(HOME), list, lifetime, deadline))
    }

    fn hot_keys(&self, lifetime: Duration, deadline: Moment) -> BoxFuture<'_, Result<Option<ReplicaNote>, L2Error>> {
        Box::pin(self.load(self.context.keys.hot_keys(HOME), lifetime, deadline))
    }

    fn settings<'a>(
        &'a self,
        known: &'a Settings,
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Option<Settings>, L2Error>> {
        Box::pin(async move {
            let shard = self.executor.shard(HOME)?;
            let name = self.context.keys.settings(HOME);
            self.context.commands.inc();
            let asked = self.executor.call(&shard, deadline, CommandKind::One("HGET"), |connection| async move {
                connection.client.hget::<Option<String>, _, _>(name, REVISION).await
            });
            let revision = match asked.await {
                Ok(text) => text.and_then(|text| revision_of(text.parse::<u64>().ok()?)).unwrap_or(0),
                // The script deletes the foreign value, and restores the known settings.
                Err(failure) if is_of_another_type(&failure) => {
                    let fields: Vec<_> = known_fields(known);
                    return Ok(Some(self.change(known, "restore", &fields, deadline).await?));
                }
                Err(failure) => return Err(failure.into_read_error()),
            };
            if revision == known.revision {
                return Ok(None);
            }
            // The script decides whether the stored settings are older than the known ones, and
            // restores only then.
            Ok(Some(self.change(known, "restore", &known_fields(known), deadline).await?))
        })
    }

    fn set<'a>(
        &'a self,
        known: &'a Settings,
        fields: &'a [(String, Option<String>)],
        deadline: Moment,
    ) -> BoxFuture<'a, Result<Settings, L2Error>> {
        Box::pin(self.change(known, "set", fields, deadline))
    }
}

/// A revision in the range of scripts.
fn revision_of(revision: u64) -> Option<u64> {
    Version::checked(revision, 0u64).map(|_| revision)
}

fn known_fields(known: &Settings) -> Vec<(String, Option<String>)> {
    known.fields.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
}

/// Returns true if the key holds a value of another type.
fn is_of_another_type(failure: &CommandError) -> bool {
    matches!(failure, CommandError::Refused(error) if error.details().starts_with("WRONGTYPE"))
}

impl RedisL2 {
    pub(in crate::backend::redis) async fn save(
        &self,
        name: String,
        text: Bytes,
        lifetime: Duration,
        deadline: Moment,
    ) -> Result<(), L2Error> {
        let shard = self.executor.shard(HOME)?;
        self.context.commands.inc();
        let lifetime = Some(Expiration::PX(lifetime.as_millis() as i64));
        let load = Load { bytes: text.len(), timeout: deadline.into() };
        let saved = self.executor.call_large(&shard, load, CommandKind::One("SET"), |connection| async move {
            connection.client.set::<Value, _, _>(name, text, lifetime, None, false).await
        });
        saved.await.map(|_| ()).map_err(CommandError::into_read_error)
    }

    pub(in crate::backend::redis) async fn load(
        &self,
        name: String,
        lifetime: Duration,
        deadline: Moment,
    ) -> Result<Option<ReplicaNote>, L2Error> {
        let shard = self.executor.shard(HOME)?;
        self.context.commands.inc();
        let asked = name.clone();
        let load = Load { bytes: TRIP_BYTES, timeout: deadline.into() };
        let loaded = self.executor.call_large(&shard, load, CommandKind::Pipeline(2), |connection| async move {
            let trip = connection.client.pipeline();
            let _: Value = trip.pttl(asked.as_str()).await?;
            let _: Value = trip.getrange(asked, 0, MAX_NOTE_BYTES).await?;
            trip.all::<(i64, Value)>().await
        });
        let (left, text) = match loaded.await {
            Ok(loaded) => loaded,
            Err(failure) if is_of_another_type(&failure) => {
                let foreign = name.clone();
                let deleted =
                    self.executor.call(&shard, deadline, CommandKind::One("UNLINK"), |connection| async move {
                        connection.client.unlink::<Value, _>(foreign).await
                    });
                deleted.await.map_err(CommandError::into_read_error)?;
                self.context.damaged_keys.repaired(&Value::Array(vec![name.into()]), self.context.clock.now());
                return Ok(None);
            }
            Err(failure) => return Err(failure.into_read_error()),
        };
        let left = u64::try_from(left).map(Duration::from_millis);
        let text = bytes(text).filter(|text| !text.is_empty());
        let text = text.and_then(|text| if text.len() > MAX_NOTE_BYTES { self.undecodable() } else { Some(text) });
        Ok(text.zip(left.ok()).map(|(text, left)| ReplicaNote { text, age: lifetime.saturating_sub(left) }))
    }

    async fn change(
        &self,
        known: &Settings,
        action: &'static str,
        fields: &[(String, Option<String>)],
        deadline: Moment,
    ) -> Result<Settings, L2Error> {
        let shard = self.executor.shard(HOME)?;
        let Some((not_after, uncertainty)) = shard.primary.clock.at(deadline) else {
            return Err(L2Error::unavailable("not connected to redis"));
        };
        let mut args: Vec<Value> = vec![
            not_after.to_string().into(),
            known.revision.to_string().into(),
            action.into(),
            MAX_SETTINGS.to_string().into(),
        ];
        for (field, value) in fields {
            args.extend([field.as_str().into(), value.as_deref().unwrap_or_default().into()]);
        }
        let name = self.context.keys.settings(HOME);
        let work =
            |connection: Arc<Connection>| async move { connection.run(Script::Settings, vec![name], args).await };
        let reply = match self.executor.call(&shard, deadline, CommandKind::Script(Script::Settings), work).await {
            Ok(reply) => reply,
            Err(failure) => {
                return Err(failure.as_write_error(deadline.since(self.context.clock.now()) + uncertainty));
            }
        };
        match (status(&reply), number(&reply, 1)) {
            (Some("OK"), Some(revision)) => {
                let revision = u64::try_from(revision).ok().and_then(revision_of);
                let revision = revision.ok_or_else(CommandError::unexpected_reply_to_write)?;
                let fields = reply.into_iter().nth(2).and_then(|fields| fields.convert().ok());
                let mut settings = Settings { revision, fields: fields.unwrap_or_default() };
                settings.fields.remove(REVISION);
                Ok(settings)
            }
            (Some("LOST"), _) => Err(L2Error::unavailable("redis lost the settings; they are being restored")),
            (Some("FULL"), _) => Err(L2Error::Full),
            (Some("LATE"), _) => {
                Err(L2Error::unavailable("the request reached redis too late and was not carried out"))
            }
            _ => Err(CommandError::unexpected_reply_to_write()),
        }
    }
}
