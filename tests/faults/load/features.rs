//! Operations that are not of one key alone, or under a lease. The history has what they mean for each key.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status};
use twintier::cache::coherence::token::Token;
use twintier::cache::coherence::version::Version;
use twintier::cache::key::KeyRef;
use twintier::cache::namespace::{NamespaceRules, Namespaces};
use twintier::pb;

use super::{Client, group, is_of_the_connection, name, tag};
use crate::history::{Action, Answer, At, Outcome};

/// The partitions of a deployment, unless it says otherwise.
const PARTITIONS: u16 = 64;
/// Keys of a batch.
const BATCH: usize = 6;
/// Deadline of a Get that waits for another to make the entry.
const WAITS: Duration = Duration::from_millis(100);

impl Client {
    pub(super) async fn use_features(&mut self, key: u32, replica: usize) {
        match self.random.random_range(0..20) {
            0 => self.invalidate_selected(key, replica, Selected::Prefix).await,
            1 => self.invalidate_selected(key, replica, Selected::Tag).await,
            2 if self.random.random_ratio(1, 10) => self.invalidate_selected(key, replica, Selected::Pattern).await,
            3..7 => self.batch_set(replica).await,
            7..12 => self.batch_get(replica).await,
            _ => self.make_under_a_lease(key, replica).await,
        }
    }

