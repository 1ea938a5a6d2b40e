//! The servers that know who is primary: sentinels, or members of a Cluster. They are asked over and over, at once when something looks
//! misplaced.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::prelude::Error;
use fred::types::{ClusterHash, CustomCommand, FromValue, Message};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::backend::redis::config::{Address, Credentials};
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::redis_connection::{ClientTask, Purpose, open_client, words};
use crate::units::format_duration;

/// Pause between questions while nothing is amiss.
const EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between questions.
const SOONEST: Duration = Duration::from_millis(100);
/// How long an answer counts.
const COUNTS: Duration = Duration::from_secs(4);
/// What a sentinel says when another primary has come, or is coming.
const SWITCHES: [&str; 3] = ["+switch-master", "+promoted-slave", "+failover-state-reconf-slaves"];
/// Members of a Cluster that are asked, besides those configured.
const ASKED: usize = 6;

/// What servers are asked.
#[derive(Clone, Debug)]
pub enum Query {
    /// A sentinel: who the primary is.
    Primary {
        /// The name they watch it under.
        service: String,
    },
    /// A member of a Cluster: who its members are.
    Members,
}

/// What one server says of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Configuration epoch.
    pub epoch: u64,
    /// Where it is.
    pub address: Address,
    /// False: a replica.
    pub primary: bool,
    /// It counts as down.
    pub failed: bool,
    /// Ranges of slots; empty where there is no Cluster.
    pub slots: Vec<(u16, u16)>,
}

/// What was said lately, by whom.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// What was said, by whom.
    pub claims: Vec<(Address, NodeReport)>,
    /// Everybody who is asked has said something, or could not.
    pub complete: bool,
}

/// Servers that are asked the same question, each over a connection of its own and at its own pace.
pub struct TopologyDiscovery {
    shared: Arc<RedisContext>,
    question: Query,
    credentials: Credentials,
    answers: Arc<LastReports>,
    ask_now: watch::Sender<()>,
    asked: HashMap<Address, AbortOnDropHandle<()>>,
    first: bool,
}

/// An answer, or why there was none; and when.
type NodeReply = (Instant, Result<Vec<NodeReport>, String>);

/// What was answered last, by whom.
#[derive(Default)]
struct LastReports {
    by_server: Mutex<HashMap<Address, NodeReply>>,
    news: Notify,
}

impl LastReports {
    fn lock(&self) -> MutexGuard<'_, HashMap<Address, NodeReply>> {
        self.by_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Panel ===

impl TopologyDiscovery {
    /// Asks `servers` from now on.
    pub fn new(
        shared: &Arc<RedisContext>,
        question: Query,
        credentials: &Credentials,
        servers: &[Address],
    ) -> TopologyDiscovery {
        let mut panel = TopologyDiscovery {
            shared: shared.clone(),
            question,
            credentials: credentials.clone(),
            answers: Arc::default(),
            ask_now: watch::Sender::new(()),
            asked: HashMap::new(),
            first: true,
        };
        servers.iter().for_each(|server| panel.add(server));
        panel
    }

    fn add(&mut self, server: &Address) {
        if !self.asked.contains_key(server) {
            let witness = NodePoller {
                address: server.clone(),
                question: self.question.clone(),
                credentials: self.credentials.clone(),
                shared: self.shared.clone(),
                answers: self.answers.clone(),
            };
            let asking = tokio::spawn(witness.run(self.ask_now.subscribe()));
            self.asked.insert(server.clone(), AbortOnDropHandle::new(asking));
        }
    }

    /// Has some of the members asked, too: those who know best are not always those configured.
    pub fn ask_members(&mut self, seeds: &[Address], claims: &[(Address, NodeReport)]) {
        // Only who is named by another is one: who was removed goes on naming itself.
        let named = claims.iter().filter(|(by, claim)| *by != claim.address).map(|(_, claim)| claim);
        let members: BTreeMap<&Address, bool> = named.map(|claim| (&claim.address, claim.failed)).collect();
        let stays = |server: &Address| seeds.contains(server) || members.contains_key(server);
        self.asked.retain(|server, _| stays(server));
        self.answers.lock().retain(|server, _| stays(server));
        let room = (seeds.len() + ASKED).saturating_sub(self.asked.len());
        let others = members.iter().filter(|(member, failed)| !**failed && !self.asked.contains_key(**member));
        let more: Vec<Address> = others.take(room).map(|(member, _)| (*member).clone()).collect();
        more.iter().for_each(|member| self.add(member));
    }

