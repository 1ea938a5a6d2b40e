//! Drills of the checker: without one safeguard it must find a broken promise (feature `drills`).

use std::time::Duration;

use rand::Rng as _;
use tokio::time::sleep;
use twintier::cache::coherence::safeguards::{Safeguard, Safeguards};

use super::checker::Verdict;
use super::drill::World;
use super::drills::keep_subscriptions_cut;
use super::harness::{Class, Direction, Redis};
use super::load::Load;
use super::sentinel;

/// One partition, so that messages follow each other closely.
const ONE_PARTITION: &[(&str, &str)] = &[("coherence.partitions", "1")];

fn load() -> Load {
    Load { keys: 8, clients: 16, pause: Duration::from_micros(200), ..Load::default() }
}

/// Load with so many keys that a replica's own writes miss some of them for longer than the bound.
/// It selects no keys, because that would reach all of them.
fn sparse_load() -> Load {
    Load { keys: 600, features: 0, ..load() }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Repeats the drill until the checker finds a violation. Panics after a few rounds.
async fn assert_caught(safeguard: Safeguard, load: Load, fault: impl AsyncFn(&mut World)) {
    assert_caught_with(safeguard, ONE_PARTITION, load, fault).await;
}

async fn assert_caught_with(
    safeguard: Safeguard,
    settings: &[(&str, &str)],
    load: Load,
    fault: impl AsyncFn(&mut World),
) {
    repeat_until_caught(safeguard, async |name, safeguards| {
        let mut world = World::with(Redis::start().await, settings, safeguards).await;
        world.judge(name, load, async |world| fault(world).await).await.1
    })
    .await;
}

async fn repeat_until_caught(safeguard: Safeguard, drill: impl AsyncFn(&str, Safeguards) -> Verdict) {
    for round in 1..=10 {
        let verdict = drill(&format!("without {safeguard:?}, round {round}"), Safeguards::without(safeguard)).await;
        if let Some(violation) = verdict.violations.first() {
            println!("  caught: {violation}");
            return;
        }
    }
    panic!("{safeguard:?} is off and the checker found nothing");
}

/// Drops the messages of subscriptions for short times.
async fn drop_messages(world: &mut World) {
    while world.has_time() {
        let unlucky = &world.proxies[rand::rng().random_range(0..3)];
        unlucky.lose(Class::Subscription, Direction::ToClient);
        sleep(millis(rand::rng().random_range(1..20))).await;
        unlucky.resume(Class::Subscription, Direction::ToClient);
        sleep(millis(rand::rng().random_range(5..60))).await;
    }
}

/// Redis executes a write, and its reply is lost with the connection.
async fn lose_replies(world: &mut World) {
    while world.has_time() {
        for proxy in &world.proxies {
            proxy.stall(Class::Commands, Direction::ToClient);
        }
        sleep(millis(30)).await;
        for proxy in &world.proxies {
            proxy.reset(Class::Commands);
            proxy.resume(Class::Commands, Direction::ToClient);
        }
        sleep(millis(150)).await;
    }
}

/// Delays commands or their replies.
async fn delay_commands(world: &mut World, direction: Direction, delay: Duration) {
    for proxy in &world.proxies {
        proxy.delay(Class::Commands, direction, delay);
    }
    while world.has_time() {
        sleep(millis(50)).await;
    }
    for proxy in &world.proxies {
        proxy.resume(Class::Commands, direction);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlooked_gap_is_caught_by_lost_messages() {
    assert_caught(Safeguard::Gap, sparse_load(), drop_messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_proof_is_caught_by_a_deaf_subscription() {
    assert_caught(Safeguard::Audit, sparse_load(), async |world| {
        world.proxies[1].stall(Class::Subscription, Direction::ToClient);
        while world.has_time() {
            sleep(millis(50)).await;
        }
        world.proxies[1].resume(Class::Subscription, Direction::ToClient);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_echo_without_suspicion_is_caught_by_cut_subscriptions() {
    assert_caught(Safeguard::FirstEcho, sparse_load(), async |world| {
        // The messages that were held back are lost with the connection.
        while world.has_time() {
            world.proxies[1].stall(Class::Subscription, Direction::ToClient);
            sleep(millis(300)).await;
            world.proxies[1].reset(Class::Subscription);
            world.proxies[1].resume(Class::Subscription, Direction::ToClient);
            sleep(millis(600)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_fence_is_caught_by_slow_answers_of_redis() {
    assert_caught(Safeguard::Fence, load(), async |world| {
        // The answer of Redis takes longer than the message that makes it outdated.
        delay_commands(world, Direction::ToClient, millis(20)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_without_counters_is_caught_by_a_lost_last_message() {
    // With so many partitions the next message of a partition rarely reveals a loss. Selectors are
    // off, because they send a message to each partition.
    let load = Load { keys: 300, pause: millis(4), features: 0, ..load() };
    assert_caught_with(Safeguard::EchoCounters, &[("coherence.partitions", "1024")], load, drop_messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_messages_that_are_ignored_are_caught_by_lost_replies() {
    assert_caught(Safeguard::OwnMessages, load(), lose_replies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_without_an_echo_is_caught_by_a_deaf_subscription() {
    assert_caught(Safeguard::Echo, sparse_load(), async |world| {
        while world.has_time() {
            world.proxies[1].lose(Class::Subscription, Direction::ToClient);
            sleep(millis(1600)).await;
            world.proxies[1].resume(Class::Subscription, Direction::ToClient);
            sleep(millis(400)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overrun_that_is_ignored_is_caught_by_bursts() {
    assert_caught(Safeguard::Lag, sparse_load(), async |world| {
        while world.has_time() {
            world.proxies[1].stall(Class::Subscription, Direction::ToClient);
            sleep(millis(200)).await;
            world.proxies[1].resume(Class::Subscription, Direction::ToClient);
            sleep(millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_counter_that_restarts_is_caught_by_a_flush() {
    assert_caught(Safeguard::NewEpoch, load(), async |world| {
        while world.has_time() {
            world.redis.cli(&["FLUSHALL"]).await;
            sleep(millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_sent_again_is_caught_by_lost_replies() {
    assert_caught(Safeguard::NoRetry, load(), lose_replies).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_announced_first_is_caught_by_slow_requests() {
    assert_caught(Safeguard::OneStep, load(), async |world| {
        delay_commands(world, Direction::ToServer, millis(5)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_without_repair_is_caught_by_acknowledged_writes_that_are_lost() {
    repeat_until_caught(Safeguard::Repair, async |name, safeguards| {
        let mut world = sentinel::world_with(safeguards).await;
        world.judge(name, sentinel::many_keys(), async |world| sentinel::kill_primaries(world, true).await).await.1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_older_entry_is_caught_by_cut_subscriptions() {
    // Redis answers Gets with tokens and STRONG Gets, while memory keeps the state from before the
    // cut.
    let load = Load { keys: 24, features: 0, ..load() };
    assert_caught_with(Safeguard::Monotonic, &[], load, async |world| keep_subscriptions_cut(world).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unnoticed_return_of_a_life_is_caught_by_two_failovers() {
    repeat_until_caught(Safeguard::Return, async |name, safeguards| {
        let mut world = sentinel::two_with(safeguards).await;
        world
            .judge(name, sentinel::rarely_written_keys(), async |world| sentinel::return_primaries(world).await)
            .await
            .1
    })
    .await;
}
