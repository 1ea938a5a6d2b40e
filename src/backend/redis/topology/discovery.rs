//! Polls sentinels, or members of a Cluster, for the primaries.
//!
//! They are polled at an interval, and immediately when a command was redirected.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard};
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

use super::node_report::{NodeReport, read_members, read_primary};
use crate::backend::redis::config::{Address, Credentials};
use crate::backend::redis::connection::context::RedisContext;
use crate::backend::redis::connection::fred_client::{ClientTask, Purpose, open_client};
use crate::backend::redis::connection::redis_error::words;
use crate::sync::Mutex;
use crate::units::format_duration;

/// Pause between polls while all is well.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between polls.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Lifetime of an answer.
const REPORT_LIFETIME: Duration = Duration::from_secs(4);
/// Events of sentinels about a failover, begun or complete.
const FAILOVER_EVENTS: [&str; 3] = ["+switch-master", "+promoted-slave", "+failover-state-reconf-slaves"];
/// Members of a Cluster that are polled, beside those configured.
const MAX_DISCOVERED_MEMBERS: usize = 6;

/// The query to a server.
#[derive(Clone, Debug)]
pub enum Query {
    /// The primary, from a sentinel.
    Primary {
        /// The name under which sentinels watch it.
        service: String,
    },
    /// The members, from a member of a Cluster.
    Members,
}

/// Recent reports, each with the server that sent it.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// Sender and report.
    pub reports: Vec<(Address, NodeReport)>,
    /// True if every polled server has answered, or failed to.
    pub complete: bool,
}

/// Polls several servers in parallel, one connection each.
pub struct TopologyDiscovery {
    context: Arc<RedisContext>,
    query: Query,
    credentials: Credentials,
    answers: Arc<LastReports>,
    poll_now: watch::Sender<()>,
    pollers: HashMap<Address, AbortOnDropHandle<()>>,
    first: bool,
}

/// Time and answer of a poll, or the reason of its failure.
type NodeReply = (Instant, Result<Vec<NodeReport>, String>);

/// The last answer of each server.
#[derive(Default)]
struct LastReports {
    by_server: Mutex<HashMap<Address, NodeReply>>,
    news: Notify,
}

impl LastReports {
    fn lock(&self) -> MutexGuard<'_, HashMap<Address, NodeReply>> {
        self.by_server.lock()
    }
}

// === impl TopologyDiscovery ===

impl TopologyDiscovery {
    /// Starts to poll `servers`.
    pub fn new(
        context: &Arc<RedisContext>,
        query: Query,
        credentials: &Credentials,
        servers: &[Address],
    ) -> TopologyDiscovery {
        let mut discovery = TopologyDiscovery {
            context: context.clone(),
            query,
            credentials: credentials.clone(),
            answers: Arc::default(),
            poll_now: watch::Sender::new(()),
            pollers: HashMap::new(),
            first: true,
        };
        servers.iter().for_each(|server| discovery.add(server));
        discovery
    }

    fn add(&mut self, server: &Address) {
        if !self.pollers.contains_key(server) {
            let poller = NodePoller {
                address: server.clone(),
                query: self.query.clone(),
                credentials: self.credentials.clone(),
                context: self.context.clone(),
                answers: self.answers.clone(),
            };
            let polling = tokio::spawn(poller.run(self.poll_now.subscribe()));
            self.pollers.insert(server.clone(), AbortOnDropHandle::new(polling));
        }
    }

    /// Polls some of the members, too: those configured do not always know best.
    pub fn poll_members(&mut self, seeds: &[Address], reports: &[(Address, NodeReport)]) {
        // Only a server that another one names is a member: a removed one goes on naming itself.
        let named = reports.iter().filter(|(by, report)| *by != report.address).map(|(_, report)| report);
        let members: BTreeMap<&Address, bool> = named.map(|report| (&report.address, report.failed)).collect();
        let stays = |server: &Address| seeds.contains(server) || members.contains_key(server);
        self.pollers.retain(|server, _| stays(server));
        self.answers.lock().retain(|server, _| stays(server));
        let room = (seeds.len() + MAX_DISCOVERED_MEMBERS).saturating_sub(self.pollers.len());
        let others = members.iter().filter(|(member, failed)| !**failed && !self.pollers.contains_key(**member));
        let more: Vec<Address> = others.take(room).map(|(member, _)| (*member).clone()).collect();
        more.iter().for_each(|member| self.add(member));
    }

