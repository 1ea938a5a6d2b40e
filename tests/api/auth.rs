//! Identities, credentials and grants.

mod credentials;
mod every_rpc;
mod fast_way;
mod filters;
mod grants;
mod limits;
mod ports;

use http::{HeaderMap, Request as HttpRequest};
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::{Request, Status};
use tower_service::Service as _;
use twintier::auth::TokenHash;
use twintier::pb;

use crate::harness::{Replica, Wire, one_message, set_request};

/// Token of the identity `root`, which may do everything.
const ROOT: &str = "root-token";
const EVERYTHING: &str =
    r#"[{"namespaces": ["*"], "verbs": ["read", "write", "invalidate", "watch", "stats", "admin"]}]"#;

/// An identity, its token and its grants.
type Team<'a> = (&'a str, &'a str, &'a str);

/// Settings of these identities and of `root`, in mode `enforce`.
fn teams(teams: &[Team<'_>]) -> Vec<(String, String)> {
    let all = teams.iter().copied().chain([("root", ROOT, EVERYTHING)]);
    let settings = all.flat_map(|(name, token, grants)| {
        let path = |field: &str| format!("identities.{name}.{field}");
        [(path("token_hashes"), hashes(&[token])), (path("grants"), grants.to_owned())]
    });
    [("auth.mode".to_owned(), "enforce".to_owned())].into_iter().chain(settings).collect()
}

/// The value of `token_hashes` for these tokens.
fn hashes(tokens: &[&str]) -> String {
    let hashes: Vec<_> = tokens.iter().map(|token| TokenHash::of(token.as_bytes()).to_string()).collect();
    serde_json::json!(hashes).to_string()
}

/// Adds settings to those of teams.
fn with(mut settings: Vec<(String, String)>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.extend(more.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())));
    settings
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect()
}

async fn start(settings: &[(String, String)]) -> Replica {
    Replica::start(&borrowed(settings)).await
}

/// A request with a Bearer token.
fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn get(namespace: &str, key: &str) -> pb::GetRequest {
    pb::GetRequest { namespace: namespace.into(), key: key.into(), ..Default::default() }
}

fn set(namespace: &str, key: &str, value: &str) -> pb::SetRequest {
    pb::SetRequest { namespace: namespace.into(), ..set_request(key, value) }
}

impl Replica {
    async fn get_as(&self, token: &str, namespace: &str, key: &str) -> Result<pb::GetResponse, Status> {
        Ok(self.client.clone().get(bearing(token, get(namespace, key))).await?.into_inner())
    }

    async fn set_as(&self, token: &str, namespace: &str, key: &str, value: &str) -> Result<pb::SetResponse, Status> {
        Ok(self.client.clone().set(bearing(token, set(namespace, key, value))).await?.into_inner())
    }

    async fn invalidate_as(
        &self,
        token: &str,
        namespace: &str,
        selector: pb::invalidate_request::Selector,
    ) -> Result<pb::InvalidateResponse, Status> {
        let request =
            pb::InvalidateRequest { namespace: namespace.into(), selector: Some(selector), ..Default::default() };
        Ok(self.client.clone().invalidate(bearing(token, request)).await?.into_inner())
    }
}

/// The head and the trailers of a response, and its first message if there is one.
struct Reply {
    headers: HeaderMap,
    body: Vec<u8>,
    status: Status,
}

impl Reply {
    fn message<T: Message + Default>(&self) -> T {
        T::decode(&self.body[5..]).unwrap()
    }
}

/// Calls a method with headers and an encoded message.
async fn call(wire: &mut Wire, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Reply {
    std::future::poll_fn(|context| wire.poll_ready(context)).await.unwrap();
    let mut request = HttpRequest::post(path).header("te", "trailers");
    for (name, value) in [("content-type", "application/grpc")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    let (parts, body) = wire.call(request.body(one_message(message)).unwrap()).await.unwrap().into_parts();
    let mut headers = parts.headers;
    headers.remove("date");
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&headers)).expect("a status");
    headers.extend(trailers);
    Reply { headers, body: collected.to_bytes().to_vec(), status }
}

/// The value of the header `authorization`.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
