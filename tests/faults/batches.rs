//! Batch clients. To the checker, a batch is several operations at once.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status};
use twintier::cache::version::Version;
use twintier::pb;
use twintier::pb::batch_get_item::Result as Found;

use super::history::{Action, Answer, Outcome};
use super::load::{Client, is_connection_failure, name, position, tag};

impl Client {
    pub(super) async fn get_many(&mut self, keys: &[u32], replica: usize) -> Vec<(u32, Action)> {
        let strong = self.is_strong();
        let presented: Vec<(Version, String)> = keys.iter().map(|key| self.presented_token(*key)).collect();
        let request = pb::BatchGetRequest {
            keys: keys.iter().map(|key| name(*key)).collect(),
            consistency: if strong { pb::Consistency::Strong } else { pb::Consistency::Bounded }.into(),
            tokens: presented.iter().map(|(_, token)| token.clone()).filter(|token| !token.is_empty()).collect(),
            ..Default::default()
        };
        let (call_timeout, leaves) = self.next_timeout();
        let mut client = self.replicas[replica].clone();
        let read = async move {
            let mut messages = client.batch_get(request).await?.into_inner();
            let (mut items, mut token) = (Vec::new(), String::new());
            while let Some(message) = messages.message().await? {
                items.extend(message.items);
                token = message.token;
            }
            Ok((items, token))
        };
        let read = timeout(call_timeout, read).await;
        let answers = match read.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok((items, token)) => {
                assert_eq!(items.len(), keys.len(), "an answer for each key");
                keys.iter().zip(items).map(|(key, item)| self.found(*key, item, strong, &token)).collect()
            }
            Err(_) if leaves => vec![Answer::Failed; keys.len()],
            Err(status) if self.load.replicas_die && is_connection_failure(&status) => vec![Answer::Failed; keys.len()],
            Err(status) => {
                self.report.failed_gets.push(status.code());
                vec![Answer::Failed; keys.len()]
            }
        };
        let read = |((key, (seen, _)), answer)| (key, Action::Read { seen, strong, answer });
        keys.iter().copied().zip(presented).zip(answers).map(read).collect()
    }

    fn found(&mut self, key: u32, item: pb::BatchGetItem, strong: bool, token: &str) -> Answer {
        match item.result.expect("an item has a result") {
            Found::Hit(hit) => self.hit(key, hit, token.to_owned()),
            // The token of a batch covers all items, so that the position of this miss is not
            // known.
            Found::NegativeHit(_) | Found::Miss(_) => Answer::Miss(Version::ZERO),
            Found::Error(error) => {
                if !strong || Code::from(error.code) != Code::Unavailable {
                    self.report.failed_gets.push(Code::from(error.code));
                }
                Answer::Failed
            }
        }
    }

    pub(super) async fn set_many(&mut self, keys: &[u32], replica: usize) -> Vec<(u32, Action)> {
        let values: Vec<(u64, pb::set_request::Content)> = keys.iter().map(|_| self.next_value()).collect();
        let items = keys.iter().zip(&values).map(|(key, (value, content))| pb::SetRequest {
            tags: vec![tag(*key)],
            request_id: self.request_id(*value),
            key: name(*key),
            content: Some(content.clone()),
            ..Default::default()
        });
        let request = pb::BatchSetRequest { items: items.collect(), ..Default::default() };
        let (call_timeout, _) = self.next_timeout();
        let answered = timeout(call_timeout, self.replicas[replica].batch_set(request)).await;
        let outcomes = match answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok(response) => {
                let pb::BatchSetResponse { results, token } = response.into_inner();
                let outcome = |(key, result): (&u32, pb::BatchSetResult)| match result.error {
                    Some(error) => self.failed_item(&error),
                    None => {
                        let version = result.version.parse().unwrap();
                        self.saw(*key, version, token.clone());
                        Outcome::Ok(version)
                    }
                };
                keys.iter().zip(results).map(outcome).collect()
            }
            Err(status) => vec![self.failed(&status); keys.len()],
        };
        let written = |((key, (value, _)), outcome)| (key, Action::Write { value: Some(value), leased: None, outcome });
        keys.iter().copied().zip(values).zip(outcomes).map(written).collect()
    }

    pub(super) async fn invalidate_many(&mut self, keys: &[u32], replica: usize) -> Vec<(u32, Action)> {
        let item = |key: &u32| pb::BatchInvalidateItem { key: name(*key), source_version: None };
        let items = keys.iter().map(item).collect();
        let request = pb::BatchInvalidateRequest { items, ..Default::default() };
        let (call_timeout, _) = self.next_timeout();
        let answered = timeout(call_timeout, self.replicas[replica].batch_invalidate(request)).await;
        let outcomes = match answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("the client timed out"))) {
            Ok(response) => {
                let pb::BatchInvalidateResponse { results, token } = response.into_inner();
                let outcome = |(key, result): (&u32, pb::BatchInvalidateResult)| match result.error {
                    Some(error) => self.failed_item(&error),
                    None => {
                        let version = position(*key, &token);
                        self.saw(*key, version, token.clone());
                        Outcome::Ok(version)
                    }
                };
                keys.iter().zip(results).map(outcome).collect()
            }
            Err(status) => vec![self.failed(&status); keys.len()],
        };
        let written = |(key, outcome)| (key, Action::Write { value: None, leased: None, outcome });
        keys.iter().copied().zip(outcomes).map(written).collect()
    }

    fn failed_item(&mut self, error: &pb::ItemError) -> Outcome {
        let code = Code::from(error.code);
        self.report.failed_writes.push(code);
        match error.outcome_unknown_for {
            Some(window) => Outcome::Unknown(Duration::try_from(window).unwrap() + Duration::from_millis(1)),
            None if matches!(code, Code::Unavailable | Code::ResourceExhausted) => Outcome::Failed,
            None => Outcome::Unknown(Duration::from_secs(3600)),
        }
    }
}
