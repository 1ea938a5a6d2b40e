//! Decides which server is the primary of which partition: from configuration, sentinels or a
//! Cluster.
//!
//! Among recent reports, the highest configuration epoch wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::discovery::{Query, Reports, TopologyDiscovery};
use super::node_report::NodeReport;
use crate::backend::redis::bus::subscription::Bus;
use crate::backend::redis::command::executor::Routes;
use crate::backend::redis::config::{Address, Servers};
use crate::backend::redis::connection::clock::RedisClock;
use crate::backend::redis::connection::primary::Primary;
use crate::backend::redis::connection::shard::Shard;
use crate::backend::redis::schema::keys::KeySchema;
use crate::backend::redis::store::redis_l2::RedisL2;
use crate::cache::tier::bus::BusSink;

/// The partitions of each primary, in order.
type Placement = BTreeMap<Address, Vec<u16>>;

/// Keeps the routes of `tier` up to date until `stop`.
pub async fn follow(tier: &RedisL2, sink: &Arc<dyn BusSink>, stop: &CancellationToken) {
    let context = tier.context();
    let all = || (0..context.keys.partitions()).collect();
    let followed = async {
        match &context.config.url.servers {
            Servers::Standalone(address) => {
                place(tier, sink, stop, &Placement::from([(address.clone(), all())]), 0);
                std::future::pending().await
            }
            Servers::Sentinel { sentinels, service } => {
                let query = Query::Primary { service: service.clone() };
                let mut discovery = TopologyDiscovery::new(context, query, &context.config.sentinel, sentinels);
                let mut believed: Option<NodeReport> = None;
                loop {
                    match discovery.next_reports().await {
                        Ok(heard) => {
                            believed = believe(believed, &heard);
                            if let Some(claim) = &believed {
                                let placement = Placement::from([(claim.address.clone(), all())]);
                                // The first configuration epoch is 0.
                                place(tier, sink, stop, &placement, claim.epoch.saturating_add(1));
                            }
                        }
                        Err(why) => tier.health().not_placed(&why),
                    }
                }
            }
            Servers::Cluster { seeds } => {
                let credentials = &context.config.url.credentials;
                let mut discovery = TopologyDiscovery::new(context, Query::Members, credentials, seeds);
                loop {
                    match discovery.next_reports().await {
                        Ok(heard) => {
                            // A member's epoch grows for other reasons, too. A replaced primary
                            // becomes a replica, which changes its identity.
                            place(tier, sink, stop, &owners(&heard.reports, &context.keys), 0);
                            discovery.poll_members(seeds, &heard.reports);
                        }
                        Err(why) => tier.health().not_placed(&why),
                    }
                }
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(followed).await;
}

/// Starts new shards, closes those that are gone, and updates the routes.
///
/// `term` is one more than the configuration epoch of sentinels, and 0 without sentinels.
fn place(tier: &RedisL2, sink: &Arc<dyn BusSink>, stop: &CancellationToken, placement: &Placement, term: u64) {
    let keys = &tier.context().keys;
    let routes_before = tier.executor().routes();
    let mut shards: BTreeMap<Address, Arc<Shard>> =
        routes_before.shards.iter().map(|shard| (shard.primary.address.clone(), shard.clone())).collect();
    // The old primary's messages stop to count first; only then may the new one deliver.
    for shard in shards.values() {
        let (before, now) = (shard.primary.partitions(), placement.get(&shard.primary.address));
        let stays = |partition: &u16| now.is_some_and(|now| now.contains(partition));
        let gone: Vec<u16> = before.iter().filter(|partition| !stays(partition)).copied().collect();
        match now {
            None => {
                tracing::info!(server = %shard.primary.address, "redis: dropped primary");
                shard.close();
            }
            Some(_) if !gone.is_empty() => shard.primary.set_partitions(before.iter().copied().filter(stays).collect()),
            Some(_) => continue,
        }
        sink.disconnected(&gone);
    }
    let mut routes = Routes { shards: Vec::new(), by_partition: vec![None; usize::from(keys.partitions())] };
    for (address, partitions) in placement {
        let served: Arc<[u16]> = partitions.as_slice().into();
        let shard = shards.remove(address).unwrap_or_else(|| {
            tracing::info!(server = %address, partitions = partitions.len(), "redis: added primary");
            let before = routes_before.by_partition.get(usize::from(partitions[0])).and_then(Option::as_ref);
            let clock = before.map_or_else(RedisClock::default, |shard| RedisClock::after(&shard.primary.clock));
            let primary = Primary::new(address.clone(), served.clone(), clock, tier.context(), tier.health());
            primary.set_term(term);
            start_shard(tier, sink, Arc::new(primary), stop)
        });
        shard.primary.set_partitions(served);
        shard.primary.set_term(term);
        partitions.iter().for_each(|partition| routes.by_partition[usize::from(*partition)] = Some(shard.clone()));
        routes.shards.push(shard);
    }
    let unplaced = routes.by_partition.iter().filter(|shard| shard.is_none()).count();
    tier.executor().reroute(routes);
    match unplaced {
        0 => tier.health().placed(),
        _ => tier.health().not_placed(&format!("no primary is known for {unplaced} partitions")),
    }
}

/// Starts the connections to a primary and its subscription.
///
/// `stop` ends the service, and with it the shard.
fn start_shard(tier: &RedisL2, sink: &Arc<dyn BusSink>, primary: Arc<Primary>, stop: &CancellationToken) -> Arc<Shard> {
    let (closing, stop) = (stop.clone(), stop.child_token());
    let shard = Shard::start(primary.clone(), tier.tasks(), stop.clone());
    let bus = Bus::new(primary, sink.clone(), closing);
    tier.tasks().spawn(async move { bus.run(stop).await });
    shard
}

/// Chooses among the reports of sentinels: the highest epoch.
///
/// A lower one than before counts only if all sentinels have answered and none reports the former
/// any more.
fn believe(believed: Option<NodeReport>, heard: &Reports) -> Option<NodeReport> {
    let newest = heard.reports.iter().map(|(_, claim)| claim).max_by_key(|claim| claim.epoch)?;
    let still = |before: &NodeReport| !heard.complete || heard.reports.iter().any(|(_, claim)| claim == before);
    match believed {
        Some(before) if before.epoch >= newest.epoch && still(&before) => Some(before),
        _ => Some(newest.clone()),
    }
}

/// The owner of each partition: among those that claim its slot, the one with the highest
/// configuration epoch.
fn owners(claims: &[(Address, NodeReport)], keys: &KeySchema) -> Placement {
    let mut placement = Placement::new();
    for partition in 0..keys.partitions() {
        let slot = keys.slot(partition);
        let claims_it = |claim: &&NodeReport| {
            claim.primary && claim.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
        };
        if let Some(owner) = claims.iter().map(|(_, claim)| claim).filter(claims_it).max_by_key(|claim| claim.epoch) {
            placement.entry(owner.address.clone()).or_default().push(partition);
        }
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    fn claim(port: u16, epoch: u64) -> NodeReport {
        NodeReport { address: tcp("h", port), primary: true, failed: false, epoch, slots: vec![(0, 16383)] }
    }

    fn said(claims: &[NodeReport]) -> Vec<(Address, NodeReport)> {
        claims.iter().map(|claim| (tcp("sentinel", 1), claim.clone())).collect()
    }

    #[test]
    fn the_claim_of_the_highest_epoch_counts() {
        let keys = KeySchema::new("p", 4, true);
        let placement = owners(&said(&[claim(1, 5), claim(2, 7), claim(3, 6)]), &keys);
        assert_eq!(placement, BTreeMap::from([(tcp("h", 2), vec![0, 1, 2, 3])]));
        assert_eq!(owners(&[], &keys), Placement::new());
    }

    #[test]
    fn a_sentinel_that_is_behind_is_not_believed_before_everybody_was_heard() {
        let (old, new) = (claim(1, 5), claim(2, 6));
        let heard = |claims: &[NodeReport], complete| Reports { reports: said(claims), complete };
        assert_eq!(believe(None, &heard(&[old.clone(), new.clone()], false)), Some(new.clone()));
        assert_eq!(believe(Some(new.clone()), &heard(&[old.clone(), new.clone()], true)), Some(new.clone()));
        // A tie is no reason to change.
        let tied = NodeReport { epoch: 6, ..claim(3, 0) };
        assert_eq!(believe(Some(new.clone()), &heard(&[tied, new.clone()], true)), Some(new.clone()));
        assert_eq!(believe(Some(new.clone()), &heard(std::slice::from_ref(&old), false)), Some(new.clone()));
        // No sentinel reports it any more.
        assert_eq!(believe(Some(new), &heard(std::slice::from_ref(&old), true)), Some(old));
    }
}
