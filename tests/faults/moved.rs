//! Drills of a failover by address, without Sentinel: two Redis behind one address.

use tokio::time::sleep;

use super::drill::{MARK, SETTINGS, World, drill, kill_with_unreplicated_writes, millis};
use super::harness::{Proxy, Redis, Replica, Reply, eventually};
use super::load::Load;

/// A primary and its replica, in either order.
struct Pair {
    nodes: [Redis; 2],
    primary: usize,
}

impl Pair {
    /// Starts a pair. If `guarded`, the primary accepts writes only while its replica follows.
    async fn start(guarded: bool) -> Pair {
        let args =
            ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--min-replicas-max-lag", "1"];
        let pair = Pair { nodes: [Redis::with(&args).await, Redis::with(&args).await], primary: 0 };
        pair.wait_until_replicated().await;
        pair.guard(guarded).await;
        pair
    }

    fn primary(&self) -> &Redis {
        &self.nodes[self.primary]
    }

    fn replica(&self) -> &Redis {
        &self.nodes[1 - self.primary]
    }

    /// Makes the replica follow the primary, and waits until it does.
    async fn wait_until_replicated(&self) {
        self.replica().cli(&["REPLICAOF", "127.0.0.1", &self.primary().port().to_string()]).await;
        eventually("the replica follows", async || {
            let Some(Reply::List(role)) = self.primary().try_cli(&["ROLE"]).await else { return false };
            matches!(&role[2], Reply::List(replicas) if replicas.len() == 1)
        })
        .await;
    }

    /// Sets if the primary accepts writes only while its replica follows.
    async fn guard(&self, guarded: bool) {
        let replicas = u8::from(guarded).to_string();
        self.primary().cli(&["CONFIG", "SET", "min-replicas-to-write", &replicas]).await;
    }

    /// Makes the replica the primary.
    async fn promote(&mut self) {
        self.replica().cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
        self.replica().cli(&["REPLICAOF", "NO", "ONE"]).await;
        self.primary = 1 - self.primary;
    }
}

async fn world(guarded: bool) -> World<Pair> {
    let pair = Pair::start(guarded).await;
    let (mut proxies, mut replicas) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let proxy = Proxy::to(pair.primary().port()).await;
        replicas.push(Replica::connected_to(&proxy.url(), SETTINGS).await);
        proxies.push(proxy);
    }
    let world = World::of(pair, proxies, replicas);
    world.wait_until_proven().await;
    world
}

// Acknowledged writes that the replica has not received are lost with the primary.
drill!(d12_the_address_moves_to_a_replica_that_lags, Load::default(), world(false), |world| {
    while world.has_time() {
        let old = world.redis.primary;
        kill_with_unreplicated_writes(&mut world.redis.nodes, old, &[1 - old], sleep(millis(400))).await;
        world.redis.promote().await;
        assert_eq!(world.redis.primary().cli(&["GET", MARK]).await, Reply::Nil, "no write was lost");
        for proxy in &world.proxies {
            proxy.redirect(world.redis.primary().port());
        }
        world.redis.nodes[old].restart().await;
        world.redis.wait_until_replicated().await;
        world.wait_for_recovery().await;
        sleep(millis(300)).await;
    }
});

// One replica of the service stays with the old primary, which may not write without its Redis
// replica. It may still be read: STRONG holds only while a primary is the primary.
drill!(
    d13_one_replica_is_left_with_the_old_primary,
    Load { strong: false, ..Load::default() },
    async {
        let mut world = world(true).await;
        // The bound is the staleness bound plus min-replicas-max-lag.
        world.bound += millis(1000);
        world
    },
    |world| {
        while world.has_time() {
            world.redis.promote().await;
            for proxy in &world.proxies[1..] {
                proxy.redirect(world.redis.primary().port());
            }
            sleep(world.bound).await;
            world.proxies[0].redirect(world.redis.primary().port());
            world.redis.wait_until_replicated().await;
            world.redis.guard(true).await;
            world.wait_for_recovery().await;
        }
    }
);
