//! Drills of replicas as processes: killed, replaced, with clocks that jump.

use rand::Rng as _;
use tokio::time::sleep;

use super::clock::WallClock;
use super::drill::{World, drill, millis};
use super::harness::{Redis, Reply, command};
use super::load::Load;

fn load() -> Load {
    Load { replicas_die: true, ..Load::default() }
}

async fn world() -> World {
    let redis = Redis::start().await;
    let url = redis.url();
    World::of_processes(redis, &url, &[]).await
}

// Kills a replica at any point between a write to Redis, its message, the entry in memory and the
// acknowledgement.
drill!(d20_a_replica_is_killed_again_and_again, load(), world(), |world| {
    while world.has_time() {
        let unlucky = rand::rng().random_range(0..3);
        world.replicas[unlucky].restart().await;
        sleep(millis(rand::rng().random_range(1..200))).await;
    }
});

// A release with other formats leaves messages and entries in Redis, while replicas are replaced
// one after the other.
drill!(d22_replicas_are_replaced_amid_unreadable_data, load(), world(), |world| {
    while world.has_time() {
        for replica in 0..3 {
            write_other_formats(&world.redis).await;
            world.replicas[replica].replace_process().await;
        }
    }
});

/// Publishes messages of another wire version and of an unknown kind on every partition, and
/// overwrites entries with another format.
async fn write_other_formats(redis: &Redis) {
    for partition in 0..64u16 {
        let channel = format!("twintier:{{{partition}}}:b").into_bytes();
        for head in [[2, 1], [1, 77]] {
            let message = [&head[..], &partition.to_be_bytes(), &[0; 32]].concat();
            redis.cli(&[b"PUBLISH".to_vec(), channel.clone(), message]).await;
        }
    }
    let Reply::List(page) = redis.cli(&["SCAN", "0", "MATCH", "*:v:*", "COUNT", "1000"]).await else { panic!() };
    let Reply::List(entries) = &page[1] else { panic!() };
    for entry in entries.iter().step_by(3) {
        let newer = [b"T\x02".to_vec(), vec![0xff; 40]].concat();
        redis.cli(&[b"SET".to_vec(), entry.text().into_bytes(), newer, b"EX".to_vec(), b"60".to_vec()]).await;
    }
}

/// Redis and replicas with one clock that the drill moves.
struct Clocked {
    redis: Redis,
    clock: WallClock,
}

async fn clocked() -> World<Clocked> {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let (url, environment) = (redis.url(), clock.environment());
    World::of_processes(Clocked { redis, clock }, &url, &environment).await
}

drill!(d21_wall_clocks_jump, Load::default(), clocked(), |world| {
    while world.has_time() {
        let off = rand::rng().random_range(-3600..3600);
        world.redis.clock.set_offset(off);
        sleep(millis(400)).await;
    }
    world.redis.clock.set_offset(0);
});

// Redis makes epochs from its clock, and loses all memory of earlier ones.
drill!(d21_redis_loses_its_data_and_its_clock_goes_back, Load::default(), clocked(), |world| {
    let mut off = 0;
    while world.has_time() {
        off -= 3600;
        world.redis.redis.kill9();
        world.redis.clock.set_offset(off);
        world.redis.redis.restart().await;
        world.wait_for_recovery().await;
        sleep(world.bound).await;
    }
});

#[tokio::test]
async fn the_drill_moves_the_clock_of_redis() {
    let clock = WallClock::new();
    let redis = Redis::with_environment(&clock.environment()).await;
    let time = async || match redis.cli(&["TIME"]).await {
        Reply::List(parts) => parts[0].text().parse::<i64>().unwrap(),
        other => panic!("{other:?}"),
    };
    let before = time().await;
    clock.set_offset(-3600);
    let after = time().await;
    assert!((3590..=3600).contains(&(before - after)), "{before} {after}");
}
