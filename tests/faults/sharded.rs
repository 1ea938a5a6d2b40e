//! Drills of Redis Cluster: three primaries with a replica each.
//!
//! A primary that is replaced while it is frozen may not write after it thaws: it learns of the
//! change before it answers, or very soon.

use rand::Rng as _;
use tokio::time::sleep;

use super::drill::{MARK, World, drill, kill_with_unreplicated_writes, length, millis};
use super::harness::{Cluster, Reply, eventually};
use super::load::Load;

const REPAIR: &[(&str, &str)] = &[("redis.failover", "repair")];
const COLD: &[(&str, &str)] = &[("redis.failover", "cold")];

async fn world(settings: &[(&str, &str)]) -> World<Cluster> {
    let redis = Cluster::start(&[]).await;
    let url = redis.url();
    World::connected_to(redis, &url, settings).await
}

/// Slot of a random partition.
async fn some_slot(redis: &Cluster) -> u16 {
    redis.slot(rand::rng().random_range(0..64)).await
}

drill!(d15_no_fault_at_all, Load::default(), world(REPAIR), |world| {
    world.hold_load().await;
});

/// So many keys that a lost write is not soon written again.
fn many_keys() -> Load {
    Load { keys: 400, ..Load::default() }
}

/// Kills the primary of partition 0 repeatedly. If `ahead`, it has acknowledged writes that it did
/// not replicate.
async fn kill_primaries(world: &mut World<Cluster>, ahead: bool) {
    let slot = world.redis.slot(0).await;
    while world.has_time() {
        world.redis.wait_until_settled().await;
        let old = world.redis.primary(slot).await.unwrap();
        if ahead {
            let replica = world.redis.replica(old).await.unwrap();
            kill_with_unreplicated_writes(&mut world.redis.nodes, old, &[replica], sleep(millis(400))).await;
        } else {
            world.redis.nodes[old].kill9();
        }
        let new = world.redis.wait_for_new_primary(slot, old).await;
        assert_eq!(world.redis.nodes[new].cli(&["GET", MARK]).await, Reply::Nil, "no write was lost");
        world.wait_for_recovery().await;
        world.redis.nodes[old].restart().await;
    }
}

drill!(d15_a_primary_is_killed, Load::default(), world(REPAIR), |world| {
    kill_primaries(world, false).await;
});

drill!(d15_acknowledged_writes_are_lost, many_keys(), world(REPAIR), |world| {
    kill_primaries(world, true).await;
});

drill!(d15_acknowledged_writes_are_lost_cold, many_keys(), world(COLD), |world| {
    kill_primaries(world, true).await;
});

drill!(d15_an_operator_fails_over, Load::default(), world(REPAIR), |world| {
    while world.has_time() {
        world.redis.wait_until_settled().await;
        let slot = some_slot(&world.redis).await;
        world.redis.fail_over(slot).await;
        world.wait_for_recovery().await;
    }
});

// The old primary is promoted again as soon as possible.
drill!(d15_an_operator_fails_over_and_back, many_keys(), world(REPAIR), |world| {
    while world.has_time() {
        world.redis.wait_until_settled().await;
        let slot = some_slot(&world.redis).await;
        let first = world.redis.primary(slot).await.unwrap();
        let second = world.redis.fail_over(slot).await;
        sleep(millis(rand::rng().random_range(0..800))).await;
        eventually("the old primary is promoted again", async || {
            // Refused while it is not a replica yet, and when it is no longer one.
            let _ = world.redis.nodes[first].try_cli(&["CLUSTER", "FAILOVER"]).await;
            world.redis.primary(slot).await.is_some_and(|primary| primary != second)
        })
        .await;
        world.wait_for_recovery().await;
        sleep(world.bound).await;
    }
});

// The old primary thaws and does not know yet that it was replaced. It then answers the requests of
// the frozen time.
drill!(
    d15_a_primary_is_frozen_until_it_is_replaced,
    Load { strong: false, ..Load::default() },
    world(REPAIR),
    |world| {
        while world.has_time() {
            let slot = some_slot(&world.redis).await;
            let old = world.redis.primary(slot).await.unwrap();
            world.redis.nodes[old].freeze();
            world.redis.wait_for_new_primary(slot, old).await;
            sleep(millis(500)).await;
            world.redis.nodes[old].thaw();
            world.wait_for_recovery().await;
            world.redis.wait_until_settled().await;
        }
    }
);

drill!(d15_slots_move, Load::default(), world(REPAIR), |world| {
    while world.has_time() {
        let (slot, from, to) = some_move(&world.redis).await;
        world.redis.begin_move(slot, from, to).await;
        while world.redis.move_keys(slot, from, to, 1).await > 0 {
            sleep(millis(2)).await;
        }
        world.redis.end_move(slot, from, to).await;
        sleep(millis(rand::rng().random_range(0..100))).await;
    }
});

// The keys of a slot are on two nodes, and Redis answers a script for both with TRYAGAIN.
drill!(d15_slots_are_left_half_moved, Load::default(), world(REPAIR), |world| {
    while world.has_time() {
        let (slot, from, to) = some_move(&world.redis).await;
        world.redis.begin_move(slot, from, to).await;
        world.redis.move_keys(slot, from, to, rand::rng().random_range(1..3)).await;
        sleep(length() / 3).await;
        world.redis.end_move(slot, from, to).await;
        world.wait_for_recovery().await;
    }
});

/// Slot of a random partition, its primary, and another primary.
async fn some_move(redis: &Cluster) -> (u16, usize, usize) {
    loop {
        let (slot, other) = (some_slot(redis).await, some_slot(redis).await);
        let (from, to) = (redis.primary(slot).await.unwrap(), redis.primary(other).await.unwrap());
        if from != to {
            return (slot, from, to);
        }
    }
}

// A node that the service knows leaves the cluster.
drill!(d15_a_node_is_removed, Load::default(), world(REPAIR), |world| {
    while world.has_time() {
        world.redis.wait_until_settled().await;
        let slot = some_slot(&world.redis).await;
        let old = world.redis.primary(slot).await.unwrap();
        let new = world.redis.fail_over(slot).await;
        world.redis.wait_until_settled().await;
        world.redis.remove(old).await;
        world.wait_for_recovery().await;
        sleep(world.bound).await;
        world.redis.add_replica(old, new).await;
    }
});
