//! The drills, each named by its fault.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{sleep, timeout};

use super::drill::{SETTINGS, World, at_length, drill, length, millis};
use super::harness::{Authority, Class, Direction, Redis, Replica, free_port};
use super::load::{Load, flood};
use twintier::cache::coherence::safeguards::Safeguards;
use twintier::pb;

drill!(d00_no_fault_at_all, Load::default(), World::new(&[]), |world| {
    world.hold_load().await;
});

drill!(d01_redis_is_killed_and_comes_back_empty, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.kill9();
        sleep(millis(500)).await;
        world.redis.restart().await;
        world.wait_for_recovery().await;
        sleep(world.bound).await;
    }
});

drill!(d02_redis_is_frozen, Load::default(), World::new(&[]), |world| {
    world.redis.freeze();
    world.hold_fault(length()).await;
    world.redis.thaw();
});

drill!(
    d02_redis_is_frozen_under_large_values,
    Load { value_size: 256 * 1024, clients: 6, pause: millis(5), ..Load::default() },
    World::new(&[]),
    |world| {
        world.redis.freeze();
        world.hold_fault(length()).await;
        world.redis.thaw();
    }
);

drill!(d03_redis_pauses_its_clients, Load::default(), World::new(&[]), |world| {
    let pause = (length().as_millis() / 3).to_string();
    for mode in ["WRITE", "ALL"] {
        world.redis.cli(&["CLIENT", "PAUSE", &pause, mode]).await;
        world.hold_fault(length() / 2).await;
    }
});

drill!(d04_a_subscription_goes_deaf, Load::default(), World::new(&[]), |world| {
    world.proxies[1].lose(Class::Subscription, Direction::ToClient);
    world.hold_fault(length()).await;
    world.proxies[1].resume(Class::Subscription, Direction::ToClient);
});

drill!(d04_a_subscription_is_held_back, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.proxies[1].stall(Class::Subscription, Direction::ToClient);
        sleep(millis(700)).await;
        world.proxies[1].resume(Class::Subscription, Direction::ToClient);
        sleep(millis(300)).await;
    }
});

drill!(d05_a_subscription_goes_mute, Load::default(), World::new(&[]), |world| {
    world.proxies[1].lose(Class::Subscription, Direction::ToServer);
    world.hold_fault(length()).await;
    world.proxies[1].resume(Class::Subscription, Direction::ToServer);
});

drill!(d06_subscriptions_are_cut_again_and_again, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        let unlucky = rand::rng().random_range(0..3);
        world.proxies[unlucky].reset(Class::Subscription);
        sleep(millis(rand::rng().random_range(1..150))).await;
    }
});

/// Cuts a subscription, and prevents new ones for longer than the last proof lasts.
pub async fn keep_subscriptions_cut(world: &mut World) {
    while world.has_time() {
        let unlucky = &world.proxies[rand::rng().random_range(0..3)];
        unlucky.stall(Class::Subscription, Direction::ToServer);
        unlucky.reset(Class::Subscription);
        sleep(millis(1200)).await;
        unlucky.resume(Class::Subscription, Direction::ToServer);
        sleep(millis(rand::rng().random_range(300..600))).await;
    }
}

drill!(d06_subscriptions_stay_cut_for_longer_than_the_bound, Load::default(), World::new(&[]), |world| {
    keep_subscriptions_cut(world).await;
});

drill!(d06_commands_are_cut_again_and_again, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        let unlucky = rand::rng().random_range(0..3);
        world.proxies[unlucky].reset(Class::Commands);
        sleep(millis(rand::rng().random_range(20..300))).await;
    }
});

// Each connection is slower than the rate of messages, so that the subscriber falls behind without
// a gap.
drill!(d07_a_subscriber_is_too_slow, Load::default(), World::new(&[]), |world| {
    let _flood = flood(&world.replicas[0].channel);
    while world.has_time() {
        let rate = [100_000, 30_000, 8_000][rand::rng().random_range(0..3)];
        world.proxies[1].limit_each(Class::Subscription, Direction::ToClient, rate);
        sleep(millis(1500)).await;
        world.proxies[1].resume(Class::Subscription, Direction::ToClient);
        sleep(millis(500)).await;
    }
});

// The limit of Redis ends the subscription: the messages do not fit into the sockets while the
// subscriber reads nothing.
drill!(d08_a_subscriber_overruns_its_output_buffer, Load::default(), World::new(&[]), |world| {
    world.redis.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1"]).await;
    let before = world.replicas[1].coherence().await.disconnects;
    let large = vec![b'.'; 1 << 20];
    while world.has_time() {
        world.proxies[1].stall(Class::Subscription, Direction::ToClient);
        for _ in 0..16 {
            world.redis.cli(&[&b"PUBLISH"[..], b"twintier:{7}:b", &large]).await;
        }
        sleep(millis(300)).await;
        world.proxies[1].resume(Class::Subscription, Direction::ToClient);
        sleep(millis(900)).await;
    }
    assert!(world.replicas[1].coherence().await.disconnects > before, "no subscriber was killed");
});

