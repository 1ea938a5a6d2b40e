//! Drills of Redis with Sentinel.
//!
//! The replica that acknowledged writes which a failover loses invalidates them again, or all
//! earlier entries are misses: the bound is the same. A primary that is replaced while it is up
//! continues until the sentinels check it, many seconds later. Until then it may accept writes only
//! while a replica follows it, and the bound is longer by min-replicas-max-lag.

use rand::Rng as _;
use tokio::time::sleep;
use twintier::cache::coherence::safeguards::Safeguards;

use super::drill::{MARK, SETTINGS, World, drill, kill_with_unreplicated_writes, length, millis};
use super::harness::{Proxy, Redis, Replica, Reply, Sentinels, command_as};
use super::load::Load;

const REPAIR: &[(&str, &str)] = &[("redis.failover", "repair")];
const COLD: &[(&str, &str)] = &[("redis.failover", "cold")];
/// User of the service in worlds where nodes are separated.
const SERVICE: &str = "service";
/// Settings of a primary that accepts no writes without a replica.
const GUARDED: &[&str] = &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];

async fn world(settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::start(&[]).await;
    let url = redis.url();
    World::connected_to(redis, &url, settings).await
}

/// Starts two servers, with these safeguards.
#[cfg(feature = "drills")]
pub async fn two_with(safeguards: Safeguards) -> World<Sentinels> {
    let redis = Sentinels::with_replicas(&[], TWO).await;
    let url = redis.url();
    let mut world = World::connected_to_with(redis, &url, REPAIR, safeguards).await;
    world.bound += millis(1000);
    world
}

/// Runs failovers after which a primary returns in its old life.
#[cfg(feature = "drills")]
pub async fn return_primaries(world: &mut World<Sentinels>) {
    fail_over_and_back(world, ReturnCause::ByOperator).await;
}

/// Starts a world with these safeguards.
pub async fn world_with(safeguards: Safeguards) -> World<Sentinels> {
    let redis = Sentinels::start(&[]).await;
    let url = redis.url();
    World::connected_to_with(redis, &url, REPAIR, safeguards).await
}

async fn guarded_world(settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::start(GUARDED).await;
    let url = redis.url();
    let mut world = World::connected_to(redis, &url, settings).await;
    world.bound += millis(1000);
    world
}

/// Load without STRONG Gets, for primaries that keep answering after they are replaced.
fn load_without_strong() -> Load {
    Load { strong: false, ..Load::default() }
}

/// So many keys that a lost write is not soon written again.
pub fn many_keys() -> Load {
    Load { keys: 400, ..Load::default() }
}

/// Kills the primary repeatedly. If `ahead`, it has acknowledged writes that it did not replicate.
pub async fn kill_primaries(world: &mut World<Sentinels>, ahead: bool) {
    while world.has_time() {
        world.redis.wait_until_settled().await;
        let old = world.redis.primary().await.unwrap();
        if ahead {
            let replicas: Vec<_> = (0..3).filter(|node| *node != old).collect();
            kill_with_unreplicated_writes(&mut world.redis.nodes, old, &replicas, sleep(millis(400))).await;
        } else {
            world.redis.nodes[old].kill9();
        }
        let new = world.redis.wait_for_new_primary(old).await;
        assert_eq!(world.redis.nodes[new].cli(&["GET", MARK]).await, Reply::Nil, "no write was lost");
        world.wait_for_recovery().await;
        world.redis.restart_as_replica(old).await;
    }
}

drill!(d12_the_primary_is_killed, Load::default(), world(REPAIR), |world| {
    kill_primaries(world, false).await;
});

drill!(d12_acknowledged_writes_are_lost, many_keys(), world(REPAIR), |world| {
    kill_primaries(world, true).await;
});

drill!(d12_acknowledged_writes_are_lost_cold, many_keys(), world(COLD), |world| {
    kill_primaries(world, true).await;
});

