//! Drills of Redis with Sentinel.
//!
//! The replica that acknowledged writes which a failover loses invalidates them again, or all
//! earlier entries are misses: the bound is the same. A primary that is replaced while it is up
//! continues until the sentinels check it, many seconds later. Until then it may accept writes only
//! while a replica follows it, and the bound is longer by min-replicas-max-lag.

use rand::Rng as _;
use tokio::time::sleep;
use twintier::cache::coherence::safeguards::Safeguards;

use super::drill::{MARK, SETTINGS, World, dies_ahead, drill, length, millis};
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
pub async fn two_with(protections: Safeguards) -> World<Sentinels> {
    let redis = Sentinels::of(&[], TWO).await;
    let url = redis.url();
    let mut world = World::connected_to_with(redis, &url, REPAIR, protections).await;
    world.bound += millis(1000);
    world
}

/// Runs failovers after which a primary returns in its old life.
#[cfg(feature = "drills")]
pub async fn primaries_come_back(world: &mut World<Sentinels>) {
    there_and_back(world, Return::Asked).await;
}

/// Starts a world with these safeguards.
pub async fn world_with(protections: Safeguards) -> World<Sentinels> {
    let redis = Sentinels::start(&[]).await;
    let url = redis.url();
    World::connected_to_with(redis, &url, REPAIR, protections).await
}

async fn guarded_world(settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::start(GUARDED).await;
    let url = redis.url();
    let mut world = World::connected_to(redis, &url, settings).await;
    world.bound += millis(1000);
    world
}

/// Load without STRONG Gets, for primaries that keep answering after they are replaced.
fn not_strong() -> Load {
    Load { strong: false, ..Load::default() }
}

/// So many keys that a lost write is not soon written again.
pub fn many_keys() -> Load {
    Load { keys: 400, ..Load::default() }
}

/// Kills the primary repeatedly. If `ahead`, it has acknowledged writes that it did not replicate.
pub async fn primaries_die(world: &mut World<Sentinels>, ahead: bool) {
    while world.goes_on() {
        world.redis.settles().await;
        let old = world.redis.primary().await.unwrap();
        if ahead {
            let replicas: Vec<_> = (0..3).filter(|node| *node != old).collect();
            dies_ahead(&mut world.redis.nodes, old, &replicas, sleep(millis(400))).await;
        } else {
            world.redis.nodes[old].kill9();
        }
        let new = world.redis.follows(old).await;
        assert_eq!(world.redis.nodes[new].cli(&["GET", MARK]).await, Reply::Nil, "nothing was lost");
        world.recovers().await;
        world.redis.returns(old).await;
    }
}

drill!(d12_the_primary_is_killed, Load::default(), world(REPAIR), |world| {
    primaries_die(world, false).await;
});

drill!(d12_acknowledged_writes_are_lost, many_keys(), world(REPAIR), |world| {
    primaries_die(world, true).await;
});

drill!(d12_acknowledged_writes_are_lost_cold, many_keys(), world(COLD), |world| {
    primaries_die(world, true).await;
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
        while world.goes_on() {
            world.redis.settles().await;
            let old = world.redis.primary().await.unwrap();
            let others: Vec<_> = (0..3).filter(|node| *node != old).collect();
            let newcomer = &mut world.replicas[0];
            let joins = async {
                newcomer.replace_process().await;
                newcomer.wait_until_proven().await;
                sleep(millis(200)).await;
            };
            dies_ahead(&mut world.redis.nodes, old, &others, joins).await;
            let new = world.redis.follows(old).await;
            assert_eq!(world.redis.nodes[new].cli(&["GET", MARK]).await, Reply::Nil, "nothing was lost");
            world.recovers().await;
            world.redis.returns(old).await;
        }
    }
);

drill!(d12_an_operator_fails_over, not_strong(), guarded_world(REPAIR), |world| {
    operator_fails_over(world).await;
});

drill!(d12_an_operator_fails_over_cold, not_strong(), guarded_world(COLD), |world| {
    operator_fails_over(world).await;
});

async fn operator_fails_over(world: &mut World<Sentinels>) {
    while world.goes_on() {
        world.redis.settles().await;
        world.redis.fail_over().await;
        world.recovers().await;
    }
}

/// Cause of a replacement and return of a primary.
#[derive(Clone, Copy)]
enum Return {
    /// An operator requests two failovers.
    Asked,
    /// The primary freezes and thaws after another one was promoted, which then dies.
    Frozen,
}

/// Most rounds until a primary has returned in its old life.
const ROUNDS: usize = 6;