drill!(d04_messages_come_unevenly, Load::default(), World::new(&[]), |world| {
    for proxy in &world.proxies {
        proxy.jitter(Class::Subscription, Direction::ToClient, millis(200));
        proxy.jitter(Class::Commands, Direction::ToClient, millis(20));
    }
    world.hold_fault(length()).await;
    for proxy in &world.proxies {
        proxy.resume(Class::Subscription, Direction::ToClient);
        proxy.resume(Class::Commands, Direction::ToClient);
    }
});

// Redis kills a subscriber whose output buffer is over its limit, while earlier messages are still
// in flight.
drill!(d08_redis_kills_a_subscriber_that_is_behind, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.proxies[1].stall(Class::Subscription, Direction::ToClient);
        sleep(millis(400)).await;
        world.redis.cli(&["CLIENT", "KILL", "TYPE", "PUBSUB"]).await;
        sleep(millis(200)).await;
        world.proxies[1].resume(Class::Subscription, Direction::ToClient);
        sleep(millis(400)).await;
    }
});

drill!(d09_subscribing_is_refused, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.cli(&["ACL", "SETUSER", "default", "-subscribe", "-ssubscribe", "-psubscribe"]).await;
        world.redis.cli(&["CLIENT", "KILL", "TYPE", "PUBSUB"]).await;
        sleep(millis(700)).await;
        world.redis.cli(&["ACL", "SETUSER", "default", "+@all"]).await;
        world.wait_for_recovery().await;
        sleep(millis(300)).await;
    }
});

// Without rights to channels Redis ends subscriptions, and a script may write but not publish.
drill!(d09_channels_are_refused, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.cli(&["ACL", "SETUSER", "default", "resetchannels"]).await;
        sleep(millis(700)).await;
        world.redis.cli(&["ACL", "SETUSER", "default", "allchannels"]).await;
        world.wait_for_recovery().await;
        sleep(millis(300)).await;
    }
});

drill!(
    d10_redis_restarts_empty_under_full_memories,
    Load { keys: 1000, writes: 10, ..Load::default() },
    World::new(&[]),
    |world| {
        while world.has_time() {
            sleep(world.bound).await;
            world.redis.kill9();
            world.redis.restart().await;
            world.wait_for_recovery().await;
        }
    }
);

// Counters and entries return to an earlier state.
drill!(d10_redis_restarts_from_an_old_snapshot, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.cli(&["SAVE"]).await;
        sleep(world.bound).await;
        world.redis.kill9();
        world.redis.restart().await;
        world.wait_for_recovery().await;
    }
});

drill!(d11_an_operator_flushes_redis, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.cli(&["FLUSHALL"]).await;
        sleep(millis(400)).await;
    }
});

drill!(d14_redis_becomes_a_replica_without_a_disconnect, Load::default(), World::new(&[]), |world| {
    world.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    world.hold_fault(length() / 2).await;
    world.redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
});

drill!(d16_the_network_flaps, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        for proxy in &world.proxies {
            proxy.refuse();
        }
        sleep(Duration::from_micros(rand::rng().random_range(500..10_000))).await;
        for proxy in &world.proxies {
            proxy.accept_again();
        }
        sleep(Duration::from_micros(rand::rng().random_range(500..100_000))).await;
    }
});

drill!(d17_redis_is_full, Load { value_size: 4096, ..Load::default() }, World::new(&[]), |world| {
    world.redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    world.hold_fault(length()).await;
    world.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
});

drill!(
    d18_redis_evicts_anything,
    Load { value_size: 8 * 1024, keys: 400, ..Load::default() },
    async { World::on(Redis::with(&["--maxmemory-policy", "allkeys-random"]).await, &[]).await },
    |world| {
        world.redis.cli(&["CONFIG", "SET", "maxmemory", "3mb"]).await;
        world.hold_fault(length()).await;
        world.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    }
);

drill!(d19_scripts_are_flushed_and_redis_sleeps, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        world.redis.cli(&["SCRIPT", "FLUSH"]).await;
        sleep(millis(100)).await;
        let _ = timeout(millis(900), world.redis.cli(&["DEBUG", "SLEEP", "0.6"])).await;
    }
});

drill!(
    d25_one_hot_key,
    Load { keys: 1, clients: 24, pause: Duration::ZERO, ..Load::default() },
    World::new(&[]),
    |world| {
        world.hold_load().await;
    }
);

/// Load of many readers, without a pause if the drill runs alone.
fn many_readers() -> Load {
    let pause = if at_length() { Duration::ZERO } else { Load::default().pause };
    Load { keys: 2000, clients: 64, writes: 2, pause, ..Load::default() }
}

drill!(d25_many_readers, many_readers(), World::new(&[]), |world| {
    world.hold_load().await;
});

drill!(d04_messages_come_late, Load::default(), World::new(&[]), |world| {
    for proxy in &world.proxies {
        proxy.delay(Class::Subscription, Direction::ToClient, millis(300));
    }
    world.hold_fault(length()).await;
    for proxy in &world.proxies {
        proxy.resume(Class::Subscription, Direction::ToClient);
    }
});