// The new primary has old data about the fleet, too: it does not wait for this replica, which
// acknowledged lost writes.
drill!(
    d12_acknowledged_writes_of_a_new_replica_are_lost,
    Load { replicas_die: true, ..many_keys() },
    async {
        let redis = Sentinels::start(&[]).await;
        let url = redis.url();
        World::of_processes(redis, &url, &[]).await
    },
    |world| {
        while world.has_time() {
            world.redis.wait_until_settled().await;
            let old = world.redis.primary().await.unwrap();
            let others: Vec<_> = (0..3).filter(|node| *node != old).collect();
            let newcomer = &mut world.replicas[0];
            let joins = async {
                newcomer.replace_process().await;
                newcomer.wait_until_proven().await;
                sleep(millis(200)).await;
            };
            kill_with_unreplicated_writes(&mut world.redis.nodes, old, &others, joins).await;
            let new = world.redis.wait_for_new_primary(old).await;
            assert_eq!(world.redis.nodes[new].cli(&["GET", MARK]).await, Reply::Nil, "no write was lost");
            world.wait_for_recovery().await;
            world.redis.restart_as_replica(old).await;
        }
    }
);

drill!(d12_an_operator_fails_over, load_without_strong(), guarded_world(REPAIR), |world| {
    fail_over_by_operator(world).await;
});

drill!(d12_an_operator_fails_over_cold, load_without_strong(), guarded_world(COLD), |world| {
    fail_over_by_operator(world).await;
});

async fn fail_over_by_operator(world: &mut World<Sentinels>) {
    while world.has_time() {
        world.redis.wait_until_settled().await;
        world.redis.fail_over().await;
        world.wait_for_recovery().await;
    }
}

/// Cause of a replacement and return of a primary.
#[derive(Clone, Copy)]
enum ReturnCause {
    /// An operator requests two failovers.
    ByOperator,
    /// The primary freezes and thaws after another one was promoted, which then dies.
    ByFreeze,
}

/// Most rounds until a primary has returned in its old life.
const ROUNDS: usize = 6;

/// Replaces the primary, and promotes it again before the sentinels have made it a replica: in
/// its old life, and without the writes in between.
async fn fail_over_and_back(world: &mut World<Sentinels>, how: ReturnCause) {
    let (mut rounds, mut returned) = (0, 0);
    while world.has_time() || (returned == 0 && rounds < ROUNDS) {
        rounds += 1;
        world.redis.wait_until_settled().await;
        let first = world.redis.primary().await.unwrap();
        let life = world.redis.life_id(first).await;
        let second = match how {
            ReturnCause::ByOperator => world.redis.fail_over().await,
            ReturnCause::ByFreeze => {
                world.redis.nodes[first].freeze();
                let second = world.redis.wait_for_new_primary(first).await;
                world.redis.nodes[first].thaw();
                second
            }
        };
        // The new primary acknowledges writes.
        sleep(millis(800)).await;
        let named = match how {
            ReturnCause::ByOperator => world.redis.fail_over().await,
            ReturnCause::ByFreeze => {
                world.redis.nodes[second].kill9();
                let named = world.redis.wait_for_new_primary(second).await;
                world.redis.restart_as_replica(second).await;
                named
            }
        };
        returned += usize::from(named == first && life.is_some() && world.redis.life_id(first).await == life);
        world.wait_for_recovery().await;
        // Errors show while the key is not written again.
        sleep(world.bound + millis(1000)).await;
    }
    println!("  {returned} of {rounds} returned in their old life");
    assert!(returned > 0, "no primary returned before it became a replica");
}

/// Starts two servers, or three of which one is never promoted.
async fn returning_world(guard: &[&str], replicas: &[&[&str]], settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::with_replicas(guard, replicas).await;
    let url = redis.url();
    let mut world = World::connected_to(redis, &url, settings).await;
    world.bound += millis(1000);
    world
}

const TWO: &[&[&str]] = &[&[]];
const THREE: &[&[&str]] = &[&[], &["--replica-priority", "0"]];

/// A load that writes a key again only after the bound.
pub fn rarely_written_keys() -> Load {
    Load { keys: 2000, writes: 2, features: 0, strong: false, ..Load::default() }
}

drill!(d12_an_operator_fails_over_and_back, rarely_written_keys(), returning_world(&[], TWO, REPAIR), |world| {
    fail_over_and_back(world, ReturnCause::ByOperator).await;
});

drill!(d12_an_operator_fails_over_and_back_cold, rarely_written_keys(), returning_world(&[], TWO, COLD), |world| {
    fail_over_and_back(world, ReturnCause::ByOperator).await;
});

