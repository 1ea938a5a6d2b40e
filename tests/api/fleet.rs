//! Stats of the whole fleet.

use twintier::pb;

use crate::harness::{Cluster, Fleet, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, eventually, in_both_modes};

impl Replica {
    pub async fn fleet(&self) -> pb::StatsResponse {
        let request = pb::StatsRequest { scope: pb::StatsScope::Fleet.into(), ..Default::default() };
        self.client.clone().stats(request).await.expect("stats").into_inner()
    }

    async fn id(&self) -> String {
        self.stats().await.replica.unwrap().id
    }
}

fn ids(stats: &pb::StatsResponse) -> Vec<String> {
    stats.fleet.iter().map(|replica| replica.id.clone()).collect()
}

async fn sorted_ids(replicas: &[&Replica]) -> Vec<String> {
    let mut all = Vec::new();
    for replica in replicas {
        all.push(replica.id().await);
    }
    all.sort();
    all
}

in_both_modes! {
    fleet_stats_of_one_replica_are_its_own,
    an_unknown_scope_is_refused,
}

async fn fleet_stats_of_one_replica_are_its_own(mode: Mode) {
    let replica = mode.replica(&[]).await;
    replica.set("k", "v").await;
    let stats = replica.fleet().await;
    assert_eq!(ids(&stats), [replica.id().await]);
    assert_eq!(stats.fleet[0].version, env!("CARGO_PKG_VERSION"));
    assert!(stats.fleet[0].start_time.is_some() && stats.fleet[0].audit_age.is_some());
    assert_eq!(stats.namespaces[0].sets_stored, 1);
    assert_eq!(replica.stats().await.fleet, []);
}

async fn an_unknown_scope_is_refused(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let request = pb::StatsRequest { namespace: "No!".into(), scope: 7 };
    let refused = replica.client.clone().stats(request).await.unwrap_err();
    refused.assert_violations(&[("namespace", "No!"), ("scope", "must be a StatsScope; was 7")]);
}

async fn counts_are_added_up(one: &Replica, other: &Replica) {
    for n in 0..10 {
        one.set(&n.to_string(), "v").await;
        other.set_in("elsewhere", &n.to_string(), "v").await;
    }
    one.set_in("elsewhere", "k", "v").await;
    let all = sorted_ids(&[one, other]).await;
    for replica in [one, other] {
        eventually("the fleet's counts are summed up", async || {
            let stats = replica.fleet().await;
            let sets =
                |name| stats.namespaces.iter().find(|stats| stats.namespace == name).map(|stats| stats.sets_stored);
            ids(&stats) == all && sets("default") == Some(10) && sets("elsewhere") == Some(11)
        })
        .await;
    }
    let (fleet, own) = (one.fleet().await, one.stats().await);
    let l1 = fleet.l1.unwrap();
    assert_eq!(l1.max_bytes, 2 * own.l1.unwrap().max_bytes);
    let coherence = fleet.coherence.unwrap();
    assert!(coherence.messages_own >= 21, "{coherence:?}");
    assert_eq!(coherence.partitions, own.coherence.unwrap().partitions);
    assert_eq!(fleet.replica.unwrap().id, own.replica.unwrap().id);
    assert!(fleet.fleet.iter().all(|replica| replica.age.is_some_and(|age| age.seconds < 10)), "{:?}", fleet.fleet);
    let request = pb::StatsRequest { namespace: "elsewhere".into(), scope: pb::StatsScope::Fleet.into() };
    let filtered = one.client.clone().stats(request).await.unwrap().into_inner().namespaces;
    assert_eq!(filtered.iter().map(|stats| stats.namespace.as_str()).collect::<Vec<_>>(), ["elsewhere"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_stats_sum_up_all_replicas() {
    let fleet = Fleet::start(2, &[]).await;
    counts_are_added_up(&fleet[0], &fleet[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_stats_sum_up_all_replicas_in_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let (one, other) =
        (Replica::connected_to(&cluster.url(), &[]).await, Replica::connected_to(&cluster.url(), &[]).await);
    one.wait_until_proven().await;
    other.wait_until_proven().await;
    counts_are_added_up(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_stats_omit_a_stopped_replica() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::on(&redis, SHORT_BOUND).await, Replica::on(&redis, SHORT_BOUND).await);
    let all = sorted_ids(&[&one, &other]).await;
    eventually("both replicas are listed", async || ids(&one.fleet().await) == all).await;
    other.stop().await;
    let alone = [one.id().await];
    eventually("one replica is listed", async || ids(&one.fleet().await) == alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_stats_cover_only_this_replica_while_redis_is_down() {
    let mut fleet = Fleet::start(2, SHORT_BOUND).await;
    let all = sorted_ids(&[&fleet[0], &fleet[1]]).await;
    eventually("both replicas are listed", async || ids(&fleet[0].fleet().await) == all).await;
    fleet.redis.kill9();
    let own = [fleet[0].id().await];
    eventually("the replica reports on itself", async || ids(&fleet[0].fleet().await) == own).await;
    fleet.redis.restart().await;
    eventually("both replicas are listed again", async || ids(&fleet[0].fleet().await) == all).await;
}
