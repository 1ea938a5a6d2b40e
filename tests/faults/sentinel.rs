//! Drills of Redis with Sentinel.
//!
//! Acknowledged writes that a failover loses are invalidated again by the replica that acknowledged
//! them, or everything from before is a miss: the bound is the same. A primary that is replaced
//! while it lives goes on until the sentinels look at it again, many seconds later: there it may
//! take writes only while a replica of it follows, and the bound is longer by min-replicas-max-lag.

use rand::Rng as _;
use tokio::time::sleep;
use twintier::cache::coherence::safeguards::Safeguards;

use super::drill::{MARK, SETTINGS, World, dies_ahead, drill, length, millis};
use super::harness::{Proxy, Redis, Replica, Reply, Sentinels, command_as};
use super::load::Load;

const REPAIR: &[(&str, &str)] = &[("redis.failover", "repair")];
const COLD: &[(&str, &str)] = &[("redis.failover", "cold")];
/// The user that the service is, where nodes are separated.
const SERVICE: &str = "service";
/// A primary that no replica follows takes no writes.
const GUARDED: &[&str] = &["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];

async fn world(settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::start(&[]).await;
    let url = redis.url();
    World::connected_to(redis, &url, settings).await
}

/// Two servers, with the given protections.
#[cfg(feature = "drills")]
pub async fn two_with(protections: Safeguards) -> World<Sentinels> {
    let redis = Sentinels::of(&[], TWO).await;
    let url = redis.url();
    let mut world = World::connected_to_with(redis, &url, REPAIR, protections).await;
    world.bound += millis(1000);
    world
}

/// A primary comes back in the life that it had.
#[cfg(feature = "drills")]
pub async fn primaries_come_back(world: &mut World<Sentinels>) {
    there_and_back(world, Return::Asked).await;
}

/// With the given protections.
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

/// Load on primaries that may go on when they are replaced, where STRONG is not what it says.
fn not_strong() -> Load {
    Load { strong: false, ..Load::default() }
}

/// So many keys that what was lost is not soon written again.
pub fn many_keys() -> Load {
    Load { keys: 400, ..Load::default() }
}

/// Kills the primary again and again. `ahead`: with writes that it acknowledged and nobody else
/// has.
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

// What the new primary knows of the fleet is old, too: it does not wait for this replica, which
// acknowledged writes that are lost.
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

/// How a primary is replaced and comes back.
#[derive(Clone, Copy)]
enum Return {
    /// An operator asks the sentinels, twice.
    Asked,
    /// It freezes, and thaws when another one has been promoted, which then dies.
    Frozen,
}

/// Rounds that are tried until a primary has come back in the life it had.
const ROUNDS: usize = 6;

/// Has the primary replaced, and named again before the sentinels have made a replica of it: in the
/// life that it had, without the writes of the time in between.
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
        // Writes are acknowledged there.
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
        // What is wrong then shows while nobody writes it anew.
        sleep(world.bound + millis(1000)).await;
    }
    println!("  {returned} of {rounds} came back in the life that they had");
    assert!(returned > 0, "no primary came back before it became a replica: nothing was shown");
}

/// Two servers, or three of which one is never promoted.
async fn returning_world(guard: &[&str], replicas: &[&[&str]], settings: &[(&str, &str)]) -> World<Sentinels> {
    let redis = Sentinels::of(guard, replicas).await;
    let url = redis.url();
    let mut world = World::connected_to(redis, &url, settings).await;
    world.bound += millis(1000);
    world
}

const TWO: &[&[&str]] = &[&[]];
const THREE: &[&[&str]] = &[&[], &["--replica-priority", "0"]];

/// What is written once is not written again before the bound has passed.
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

// It is not down for the sentinels, or just.
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

/// Sentinels, and the way of one of our replicas to them.
struct Split {
    redis: Sentinels,
    ways: Vec<Proxy>,
}

/// Everybody but the service and these drills is the default user, who can be shut out of a node.
async fn separable() -> Sentinels {
    Sentinels::start(&[GUARDED, &["--user", SERVICE, "on", "nopass", "~*", "&*", "+@all"]].concat()).await
}

/// Shuts sentinels and other Redis out of a node, or lets them in again.
async fn separate(node: &Redis, apart: bool) {
    let default = if apart { "off" } else { "on" };
    for words in [&["ACL", "SETUSER", "default", default][..], &["CLIENT", "KILL", "USER", "default"]] {
        command_as(node.port(), SERVICE, words).await.unwrap();
    }
}

/// The first replica reaches the sentinels by proxies.
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

/// Cuts the primary and our first replica off from the rest, lets the sentinels promote another,
/// and heals it.
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

// The sentinels go away one by one while nothing else is wrong, and come back.
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