drill!(
    d12_an_operator_fails_over_and_back_guarded,
    rarely_written_keys(),
    returning_world(GUARDED, THREE, REPAIR),
    |world| {
        fail_over_and_back(world, ReturnCause::ByOperator).await;
    }
);

drill!(d12_a_primary_thaws_and_its_successor_dies, rarely_written_keys(), returning_world(&[], TWO, REPAIR), |world| {
    fail_over_and_back(world, ReturnCause::ByFreeze).await;
});

drill!(
    d12_a_primary_thaws_and_its_successor_dies_guarded,
    rarely_written_keys(),
    returning_world(GUARDED, THREE, REPAIR),
    |world| {
        fail_over_and_back(world, ReturnCause::ByFreeze).await;
    }
);

// The freezes are shorter than the sentinels' limit, or just reach it.
drill!(d12_the_primary_freezes_for_moments, load_without_strong(), guarded_world(REPAIR), |world| {
    while world.has_time() {
        let primary = world.redis.primary().await;
        if let Some(primary) = primary {
            world.redis.nodes[primary].freeze();
            sleep(millis(rand::rng().random_range(100..2000))).await;
            world.redis.nodes[primary].thaw();
        }
        sleep(millis(500)).await;
    }
});

/// Sentinels, with proxies between them and one replica of the service.
struct Split {
    redis: Sentinels,
    ways: Vec<Proxy>,
}

/// Starts sentinels and Redis whose own connections use the default user, which a node can lock
/// out.
async fn separable_sentinels() -> Sentinels {
    Sentinels::start(&[GUARDED, &["--user", SERVICE, "on", "nopass", "~*", "&*", "+@all"]].concat()).await
}

/// Locks sentinels and other Redis servers out of a node, or lets them in again.
async fn separate(node: &Redis, apart: bool) {
    let default = if apart { "off" } else { "on" };
    for words in [&["ACL", "SETUSER", "default", default][..], &["CLIENT", "KILL", "USER", "default"]] {
        command_as(node.port(), SERVICE, words).await.unwrap();
    }
}

/// Starts a world whose first replica reaches the sentinels by proxies.
async fn split_world(settings: &[(&str, &str)]) -> World<Split> {
    let redis = separable_sentinels().await;
    let mut ways = Vec::new();
    for sentinel in &redis.sentinels {
        ways.push(Proxy::to(sentinel.port()).await);
    }
    let ports: Vec<_> = ways.iter().map(Proxy::port).collect();
    let (alone, url) = (Sentinels::url_by(&ports), redis.url());
    let mut replicas = Vec::new();
    let user = [("redis.username", SERVICE), ("redis.password", "any")];
    for url in [&alone, &url, &url] {
        replicas.push(Replica::connected_to(url, &[SETTINGS, settings, &user].concat()).await);
    }
    let mut world = World::of(Split { redis, ways }, Vec::new(), replicas);
    world.bound += millis(1000);
    world.wait_until_proven().await;
    world
}

/// Separates the primary and the first replica from the rest, waits until the sentinels promote
/// another primary, and heals the split.
async fn split_network(world: &mut World<Split>) {
    while world.has_time() {
        let Split { redis, ways } = &world.redis;
        redis.wait_until_settled().await;
        let old = redis.primary().await.unwrap();
        let node = &redis.nodes[old];
        ways.iter().for_each(Proxy::refuse);
        separate(node, true).await;
        redis.wait_for_new_primary(old).await;
        sleep(world.bound).await;
        separate(node, false).await;
        ways.iter().for_each(Proxy::accept_again);
        world.wait_for_recovery().await;
    }
}

drill!(d13_one_replica_is_left_with_the_old_primary, load_without_strong(), split_world(REPAIR), |world| {
    split_network(world).await;
});

drill!(d13_one_replica_is_left_with_the_old_primary_cold, load_without_strong(), split_world(COLD), |world| {
    split_network(world).await;
});

// The sentinels are killed one by one, without another fault, and return.
drill!(d12_sentinels_are_killed, Load::default(), world(REPAIR), |world| {
    while world.has_time() {
        for sentinel in 0..3 {
            world.redis.sentinels[sentinel].kill9();
        }
        sleep(length() / 3).await;
        for sentinel in 0..3 {
            world.redis.sentinels[sentinel].restart().await;
        }
        world.wait_for_recovery().await;
    }
});