/// Replaces the primary, and promotes it again before the sentinels have made it a replica: in
/// its old life, and without the writes in between.
async fn there_and_back(world: &mut World<Sentinels>, how: Return) {
    let (mut rounds, mut returned) = (0, 0);
    while world.goes_on() || (returned == 0 && rounds < ROUNDS) {
        rounds += 1;
        world.redis.settles().await;
        let first = world.redis.primary().await.unwrap();
        let life = world.redis.life(first).await;
        let second = match how {
            Return::Asked => world.redis.fail_over().await,
            Return::Frozen => {
                world.redis.nodes[first].freeze();
                let second = world.redis.follows(first).await;
                world.redis.nodes[first].thaw();
                second
            }
        };
        // The new primary acknowledges writes.
        sleep(millis(800)).await;
        let named = match how {
            Return::Asked => world.redis.fail_over().await,
            Return::Frozen => {
                world.redis.nodes[second].kill9();
                let named = world.redis.follows(second).await;
                world.redis.returns(second).await;
                named
            }
        };
        returned += usize::from(named == first && life.is_some() && world.redis.life(first).await == life);
        world.recovers().await;
        // Errors show while the key is not written again.
        sleep(world.bound + millis(1000)).await;
    }
    println!("  {returned} of {rounds} came back in the life that they had");
    assert!(returned > 0, "no primary came back before it became a replica: nothing was shown");
}

/// Starts two servers, or three of which one is never promoted.
async fn returning_world(guard: &[&str], replicas: &[&[&str]], settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::of(guard, replicas).await;
    let url = redis.url();
    let mut world = World::connected_to(redis, &url, settings).await;
    world.bound += millis(1000);
    world
}

const TWO: &[&[&str]] = &[&[]];
const THREE: &[&[&str]] = &[&[], &["--replica-priority", "0"]];

/// A load that writes a key again only after the bound.
pub fn rarely_written() -> Load {
    Load { keys: 2000, writes: 2, features: 0, strong: false, ..Load::default() }
}

drill!(d12_an_operator_fails_over_and_back, rarely_written(), returning_world(&[], TWO, REPAIR), |world| {
    there_and_back(world, Return::Asked).await;
});

drill!(d12_an_operator_fails_over_and_back_cold, rarely_written(), returning_world(&[], TWO, COLD), |world| {
    there_and_back(world, Return::Asked).await;
});

drill!(
    d12_an_operator_fails_over_and_back_guarded,
    rarely_written(),
    returning_world(GUARDED, THREE, REPAIR),
    |world| {
        there_and_back(world, Return::Asked).await;
    }
);

drill!(d12_a_primary_thaws_and_its_successor_dies, rarely_written(), returning_world(&[], TWO, REPAIR), |world| {
    there_and_back(world, Return::Frozen).await;
});

drill!(
    d12_a_primary_thaws_and_its_successor_dies_guarded,
    rarely_written(),
    returning_world(GUARDED, THREE, REPAIR),
    |world| {
        there_and_back(world, Return::Frozen).await;
    }
);

// The freezes are shorter than the sentinels' limit, or just reach it.
drill!(d12_the_primary_freezes_for_moments, not_strong(), guarded_world(REPAIR), |world| {
    while world.goes_on() {
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
async fn separable() -> Sentinels {
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
async fn split(settings: &[(&str, &str)]) -> World<Split> {
    let redis = separable().await;
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
async fn splits(world: &mut World<Split>) {
    while world.goes_on() {
        let Split { redis, ways } = &world.redis;
        redis.settles().await;
        let old = redis.primary().await.unwrap();
        let node = &redis.nodes[old];
        ways.iter().for_each(Proxy::refuse);
        separate(node, true).await;
        redis.follows(old).await;
        sleep(world.bound).await;
        separate(node, false).await;
        ways.iter().for_each(Proxy::welcome);
        world.recovers().await;
    }
}

drill!(d13_one_replica_is_left_with_the_old_primary, not_strong(), split(REPAIR), |world| {
    splits(world).await;
});

drill!(d13_one_replica_is_left_with_the_old_primary_cold, not_strong(), split(COLD), |world| {
    splits(world).await;
});

// The sentinels are killed one by one, without another fault, and return.
drill!(d12_sentinels_are_killed, Load::default(), world(REPAIR), |world| {
    while world.goes_on() {
        for sentinel in 0..3 {
            world.redis.sentinels[sentinel].kill9();
        }
        sleep(length() / 3).await;
        for sentinel in 0..3 {
            world.redis.sentinels[sentinel].restart().await;
        }
        world.recovers().await;
    }
});