    /// Different keys.
    fn some_keys(&mut self) -> Vec<u32> {
        let first = self.random.random_range(0..self.load.keys);
        let count = BATCH.min(self.load.keys as usize) as u32;
        (0..count)
            .map(|n| (first + n * 5) % self.load.keys)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    async fn patiently<T>(&mut self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let answered = timeout(self.load.patience, call).await;
        answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client gave up"))).map(Response::into_inner)
    }

    async fn invalidate_selected(&mut self, key: u32, replica: usize, selected: Selected) {
        use pb::invalidate_request::Selector;
        let selector = match selected {
            Selected::Prefix => Selector::Prefix(group(key)),
            Selected::Tag => Selector::Tags(pb::Tags { tags: vec![tag(key)] }),
            Selected::Pattern => Selector::Pattern(format!("{}:*", group(key))),
        };
        let covered = |other: &u32| match selected {
            Selected::Tag => tag(*other) == tag(key),
            _ => group(*other) == group(key),
        };
        let mode = if self.random.random_ratio(1, 4) { pb::Mode::MarkStale } else { pb::Mode::Remove };
        let request = pb::InvalidateRequest { selector: Some(selector), mode: mode.into(), ..Default::default() };
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let answered = self.patiently(client.invalidate(request)).await;
        let answered = match answered {
            Ok(response) => Ok(response.token),
            Err(status) => Err(self.failed(&status)),
        };
        for key in (0..self.load.keys).filter(covered) {
            let outcome = match &answered {
                Ok(token) => {
                    let (version, token) = place(token, key);
                    self.saw(key, version, token);
                    Outcome::Ok(version)
                }
                Err(outcome) => *outcome,
            };
            self.record(replica, key, invoked, Action::Write { value: None, leased: None, outcome });
        }
    }

    async fn batch_set(&mut self, replica: usize) {
        let keys = self.some_keys();
        let (values, items): (Vec<u64>, Vec<_>) = keys.iter().map(|key| self.new_value(*key)).unzip();
        let request = pb::BatchSetRequest { items, ..Default::default() };
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let answered = self.patiently(client.batch_set(request)).await;
        let all = answered.as_ref().err().map(|status| self.failed(status));
        let (results, token) = answered.map(|response| (response.results, response.token)).unwrap_or_default();
        for (index, (key, value)) in keys.into_iter().zip(values).enumerate() {
            let outcome = match (all, results.get(index)) {
                (Some(outcome), _) => outcome,
                (None, Some(result)) if result.error.is_none() => {
                    assert_eq!(result.outcome(), pb::SetOutcome::Stored);
                    let version = result.version.parse().unwrap();
                    self.saw(key, version, place(&token, key).1);
                    Outcome::Ok(version)
                }
                // An item says that it failed, not for how long its outcome is unknown: for as long as a write may take.
                _ => Outcome::Unknown(self.load.patience),
            };
            self.record(replica, key, invoked, Action::Write { value: Some(value), leased: None, outcome });
        }
    }

    async fn batch_get(&mut self, replica: usize) {
        let keys = self.some_keys();
        let presents = self.random.random_ratio(1, 2);
        let seen: Vec<(Version, String)> = keys
            .iter()
            .map(|key| if presents { self.seen[*key as usize].clone() } else { Default::default() })
            .collect();
        let tokens = seen.iter().map(|(_, token)| token.clone()).filter(|token| !token.is_empty()).collect();
        let names = keys.iter().map(|key| name(*key)).collect();
        let request = pb::BatchGetRequest { keys: names, tokens, ..Default::default() };
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let gathered = async {
            let mut stream = client.batch_get(request).await?.into_inner();
            let (mut items, mut token) = (Vec::new(), String::new());
            while let Some(part) = stream.message().await? {
                items.extend(part.items);
                token = part.token;
            }
            Ok(Response::new((items, token)))
        };
        let answers: Vec<Answer> = match self.patiently(gathered).await {
            Ok((items, token)) => {
                let answer = |(key, item): (&u32, pb::BatchGetItem)| match item.result {
                    Some(pb::batch_get_item::Result::Hit(hit)) => self.found(*key, hit, place(&token, *key).1),
                    _ => Answer::Miss,
                };
                keys.iter().zip(items).map(answer).collect()
            }
            Err(status) => {
                if !(self.load.replicas_die && is_of_the_connection(&status)) {
                    self.report.failed_gets.push(status.code());
                }
                vec![Answer::Failed; keys.len()]
            }
        };
        assert_eq!(answers.len(), keys.len(), "an answer for each key");
        for ((key, (seen, _)), answer) in keys.into_iter().zip(seen).zip(answers) {
            self.record(replica, key, invoked, Action::Read { seen, strong: false, answer });
        }
    }

    /// Asks for a lease, and makes the entry when it is granted.
    async fn make_under_a_lease(&mut self, key: u32, replica: usize) {
        let waits = self.random.random_ratio(1, 2);
        let wait = if waits { pb::LeaseWait::UntilDeadline } else { pb::LeaseWait::None };
        let options = pb::LeaseOptions { wait: wait.into(), ..Default::default() };
        let mut request = Request::new(pb::GetRequest { key: name(key), lease: Some(options), ..Default::default() });
        if waits {
            request.set_timeout(WAITS);
        }
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let (answer, lease) = match self.patiently(client.get(request)).await {
            Ok(mut response) => {
                let lease = response.lease.take();
                (self.read(key, response), lease)
            }
            Err(status) => {
                let late = waits && status.code() == tonic::Code::DeadlineExceeded;
                if !late && !(self.load.replicas_die && is_of_the_connection(&status)) {
                    self.report.failed_gets.push(status.code());
                }
                (Answer::Failed, None)
            }
        };
        self.record(replica, key, invoked, Action::Read { seen: Version::ZERO, strong: false, answer });
        let Some(lease) = lease else { return };
        let leased = self.now();
        if self.random.random_ratio(1, 8) {
            let (failed, namespace) = (self.random.random(), String::new());
            let release =
                pb::ReleaseLeaseRequest { namespace, key: name(key), lease: lease.id, failed, retry_after: None };
            let _ = self.patiently(client.release_lease(release)).await;
            return;
        }
        sleep(Duration::from_millis(self.random.random_range(0..8))).await;
        // Wherever the value is stored: a lease holds in the whole fleet.
        let replica = self.random.random_range(0..self.replicas.len());
        self.set_with(key, replica, lease.id, leased).await;
    }

    async fn set_with(&mut self, key: u32, replica: usize, lease: String, leased: At) {
        let (value, mut request) = self.new_value(key);
        request.condition = Some(pb::set_request::Condition::Lease(lease));
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let outcome = match self.patiently(client.set(request)).await {
            Ok(response) if response.outcome() == pb::SetOutcome::Stored => {
                let version = response.version.parse().unwrap();
                self.saw(key, version, response.token);
                Outcome::Ok(version)
            }
            Ok(response) => {
                assert_eq!(response.outcome(), pb::SetOutcome::LeaseVoid);
                Outcome::Failed
            }
            Err(status) => self.failed(&status),
        };
        self.record(replica, key, invoked, Action::Write { value: Some(value), leased: Some(leased), outcome });
    }
}

/// How an invalidation selects what it covers.
#[derive(Clone, Copy)]
enum Selected {
    Prefix,
    Tag,
    Pattern,
}

/// The part of a token that is of the partition of `key`.
fn place(token: &str, key: u32) -> (Version, String) {
    let namespaces = Namespaces::new(NamespaceRules { limit: 1, ..Default::default() }, PARTITIONS);
    let namespace = namespaces.get("namespace", "default").unwrap();
    let partition = KeyRef::new(&namespace, name(key).as_bytes()).partition(PARTITIONS);
    let version = Token::decode(token, PARTITIONS).unwrap().position(partition);
    (version, Token::at(partition, version).encode(PARTITIONS))
}