    /// Waits for news, or a second; then tells all that was claimed lately. The first time it hears out everybody who answers soon.
    pub async fn look(&mut self) -> Result<Reports, String> {
        if std::mem::take(&mut self.first) {
            let everybody = async {
                while self.answers.lock().values().filter(|(at, _)| at.elapsed() < COUNTS).count() < self.asked.len() {
                    self.answers.news.notified().await;
                }
            };
            let _ = timeout(self.shared.config.connect_timeout, everybody).await;
        } else {
            tokio::select! {
                () = self.shared.misplaced.notified() => {
                    self.ask_now.send_replace(());
                    sleep(SOONEST).await;
                }
                () = self.answers.news.notified() => {}
                () = sleep(EVERY) => {}
            }
        }
        let answers = self.answers.lock();
        let lately = || answers.iter().filter(|(_, (at, _))| at.elapsed() < COUNTS);
        let said = |(server, (_, answer)): (&Address, &NodeReply)| {
            let claims = answer.clone().unwrap_or_default();
            claims.into_iter().map(|claim| (server.clone(), claim)).collect::<Vec<_>>()
        };
        let claims: Vec<(Address, NodeReport)> = lately().flat_map(said).collect();
        let complete = lately().count() >= self.asked.len();
        let why = lately().find_map(|(server, (_, answer))| Some(format!("{server}: {}", answer.as_ref().err()?)));
        // After a silence everybody is heard out again.
        self.first = claims.is_empty() && !complete;
        match claims.is_empty() {
            true => Err(why.unwrap_or_else(|| "nobody says who the primary is".to_owned())),
            false => Ok(Reports { claims, complete }),
        }
    }
}

/// A connection to a server that is asked.
struct Open {
    client: Client,
    /// What a sentinel says unasked: a reason to ask sooner, and no more.
    news: Option<Receiver<Message>>,
    /// That of the client first.
    tasks: Vec<ClientTask>,
}

/// One server that is asked over and over.
struct NodePoller {
    address: Address,
    question: Query,
    credentials: Credentials,
    shared: Arc<RedisContext>,
    answers: Arc<LastReports>,
}

// === impl Witness ===

impl NodePoller {
    async fn run(self, mut ask_now: watch::Receiver<()>) {
        let patience = self.shared.config.connect_timeout;
        let mut connection = None;
        loop {
            let answer = match timeout(2 * patience, self.ask(&mut connection)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {}", format_duration(2 * patience))),
            };
            if answer.is_err() {
                connection = None;
            }
            // While one does not answer, what it said before counts on for its time.
            let counts = |at: &Instant| at.elapsed() < COUNTS;
            let known = self.answers.lock().get(&self.address).is_some_and(|(at, _)| counts(at));
            if answer.is_ok() || !known {
                self.answers.lock().insert(self.address.clone(), (Instant::now(), answer));
                self.answers.news.notify_one();
            }
            sleep(SOONEST).await;
            let news = connection.as_mut().and_then(|open| open.news.as_mut());
            let heard = async {
                match news {
                    Some(news) => news.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ask_now.changed() => {}
                heard = heard => {
                    if let Err(RecvError::Closed) = heard {
                        connection = None;
                    }
                }
                () = sleep(EVERY - SOONEST) => {}
            }
        }
    }

    async fn ask(&self, connection: &mut Option<Open>) -> Result<Vec<NodeReport>, String> {
        let open = match connection.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let open = connection.insert(open);
        let asked = self.put(&open.client).await;
        asked.map_err(|error| open.tasks[0].cause().unwrap_or_else(|| words(&error)))
    }

    async fn open(&self) -> Result<Open, String> {
        let client = || open_client(&self.shared.config, &self.address, &self.credentials, None, Purpose::Commands);
        let (client_to_ask, task) = client().await.map_err(|error| error.to_string())?;
        let mut open = Open { client: client_to_ask, news: None, tasks: vec![task] };
        if let Query::Primary { .. } = &self.question
            && let Ok((listener, task)) = client().await
        {
            // Over a connection of its own: were SUBSCRIBE refused, fred would take the refusal for the next answer.
            open.news = Some(listener.message_rx());
            let _ = listener.subscribe(SWITCHES.to_vec()).await;
            open.tasks.push(task);
        }
        Ok(open)
    }

    async fn put(&self, client: &Client) -> Result<Vec<NodeReport>, Error> {
        match &self.question {
            Query::Primary { service } => {
                // The epoch first: during a failover it is the address that may be ahead. SENTINEL MASTER shows the old one until the end.
                let about: HashMap<String, String> = command(client, &["SENTINEL", "MASTER", service]).await?;
                let place: Vec<String> = command(client, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]).await?;
                Ok(read_primary(&about, &place).into_iter().collect())
            }
            Query::Members => {
                let nodes: String = command(client, &["CLUSTER", "NODES"]).await?;
                Ok(read_members(&nodes, &self.address, self.shared.config.tls.is_some()))
            }
        }
    }
}

async fn command<T: FromValue>(client: &Client, words: &[&str]) -> Result<T, Error> {
    let command = CustomCommand::new(words[0].to_owned(), ClusterHash::Random, false);
    client.custom(command, words[1..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
}

/// The primary a sentinel names, with its configuration epoch.
fn read_primary(about: &HashMap<String, String>, place: &[String]) -> Option<NodeReport> {
    let [host, port] = place else { return None };
    let address = Address::Tcp { host: host.clone(), port: port.parse().ok()? };
    Some(NodeReport {
        epoch: about.get("config-epoch")?.parse().ok()?,
        address,
        primary: true,
        failed: false,
        slots: Vec::new(),
    })
}

/// Reads the answer to CLUSTER NODES: id, address, flags, primary, ping, pong, configuration epoch, link, slots.
fn read_members(nodes: &str, asked: &Address, by_name: bool) -> Vec<NodeReport> {
    nodes.lines().filter_map(|line| read_member(line, asked, by_name)).collect()
}

fn read_member(line: &str, asked: &Address, by_name: bool) -> Option<NodeReport> {
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
    Some(NodeReport { address, primary: is("master"), failed: is("fail"), epoch: epoch.parse().ok()?, slots })
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
        assert_eq!(read_members(NODES, &tcp("seed", 1), false)[0].address, tcp("127.0.0.1", 30004));
    }

    #[test]
    fn a_sentinel_names_the_primary() {
        let about = HashMap::from([("config-epoch".to_owned(), "3".to_owned())]);
        let named =
            read_primary(&about, &["::1".to_owned(), "7000".to_owned()]).map(|claim| (claim.epoch, claim.address));
        assert_eq!(named, Some((3, tcp("::1", 7000))));
        assert_eq!(read_primary(&about, &[]), None);
    }
}