drill!(
    d29_callers_leave_in_the_middle,
    Load { cancelled: 50, ..Load::default() },
    async {
        let world = World::new(&[]).await;
        for proxy in &world.proxies {
            proxy.delay(Class::Commands, Direction::ToClient, millis(2));
        }
        world
    },
    |world| {
        world.hold_fault(length()).await;
    }
);

drill!(d32_poison_on_the_bus, Load::default(), World::new(&[]), |world| {
    while world.has_time() {
        let partition = rand::rng().random_range(0..64);
        let poison: Vec<u8> = (0..rand::rng().random_range(0..80)).map(|_| rand::rng().random()).collect();
        let channel = format!("twintier:{{{partition}}}:b").into_bytes();
        world.redis.cli(&[b"PUBLISH".to_vec(), channel, poison]).await;
        sleep(millis(30)).await;
    }
});

// Several faults occur at once, and some of them last for a while.
drill!(d33_random_faults_occur_together, Load { keys: 100, ..Load::default() }, World::new(&[]), |world| {
    const WAYS: [(Class, Direction); 4] = [
        (Class::Commands, Direction::ToServer),
        (Class::Commands, Direction::ToClient),
        (Class::Subscription, Direction::ToServer),
        (Class::Subscription, Direction::ToClient),
    ];
    while world.has_time() {
        let draw = |below: u64| rand::rng().random_range(0..below);
        let (class, direction) = WAYS[draw(4) as usize];
        let proxy = &world.proxies[draw(3) as usize];
        match draw(10) {
            0 => proxy.stall(class, direction),
            1 => proxy.delay(class, direction, millis(draw(300))),
            2 => proxy.limit_each(class, direction, 5_000 + draw(200_000) as u32),
            3 => proxy.reset(class),
            4 => drop(world.redis.cli(&["FLUSHALL"]).await),
            5 => drop(world.redis.cli(&["SCRIPT", "FLUSH"]).await),
            6 => drop(world.redis.cli(&["CLIENT", "KILL", "TYPE", "PUBSUB"]).await),
            7 => drop(world.redis.cli(&["CLIENT", "PAUSE", "300", "WRITE"]).await),
            8 => {
                world.redis.freeze();
                sleep(millis(draw(600))).await;
                world.redis.thaw();
            }
            _ => {
                world.redis.kill9();
                world.redis.restart().await;
            }
        }
        sleep(millis(draw(300))).await;
        let (class, direction) = WAYS[draw(4) as usize];
        world.proxies.iter().for_each(|proxy| proxy.resume(class, direction));
    }
    for proxy in &world.proxies {
        WAYS.iter().for_each(|(class, direction)| proxy.resume(*class, *direction));
    }
});

// The deployment starts before its Redis.
drill!(
    d30_replicas_start_before_redis,
    Load::default(),
    World::waiting(Redis::not_started(&[]), &[], Safeguards::default()),
    |world| {
        world.hold_fault(length() / 2).await;
        world.redis.restart().await;
        world.wait_for_recovery().await;
    }
);

// The replicas keep the wrong password until Redis accepts it.
drill!(
    d30_replicas_start_with_a_wrong_password,
    Load::default(),
    async {
        let redis = Redis::start().await;
        redis.cli(&["ACL", "SETUSER", "service", "on", "~*", "&*", "+@all", ">right"]).await;
        World::waiting(redis, &[("redis.username", "service"), ("redis.password", "other")], Safeguards::default())
            .await
    },
    |world| {
        world.hold_fault(length() / 2).await;
        world.redis.cli(&["ACL", "SETUSER", "service", ">other"]).await;
        world.wait_for_recovery().await;
    }
);

/// A Redis that also speaks TLS, with certificates that change.
struct Secured {
    redis: Redis,
    authority: Authority,
}

// The certificate of Redis is for another name, until it is replaced.
drill!(
    d30_replicas_start_with_a_certificate_for_another_name,
    Load::default(),
    async {
        let (authority, port) = (Authority::new(), free_port().to_string());
        let (file, (certificate, key)) = (authority.file(), authority.certificate("redis.example"));
        let files = ["--tls-ca-cert-file", &file, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let redis = Redis::with(&[&["--tls-port", &port, "--tls-auth-clients", "no"], &files[..]].concat()).await;
        let url = format!("rediss://127.0.0.1:{port}");
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(Replica::connected_to(&url, &[SETTINGS, &[("redis.tls_ca_file", &file)]].concat()).await);
        }
        World::of(Secured { redis, authority }, Vec::new(), replicas)
    },
    |world| {
        world.hold_fault(length() / 2).await;
        for replica in &world.replicas {
            assert_ne!(replica.redis().await.state(), pb::RedisState::Healthy, "the name was not checked");
        }
        let Secured { redis, authority } = &world.redis;
        let (certificate, key) = authority.certificate("127.0.0.1");
        redis.cli(&["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key]).await;
        world.wait_for_recovery().await;
    }
);
