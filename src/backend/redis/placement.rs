//! Which server is the primary of which partition: as configured, as the sentinels say, or as the members of a Cluster say. Looked up over
//! and over, at once when something looks misplaced; whoever is believed is the one with the highest configuration epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::{ClusterHash, CustomCommand};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::seq::IndexedRandom as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::call::Routes;
use super::connection::{ClientTask, Purpose, open_client};
use super::layout::Layout;
use super::primary::Primary;
use super::shard::Shard;
use super::shared::Shared;
use super::tier::RedisTier;
use super::{Address, Credentials, Servers};
use crate::cache::coherence::message::BusSink;

/// Pause between looks while nothing is amiss.
const EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between looks.
const SOONEST: Duration = Duration::from_millis(100);
/// How long the others may take once one has answered.
const STRAGGLERS: Duration = Duration::from_millis(100);
/// Most servers asked in one look.
const ASKED: usize = 7;

/// The partitions of each primary, in order.
type Placement = BTreeMap<Address, Vec<u16>>;

/// Keeps the routes of `tier` up to date until `stop`.
pub async fn follow(tier: &RedisTier, sink: &Arc<dyn BusSink>, stop: &CancellationToken) {
    let shared = tier.shared();
    let mut scout = Scout { shared: shared.clone(), clients: HashMap::new(), members: BTreeSet::new() };
    loop {
        let placement = tokio::select! {
            placement = scout.look() => placement,
            () = stop.cancelled() => return,
        };
        match placement {
            Ok(placement) => place(tier, sink, stop, &placement),
            Err(why) => tier.health().not_placed(&why),
        }
        let again = async {
            match shared.config.servers {
                Servers::Standalone(_) => std::future::pending().await,
                Servers::Sentinel { .. } | Servers::Cluster { .. } => {
                    let _ = timeout(EVERY, shared.misplaced.notified()).await;
                }
            }
            sleep(SOONEST).await;
        };
        tokio::select! {
            () = again => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Starts shards that are new, leaves those that are no more, and routes calls accordingly.
fn place(tier: &RedisTier, sink: &Arc<dyn BusSink>, stop: &CancellationToken, placement: &Placement) {
    let layout = &tier.shared().layout;
    let mut before: BTreeMap<Address, Arc<Shard>> =
        tier.calls().routes().shards.iter().map(|shard| (shard.primary.address.clone(), shard.clone())).collect();
    let mut routes = Routes { shards: Vec::new(), by_partition: vec![None; usize::from(layout.partitions())] };
    let now_at = |partition: u16| placement.iter().find(|(_, partitions)| partitions.contains(&partition));
    for shard in before.values() {
        // What the old primary of a partition may still say of it does not count any more; only then may the new one speak.
        let served = shard.primary.partitions();
        let gone = |partition: &&u16| now_at(**partition).is_none_or(|(address, _)| *address != shard.primary.address);
        let gone: Vec<u16> = served.iter().filter(gone).copied().collect();
        if !placement.contains_key(&shard.primary.address) {
            tracing::info!(server = %shard.primary.address, "redis: not a primary of ours any more");
            shard.leave();
        } else if !gone.is_empty() {
            shard.primary.serve(served.iter().filter(|partition| !gone.contains(partition)).copied().collect());
        }
        if !gone.is_empty() {
            sink.disconnected(&gone);
        }
    }
    before.retain(|address, _| placement.contains_key(address));
    for (address, partitions) in placement {
        let served: Arc<[u16]> = partitions.as_slice().into();
        let shard = before.remove(address).unwrap_or_else(|| {
            tracing::info!(server = %address, partitions = partitions.len(), "redis: a primary");
            let primary = Primary::new(address.clone(), served.clone(), tier.shared(), tier.health());
            Shard::start(primary, sink, tier.tasks(), stop)
        });
        shard.primary.serve(served);
        partitions.iter().for_each(|partition| routes.by_partition[usize::from(*partition)] = Some(shard.clone()));
        routes.shards.push(shard);
    }
    let unplaced = routes.by_partition.iter().filter(|shard| shard.is_none()).count();
    tier.calls().reroute(routes);
    match unplaced {
        0 => tier.health().placed(),
        _ => tier.health().not_placed(&format!("no primary is known for {unplaced} partitions")),
    }
}

/// Asks sentinels and members.
struct Scout {
    shared: Arc<Shared>,
    clients: HashMap<Address, (Client, ClientTask)>,
    /// Members of the Cluster, as they were named last.
    members: BTreeSet<Address>,
}

// === impl Scout ===

impl Scout {
    async fn look(&mut self) -> Result<Placement, String> {
        let shared = self.shared.clone();
        let layout = &shared.layout;
        match &shared.config.servers {
            Servers::Standalone(address) => Ok(BTreeMap::from([(address.clone(), (0..layout.partitions()).collect())])),
            Servers::Sentinel { sentinels, service, credentials } => {
                let question = ["SENTINEL", "MASTER", service.as_str()];
                let answers: Vec<(Address, HashMap<String, String>)> =
                    self.ask(sentinels.iter().cloned().collect(), &question, credentials).await?;
                let primary = answers.iter().filter_map(|(_, answer)| primary(answer)).max();
                let (_, address) = primary.ok_or("no sentinel knows the primary")?;
                Ok(BTreeMap::from([(address, (0..layout.partitions()).collect())]))
            }
            Servers::Cluster { seeds } => {
                let mut asked: BTreeSet<Address> = seeds.iter().cloned().collect();
                let members: Vec<Address> = self.members.iter().cloned().collect();
                asked.extend(members.choose_multiple(&mut rand::rng(), ASKED).cloned());
                let answers: Vec<(Address, String)> =
                    self.ask(asked, &["CLUSTER", "NODES"], &shared.config.credentials).await?;
                let by_name = shared.config.tls.is_some();
                let members: Vec<Member> =
                    answers.iter().flat_map(|(asked, nodes)| read_members(nodes, asked, by_name)).collect();
                self.members = members.iter().map(|member| member.address.clone()).collect();
                self.clients.retain(|address, _| self.members.contains(address) || seeds.contains(address));
                Ok(owners(&members, layout))
            }
        }
    }

    /// Puts one question to several servers; waits for all, but not for long once one has answered.
    async fn ask<T: fred::types::FromValue + Send + 'static>(
        &mut self,
        servers: BTreeSet<Address>,
        question: &[&str],
        credentials: &Credentials,
    ) -> Result<Vec<(Address, T)>, String> {
        let patience = self.shared.config.connect_timeout;
        let asked = servers.into_iter().map(|address| {
            let (open, shared) = (self.clients.remove(&address), self.shared.clone());
            async move {
                let answer = timeout(patience, async {
                    let open = match open {
                        Some(open) => open,
                        None => {
                            let opened = open_client(&shared.config, &address, credentials, None, Purpose::Commands);
                            opened.await.map_err(|error| error.to_string())?
                        }
                    };
                    let command = CustomCommand::new(question[0].to_owned(), ClusterHash::Random, false);
                    let words: Vec<String> = question[1..].iter().map(|word| (*word).to_owned()).collect();
                    let answer = open.0.custom::<T, String>(command, words).await;
                    answer.map(|answer| (open, answer)).map_err(|error| error.details().to_owned())
                });
                let answer = answer.await.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
                (address, answer)
            }
        });
        let mut under_way: FuturesUnordered<_> = asked.collect();
        let (mut answers, mut why) = (Vec::new(), "no server is named".to_owned());
        loop {
            let wait = if answers.is_empty() { patience } else { STRAGGLERS };
            match timeout(wait, under_way.next()).await {
                Ok(Some((address, Ok((open, answer))))) => {
                    self.clients.insert(address.clone(), open);
                    answers.push((address, answer));
                }
                Ok(Some((address, Err(error)))) => why = format!("{address}: {error}"),
                Ok(None) | Err(_) => break,
            }
        }
        if answers.is_empty() { Err(why) } else { Ok(answers) }
    }
}

/// The primary a sentinel names, with its configuration epoch.
fn primary(answer: &HashMap<String, String>) -> Option<(u64, Address)> {
    let (host, port) = (answer.get("ip")?.clone(), answer.get("port")?.parse().ok()?);
    Some((answer.get("config-epoch")?.parse().ok()?, Address::Tcp { host, port }))
}

/// A member of a Cluster, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    address: Address,
    primary: bool,
    epoch: u64,
    slots: Vec<(u16, u16)>,
}

/// Reads the answer to CLUSTER NODES: id, address, flags, primary, ping, pong, configuration epoch, link, slots.
fn read_members(nodes: &str, asked: &Address, by_name: bool) -> Vec<Member> {
    nodes.lines().filter_map(|line| read_member(line, asked, by_name)).collect()
}

fn read_member(line: &str, asked: &Address, by_name: bool) -> Option<Member> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, place, flags, _, _, _, epoch, _, slots @ ..] = words.as_slice() else { return None };
    let is = |flag| flags.split(',').any(|word| word == flag);
    if is("noaddr") || is("handshake") {
        return None;
    }
    let mut places = place.split(',');
    let (host, port) = places.next()?.split('@').next()?.rsplit_once(':')?;
    // A certificate vouches for a name.
    let host = places.next().filter(|name| by_name && !name.is_empty()).unwrap_or(host);
    let address = match (host, asked) {
        // It does not know its own address yet.
        ("" | "?", asked) => asked.clone(),
        (host, _) => Address::Tcp { host: host.to_owned(), port: port.parse().ok()? },
    };
    let range = |word: &&str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    // Slots on their way are in brackets.
    let slots = slots.iter().filter_map(range).collect();
    Some(Member { address, primary: is("master"), epoch: epoch.parse().ok()?, slots })
}

