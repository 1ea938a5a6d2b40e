//! Load of multi-key operations and leases, recorded as operations of each key.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Response, Status};
use twintier::cache::version::Version;
use twintier::pb;

use super::{Client, group, is_connection_failure, name, position, tag};
use crate::history::{Action, Answer, At, Outcome};

/// Deadline of a Get that waits for another caller to fill the entry.
const LEASE_WAIT: Duration = Duration::from_millis(100);

impl Client {
    pub(super) async fn use_features(&mut self, key: u32, replica: usize) {
        match self.random.random_range(0..120) {
            0..8 => self.invalidate_selected(key, replica, Selected::Prefix).await,
            8..16 => self.invalidate_selected(key, replica, Selected::Tag).await,
            16 => self.invalidate_selected(key, replica, Selected::Pattern).await,
            _ => self.fill_under_a_lease(key, replica).await,
        }
    }

    async fn with_timeout<T>(&mut self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let answered = timeout(self.load.call_timeout, call).await;
        answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))).map(Response::into_inner)
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
        let answered = self.with_timeout(client.invalidate(request)).await;
        let answered = match answered {
            Ok(response) => Ok(response.token),
            Err(status) => Err(self.failed(&status)),
        };
        for key in (0..self.load.keys).filter(covered) {
            let outcome = match &answered {
                Ok(token) => {
                    let version = position(key, token);
                    self.saw(key, version, token.clone());
                    Outcome::Ok(version)
                }
                Err(outcome) => *outcome,
            };
            self.record(replica, key, invoked, Action::Write { value: None, leased: None, outcome });
        }
    }

    /// Requests a lease, and fills the entry if it is granted.
    async fn fill_under_a_lease(&mut self, key: u32, replica: usize) {
        let waits = self.random.random_ratio(1, 2);
        let wait = if waits { pb::LeaseWait::UntilDeadline } else { pb::LeaseWait::None };
        let options = pb::LeaseOptions { wait: wait.into(), ..Default::default() };
        let mut request = Request::new(pb::GetRequest { key: name(key), lease: Some(options), ..Default::default() });
        if waits {
            request.set_timeout(LEASE_WAIT);
        }
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let (answer, lease) = match self.with_timeout(client.get(request)).await {
            Ok(mut response) => {
                let lease = response.lease.take();
                (self.read(key, response), lease)
            }
            Err(status) => {
                // The client may notice its deadline before the service does.
                let late = waits && matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
                let excused = late || (self.load.replicas_die && is_connection_failure(&status));
                if !excused {
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
            let _ = self.with_timeout(client.release_lease(release)).await;
            return;
        }
        sleep(Duration::from_millis(self.random.random_range(0..8))).await;
        // Any replica may store the value: a lease is valid in the whole fleet.
        let replica = self.random.random_range(0..self.replicas.len());
        self.set_with(key, replica, lease.id, leased).await;
    }

    async fn set_with(&mut self, key: u32, replica: usize, lease: String, leased: At) {
        let (value, content) = self.next_value();
        let (condition, tags) = (Some(pb::set_request::Condition::Lease(lease)), vec![tag(key)]);
        let (key_name, request_id, content) = (name(key), self.request_id(value), Some(content));
        let request = pb::SetRequest { key: key_name, content, condition, tags, request_id, ..Default::default() };
        let (invoked, mut client) = (self.now(), self.replicas[replica].clone());
        let outcome = match self.with_timeout(client.set(request)).await {
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

/// Selector of an invalidation.
#[derive(Clone, Copy)]
enum Selected {
    Prefix,
    Tag,
    Pattern,
}
