//! Redis with Sentinel: one primary, two replicas, three sentinels.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::resp::Reply;
use super::{Redis, deployment_slot, eventually, eventually_within};

/// Name under which the sentinels know the primary.
const SERVICE: &str = "mymaster";

/// Time without an answer after which a sentinel counts a node as down, in milliseconds. A sentinel
/// may take a second to connect to a new primary. With less it would depose one primary after the
/// other.
const DOWN_AFTER: u32 = 1200;

/// Longest time until the sentinels demote a primary that was replaced while up: two checks, eight
/// seconds apart, and an allowance.
const DEMOTION: Duration = Duration::from_secs(40);

/// The deployment. Its processes are killed on drop.
pub struct Sentinels {
    pub nodes: Vec<Redis>,
    pub sentinels: Vec<Redis>,
    _room: SemaphorePermit<'static>,
}

impl Sentinels {
    /// Starts the deployment with additional arguments for each Redis, and waits until the
    /// sentinels know all nodes.
    pub async fn start(args: &[&str]) -> Sentinels {
        Sentinels::with_replicas(args, &[&[], &[]]).await
    }

    /// Starts a deployment with one replica for each element of `replicas`, which holds additional
    /// arguments.
    pub async fn with_replicas(args: &[&str], replicas: &[&[&str]]) -> Sentinels {
        let room = deployment_slot().await;
        let args = [&["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"], args].concat();
        let mut nodes = vec![Redis::with(&args).await];
        let primary = nodes[0].port().to_string();
        for own in replicas {
            nodes.push(Redis::with(&[&args[..], own, &["--replicaof", "127.0.0.1", &primary]].concat()).await);
        }
        let configuration = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}\n\
             sentinel failover-timeout {SERVICE} 2000\n\
             sentinel parallel-syncs {SERVICE} 2\n"
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Redis::sentinel(&configuration).await);
        }
        let deployment = Sentinels { nodes, sentinels, _room: room };
        deployment.wait_until_settled().await;
        deployment
    }

    pub fn url(&self) -> String {
        let ports: Vec<_> = self.sentinels.iter().map(Redis::port).collect();
        Sentinels::url_by(&ports)
    }

    /// URL with other ports, which lead to the sentinels.
    pub fn url_by(ports: &[u16]) -> String {
        let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/0?service={SERVICE}", hosts.join(","))
    }

    /// Index of the node that the sentinels name as primary, if they agree.
    pub async fn primary(&self) -> Option<usize> {
        let mut named = Vec::new();
        for sentinel in &self.sentinels {
            let reply = sentinel.try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).await?;
            let Reply::List(address) = reply else { return None };
            named.push(address[1].text().parse::<u16>().unwrap());
        }
        let port = named[0];
        let agreed = named.iter().all(|other| *other == port);
        self.nodes.iter().position(|node| agreed && node.port() == port)
    }

    /// Waits until the sentinels name another primary than `old` and it has that role. Returns its
    /// index.
    pub async fn wait_for_new_primary(&self, old: usize) -> usize {
        let mut new = old;
        eventually("the sentinels name another primary", async || {
            new = self.primary().await.unwrap_or(old);
            new != old && self.role(new).await == Some("master".to_owned())
        })
        .await;
        new
    }

    /// Waits until the sentinels know each other and a primary with all its replicas, which have
    /// its data.
    pub async fn wait_until_settled(&self) {
        eventually_within(DEMOTION, "the sentinels know all nodes", async || {
            let Some(primary) = self.primary().await else { return false };
            let (port, others) = (self.nodes[primary].port(), self.nodes.len() - 1);
            let known = format!("status=ok,address=127.0.0.1:{port},slaves={others},sentinels=3");
            for sentinel in &self.sentinels {
                let Some(info) = sentinel.try_cli(&["INFO", "sentinel"]).await else { return false };
                if !info.text().contains(&known) {
                    return false;
                }
            }
            let Some(Reply::List(role)) = self.nodes[primary].try_cli(&["ROLE"]).await else { return false };
            role[0].text() == "master" && matches!(&role[2], Reply::List(replicas) if replicas.len() == others)
        })
        .await;
    }

    /// Starts a node again as a replica of the primary, as its configuration file would if it had
    /// one.
    pub async fn restart_as_replica(&mut self, node: usize) {
        self.nodes[node].restart().await;
        let mut primary = node;
        eventually("the sentinels agree", async || {
            primary = self.primary().await.unwrap_or(node);
            primary != node
        })
        .await;
        self.nodes[node].cli(&["REPLICAOF", "127.0.0.1", &self.nodes[primary].port().to_string()]).await;
    }

    /// Requests a failover, waits for the new primary, and returns its index. The old one stays a
    /// primary for many seconds, until the sentinels check it again.
    pub async fn fail_over(&self) -> usize {
        let mut old = 0;
        eventually("a sentinel fails over", async || {
            let Some(primary) = self.primary().await else { return false };
            old = primary;
            self.sentinels[0].try_cli(&["SENTINEL", "FAILOVER", SERVICE]).await.is_some()
        })
        .await;
        self.wait_for_new_primary(old).await
    }

    /// Id of the present life of a node. It changes when the node becomes a replica.
    pub async fn life_id(&self, node: usize) -> Option<String> {
        let mut life = String::new();
        for section in ["server", "replication"] {
            let info = self.nodes[node].try_cli(&["INFO", section]).await?.text();
            let is_identity = |line: &&str| ["run_id:", "master_replid2:"].iter().any(|field| line.starts_with(field));
            info.lines().filter(is_identity).for_each(|line| life.push_str(line.trim()));
        }
        Some(life)
    }

    /// Role that a node reports.
    async fn role(&self, node: usize) -> Option<String> {
        match self.nodes[node].try_cli(&["ROLE"]).await? {
            Reply::List(role) => Some(role[0].text()),
            _ => None,
        }
    }
}