/// The owner of each partition: of those that claim its slot, the one with the highest configuration epoch.
fn owners(members: &[Member], layout: &Layout) -> Placement {
    let mut placement = Placement::new();
    for partition in 0..layout.partitions() {
        let slot = layout.slot(partition);
        let claims = |member: &&Member| {
            member.primary && member.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
        };
        if let Some(owner) = members.iter().filter(claims).max_by_key(|member| member.epoch) {
            placement.entry(owner.address.clone()).or_default().push(partition);
        }
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c3 127.0.0.1:30004@31004,hostname4 slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922
292f 127.0.0.1:30003@31003 master,fail - 0 1426238318243 3 connected 10923-16383
e7d1 :30001@31001 myself,master - 0 0 1 connected 0-5459 5460 [93-<-292f]
dead :0@0 master,noaddr - 0 0 1 disconnected
";

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn the_members_of_a_cluster_are_read() {
        let members = read_members(NODES, &tcp("seed", 30001), true);
        let seen: Vec<_> = members.iter().map(|m| (m.address.to_string(), m.primary, m.slots.clone())).collect();
        assert_eq!(
            seen,
            [
                ("hostname4:30004".to_owned(), false, vec![]),
                ("127.0.0.1:30002".to_owned(), true, vec![(5461, 10922)]),
                ("127.0.0.1:30003".to_owned(), true, vec![(10923, 16383)]),
                ("seed:30001".to_owned(), true, vec![(0, 5459), (5460, 5460)]),
            ]
        );
        assert_eq!(read_members("garbage\n\n1 2 3", &tcp("seed", 1), true), []);
    }

    #[test]
    fn the_claim_of_the_highest_epoch_counts() {
        let member = |port, epoch| Member { address: tcp("h", port), primary: true, epoch, slots: vec![(0, 16383)] };
        let layout = Layout::new("p", 4, true);
        let placement = owners(&[member(1, 5), member(2, 7), member(3, 6)], &layout);
        assert_eq!(placement, BTreeMap::from([(tcp("h", 2), vec![0, 1, 2, 3])]));
        assert_eq!(owners(&[], &layout), Placement::new());
    }

    #[test]
    fn a_sentinel_names_the_primary() {
        let answer = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let whole: HashMap<String, String> = answer(&[("ip", "::1"), ("port", "7000"), ("config-epoch", "3")]);
        assert_eq!(primary(&whole), Some((3, tcp("::1", 7000))));
        assert_eq!(primary(&answer(&[("ip", "::1")])), None);
    }
}
