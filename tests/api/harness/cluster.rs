//! Redis Cluster: three primaries with a replica each.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::resp::Reply;
use super::{Redis, deployment_slot, eventually};

const SLOTS: u16 = 16384;

/// The cluster. Its processes are killed on drop.
pub struct Cluster {
    pub nodes: Vec<Redis>,
    _room: SemaphorePermit<'static>,
}

/// A node as another node reports it.
struct Member {
    id: String,
    port: u16,
    flags: String,
    /// Id of its primary, if it is a replica.
    follows: String,
    epoch: u64,
    connected: bool,
    slots: Vec<RangeInclusive<u16>>,
}

impl Member {
    fn serves(&self, slot: u16) -> bool {
        self.slots.iter().any(|slots| slots.contains(&slot))
    }
}

impl Cluster {
    /// Starts the cluster with additional arguments for each node, and waits until it is complete.
    pub async fn start(args: &[&str]) -> Cluster {
        let room = deployment_slot().await;
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = super::redis::free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            let common = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
            let common = [&common[..], &["--cluster-require-full-coverage", "no"]].concat();
            nodes.push((Redis::with(&[&own[..], &common, args].concat()).await, bus));
        }
        for (index, (node, _)) in nodes.iter().enumerate() {
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
        }
        for (node, bus) in &nodes[1..] {
            nodes[0].0.cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]).await;
        }
        let nodes = nodes.into_iter().map(|(node, _)| node).collect();
        let cluster = Cluster { nodes, _room: room };
        for (index, node) in cluster.nodes[..3].iter().enumerate() {
            let (first, last) = (SLOTS as usize * index / 3, SLOTS as usize * (index + 1) / 3 - 1);
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for index in 3..6 {
            let primary = cluster.id(index - 3).await;
            let node = &cluster.nodes[index];
            eventually("a node knows its primary", async || {
                node.try_cli(&["CLUSTER", "REPLICATE", &primary]).await.is_some()
            })
            .await;
        }
        cluster.wait_until_settled().await;
        cluster
    }

    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Slot of a partition of the service.
    pub async fn slot(&self, partition: u16) -> u16 {
        let node = self.nodes.iter().find(|node| node.is_running()).unwrap();
        node.cli(&["CLUSTER", "KEYSLOT", &format!("{{{partition}}}")]).await.number() as u16
    }

    /// Index of the node that serves a slot. If several claim it, the one with the newest
    /// configuration.
    pub async fn primary(&self, slot: u16) -> Option<usize> {
        let mut newest = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(members) = members(node).await else { continue };
            let mine = members.iter().find(|member| member.flags.contains("myself"))?;
            if mine.serves(slot) {
                newest = newest.max(Some((mine.epoch, index)));
            }
        }
        newest.map(|(_, index)| index)
    }

    /// Index of a replica of this node that is up.
    pub async fn replica(&self, primary: usize) -> Option<usize> {
        let members = members(&self.nodes[primary]).await?;
        let id = &members.iter().find(|member| member.flags.contains("myself"))?.id;
        let up = |member: &&Member| member.follows == *id && member.connected && !member.flags.contains("fail");
        self.index(members.iter().find(up)?.port)
    }

    /// Waits until another node than `old` serves the slot, and returns its index.
    pub async fn wait_for_new_primary(&self, slot: u16, old: usize) -> usize {
        let mut new = old;
        eventually("another node serves the slot", async || {
            new = self.primary(slot).await.unwrap_or(old);
            new != old
        })
        .await;
        new
    }

    /// Waits until every node knows every other, all slots are served, and every primary has a
    /// replica with its data.
    pub async fn wait_until_settled(&self) {
        eventually("the cluster is complete", async || {
            let mut views = BTreeSet::new();
            for node in &self.nodes {
                let Some(members) = members(node).await else { return false };
                let Some(info) = node.try_cli(&["CLUSTER", "INFO"]).await else { return false };
                let Some(Reply::List(role)) = node.try_cli(&["ROLE"]).await else { return false };
                let ready = match role[0].text().as_str() {
                    "master" => {
                        members.iter().any(|member| member.flags.contains("myself") && !member.slots.is_empty())
                    }
                    _ => role[3].text() == "connected",
                };
                let sound = members.iter().all(|member| member.connected && !member.flags.contains("fail"));
                let mut view: Vec<_> = members.iter().map(|member| (member.port, member.slots.clone())).collect();
                view.sort_by_key(|(port, _)| *port);
                views.insert(format!("{view:?}"));
                let info = info.text();
                let whole = info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
                if !ready || !sound || !whole || members.len() != self.nodes.len() {
                    return false;
                }
            }
            views.len() == 1
        })
        .await;
    }

    /// Starts a manual failover to a replica, waits until it serves `slot`, and returns its index.
    pub async fn fail_over(&self, slot: u16) -> usize {
        loop {
            let mut old = 0;
            eventually("a replica agrees to take over", async || {
                let Some(primary) = self.primary(slot).await else { return false };
                let Some(replica) = self.replica(primary).await else { return false };
                old = primary;
                self.nodes[replica].try_cli(&["CLUSTER", "FAILOVER"]).await.is_some()
            })
            .await;
            // The nodes abort a failover after five seconds if the replica cannot catch up.
            if let Ok(new) = timeout(Duration::from_secs(6), self.wait_for_new_primary(slot, old)).await {
                return new;
            }
        }
    }

    /// Starts to move a slot. No key has moved yet.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from).await, self.id(to).await);
        self.nodes[to].cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        self.nodes[from].cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    }

    /// Moves up to `most` keys of a migrating slot. Returns their number.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, most: u32) -> usize {
        let reply = self.nodes[from].cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &most.to_string()]).await;
        let Reply::List(keys) = reply else { panic!("keys: {reply:?}") };
        let keys: Vec<_> = keys.into_iter().map(|key| key.text().into_bytes()).collect();
        if keys.is_empty() {
            return 0;
        }
        let port = self.nodes[to].port().to_string();
        let mut words: Vec<Vec<u8>> =
            ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"].map(|word| word.into()).to_vec();
        let moved = keys.len();
        words.extend(keys);
        self.nodes[from].cli(&words).await;
        moved
    }

    /// Ends the move of a slot.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        while self.move_keys(slot, from, to, 100).await > 0 {}
        let (slot, id) = (slot.to_string(), self.id(to).await);
        for node in [to, from] {
            self.nodes[node].cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    /// Removes a node without slots from the cluster.
    pub async fn remove(&self, node: usize) {
        let id = self.id(node).await;
        self.nodes[node].cli(&["CLUSTER", "RESET", "HARD"]).await;
        for other in self.others(node) {
            other.cli(&["CLUSTER", "FORGET", &id]).await;
        }
    }

    /// Adds a removed node again, as a replica of `primary`.
    pub async fn add_replica(&self, node: usize, primary: usize) {
        let (port, bus) = (self.nodes[node].port().to_string(), self.bus(node).await);
        self.nodes[primary].cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        let id = self.id(primary).await;
        eventually("a node knows its primary", async || {
            self.nodes[node].try_cli(&["CLUSTER", "REPLICATE", &id]).await.is_some()
        })
        .await;
    }

    fn others(&self, node: usize) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().enumerate().filter(move |(index, _)| *index != node).map(|(_, other)| other)
    }

    async fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"]).await.text()
    }

    async fn bus(&self, node: usize) -> String {
        let Reply::List(pair) = self.nodes[node].cli(&["CONFIG", "GET", "cluster-port"]).await else { panic!() };
        pair[1].text()
    }

    fn index(&self, port: u16) -> Option<usize> {
        self.nodes.iter().position(|node| node.port() == port)
    }
}

/// The nodes of the cluster as a node lists them. `None` if it does not answer.
async fn members(node: &Redis) -> Option<Vec<Member>> {
    let text = node.try_cli(&["CLUSTER", "NODES"]).await?.text();
    text.lines().map(member).collect()
}

/// Parses a line of CLUSTER NODES: id, address, flags, primary, ping, pong, epoch, link, slots.
fn member(line: &str) -> Option<Member> {
    let words: Vec<_> = line.split(' ').collect();
    let port = words.get(1)?.split(['@', ',']).next()?.rsplit(':').next()?.parse().ok()?;
    let slots = words.get(8..)?.iter().filter_map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    Some(Member {
        id: words[0].into(),
        port,
        flags: words[2].into(),
        follows: words[3].into(),
        epoch: words[6].parse().ok()?,
        connected: words[7] == "connected",
        slots: slots.collect(),
    })
}