    /// Waits for news, or a second.
    ///
    /// Returns all recent reports. The first call waits for the answers of all servers that answer
    /// soon.
    pub async fn next_reports(&mut self) -> Result<Reports, String> {
        if std::mem::take(&mut self.first) {
            let everybody = async {
                while self.answers.lock().values().filter(|(at, _)| at.elapsed() < REPORT_LIFETIME).count()
                    < self.pollers.len()
                {
                    self.answers.news.notified().await;
                }
            };
            let _ = timeout(self.context.config.connect_timeout, everybody).await;
        } else {
            tokio::select! {
                () = self.context.misplaced.notified() => {
                    self.poll_now.send_replace(());
                    sleep(MIN_POLL_INTERVAL).await;
                }
                () = self.answers.news.notified() => {}
                () = sleep(POLL_INTERVAL) => {}
            }
        }
        let answers = self.answers.lock();
        let lately = || answers.iter().filter(|(_, (at, _))| at.elapsed() < REPORT_LIFETIME);
        let said = |(server, (_, answer)): (&Address, &NodeReply)| {
            let reports = answer.clone().unwrap_or_default();
            reports.into_iter().map(|report| (server.clone(), report)).collect::<Vec<_>>()
        };
        let reports: Vec<(Address, NodeReport)> = lately().flat_map(said).collect();
        let complete = lately().count() >= self.pollers.len();
        let why = lately().find_map(|(server, (_, answer))| Some(format!("{server}: {}", answer.as_ref().err()?)));
        // After a silence all servers are awaited again.
        self.first = reports.is_empty() && !complete;
        if reports.is_empty() {
            Err(why.unwrap_or_else(|| "no server names the primary".to_owned()))
        } else {
            Ok(Reports { reports, complete })
        }
    }
}

/// A connection to a polled server.
struct Open {
    client: Client,
    /// Events of a sentinel: a reason to poll sooner, and no more.
    news: Option<Receiver<Message>>,
    /// Tasks; the client's is the first.
    tasks: Vec<ClientTask>,
}

/// Polls one server.
struct NodePoller {
    address: Address,
    query: Query,
    credentials: Credentials,
    context: Arc<RedisContext>,
    answers: Arc<LastReports>,
}

// === impl NodePoller ===

impl NodePoller {
    async fn run(self, mut poll_now: watch::Receiver<()>) {
        let connect_timeout = self.context.config.connect_timeout;
        let mut connection = None;
        loop {
            let answer = match timeout(2 * connect_timeout, self.poll(&mut connection)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {}", format_duration(2 * connect_timeout))),
            };
            if answer.is_err() {
                connection = None;
            }
            // While a server does not answer, its last answer counts for its lifetime.
            let counts = |at: &Instant| at.elapsed() < REPORT_LIFETIME;
            let known = self.answers.lock().get(&self.address).is_some_and(|(at, _)| counts(at));
            if answer.is_ok() || !known {
                self.answers.lock().insert(self.address.clone(), (Instant::now(), answer));
                self.answers.news.notify_one();
            }
            sleep(MIN_POLL_INTERVAL).await;
            let news = connection.as_mut().and_then(|open| open.news.as_mut());
            let heard = async {
                match news {
                    Some(news) => news.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = poll_now.changed() => {}
                heard = heard => {
                    if let Err(RecvError::Closed) = heard {
                        connection = None;
                    }
                }
                () = sleep(POLL_INTERVAL - MIN_POLL_INTERVAL) => {}
            }
        }
    }

    async fn poll(&self, connection: &mut Option<Open>) -> Result<Vec<NodeReport>, String> {
        let open = match connection.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let open = connection.insert(open);
        let asked = self.send_query(&open.client).await;
        asked.map_err(|error| open.tasks[0].cause().unwrap_or_else(|| words(&error)))
    }

    async fn open(&self) -> Result<Open, String> {
        let client = || open_client(&self.context, &self.address, &self.credentials, None, Purpose::Commands);
        let (query_client, task) = client().await.map_err(|error| error.to_string())?;
        let mut open = Open { client: query_client, news: None, tasks: vec![task] };
        if let Query::Primary { .. } = &self.query
            && let Ok((listener, task)) = client().await
        {
            // Over a connection of its own: if SUBSCRIBE were refused, fred would take the refusal
            // for the next answer.
            open.news = Some(listener.message_rx());
            let _ = listener.subscribe(FAILOVER_EVENTS.to_vec()).await;
            open.tasks.push(task);
        }
        Ok(open)
    }

    async fn send_query(&self, client: &Client) -> Result<Vec<NodeReport>, Error> {
        match &self.query {
            Query::Primary { service } => {
                // The epoch first: during a failover it is the address that may be ahead. SENTINEL
                // MASTER shows the old one until the end.
                let about: HashMap<String, String> = command(client, &["SENTINEL", "MASTER", service]).await?;
                let place: Vec<String> = command(client, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]).await?;
                Ok(read_primary(&about, &place).into_iter().collect())
            }
            Query::Members => {
                let nodes: String = command(client, &["CLUSTER", "NODES"]).await?;
                Ok(read_members(&nodes, &self.address, self.context.tls.is_some()))
            }
        }
    }
}

async fn command<T: FromValue>(client: &Client, words: &[&str]) -> Result<T, Error> {
    let command = CustomCommand::new(words[0].to_owned(), ClusterHash::Random, false);
    client.custom(command, words[1..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).await
}
