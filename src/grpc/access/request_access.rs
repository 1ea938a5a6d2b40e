//! The access of one request: its caller, and the decision on what it asks for.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue};
use tonic::{Request, Status};

use super::connection_access::{ConnectionAccess, limit_reached};
use super::demands::Guarded;
use super::rules::Rule;
use crate::auth::{
    Ask, Authorization, Caller, Demand, Denied, KnownBy, LimitedUse, LoginFailure, NamespaceClaims, Place, UsageGuard,
    Verb,
};
use crate::cache::caller::CallerKey;
use crate::cache::error::CacheError;
use crate::cache::namespace::Namespaces;
use crate::grpc::method_names::{CallShape, Method};
use crate::grpc::status::status;
use crate::net::peer::Peer;

/// The caller of a request. Stored in its extensions.
#[derive(Clone)]
pub struct RequestAccess {
    connection: Arc<ConnectionAccess>,
    caller: Arc<Caller>,
    /// The credential, to verify it again for a stream that lasts.
    authorization: Option<HeaderValue>,
}

/// A request that is granted. Kept until it is answered.
#[derive(Default)]
pub struct Admitted(Option<(NamespaceClaims, Arc<Namespaces>)>);

// === impl RequestAccess ===

impl RequestAccess {
    /// Finds the caller of a request to a method. `None` if nothing is decided, also later.
    pub fn find(
        connection: &Arc<ConnectionAccess>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<RequestAccess>, CacheError> {
        let authority = connection.authority();
        // A stream may last until decisions are switched on.
        let is_undecided = !authority.is_on();
        if method.rule == Rule::Open || (is_undecided && method.shape != CallShape::LongLived) {
            return Ok(None);
        }
        let caller = if is_undecided { authority.undecided_caller() } else { connection.caller(headers)? };
        if method.rule == Rule::Identity && caller.enforced && caller.known == KnownBy::Anonymous {
            return Err(CacheError::NoCredential);
        }
        let authorization = headers.get(AUTHORIZATION).map(|value| {
            let mut value = value.clone();
            value.set_sensitive(true);
            value
        });
        Ok(Some(RequestAccess { connection: connection.clone(), caller, authorization }))
    }

    /// Returns the caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns the key by which shares of places count a caller: its identity, else its address.
    pub fn caller_key(access: Option<&RequestAccess>, address: IpAddr) -> CallerKey {
        let known = access.map(RequestAccess::caller).filter(|caller| caller.known != KnownBy::Anonymous);
        known.map_or(CallerKey::Peer(address), |caller| CallerKey::Identity(caller.identity.name.clone()))
    }

    /// Returns the peer.
    pub fn peer(&self) -> Peer {
        self.connection.peer()
    }

    pub(super) fn connection(&self) -> &ConnectionAccess {
        &self.connection
    }

    /// Takes a place among those of the identity. `None` if it has no limit.
    pub fn begin(&self, kind: LimitedUse) -> Result<Option<UsageGuard>, CacheError> {
        match self.caller.identity.begin(kind) {
            Ok(place) => Ok(place),
            Err(reached) if self.caller.enforced => Err(limit_reached(reached)),
            Err(_) => Ok(None),
        }
    }

    /// Decides whether the request is granted.
    pub fn decide(&self, ask: &Ask<'_>) -> Result<(), CacheError> {
        let decided = self.connection.authority().decide(&self.caller, ask, &self.connection.peer());
        decided.map_err(|Denied(text)| CacheError::NotGranted(text))
    }

    /// Returns true if the response may show what this demand is about.
    pub fn shows(&self, demand: &Demand<'_>) -> bool {
        !self.caller.enforced || self.caller.identity.grant_for(demand).is_some()
    }

    /// Returns true if the response may show numbers of the namespace.
    pub fn shows_namespace(&self, verb: Verb, namespace: &str) -> bool {
        !self.caller.enforced || self.caller.identity.has(verb, namespace)
    }

    /// Returns the access of the same credential, verified with the snapshot in force.
    pub(super) fn again(&self) -> Result<RequestAccess, LoginFailure> {
        let header = self.authorization.as_ref().map(HeaderValue::as_bytes);
        let caller = self.connection.identify(header.map_or(Authorization::Absent, Authorization::One))?;
        Ok(RequestAccess { caller, ..self.clone() })
    }

    /// Claims the unknown namespaces that a request may make known.
    fn claim(&self, ask: &Ask<'_>, namespaces: &Arc<Namespaces>) -> Result<Admitted, CacheError> {
        let Ask::All(demands) = ask else { return Ok(Admitted::default()) };
        if !self.caller.identity.limits_namespaces() {
            return Ok(Admitted::default());
        }
        let unknown = demands.iter().filter_map(|demand| match demand.place {
            Place::Namespace(name) if !name.is_empty() && registers(demand.verb) && namespaces.find(name).is_none() => {
                Some(name.into())
            }
            _ => None,
        });
        let claimed = self.caller.identity.claim(unknown.collect());
        match claimed {
            Ok(claims) => Ok(Admitted(claims.map(|claims| (claims, namespaces.clone())))),
            Err(reached) if self.caller.enforced => Err(limit_reached(reached)),
            Err(_) => Ok(Admitted::default()),
        }
    }
}

/// Returns true if a request with this verb makes its namespace known.
fn registers(verb: Verb) -> bool {
    matches!(verb, Verb::Write | Verb::Invalidate | Verb::Admin)
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((claims, namespaces)) = self.0.take() {
            claims.settle(|name| namespaces.find(name).is_some());
        }
    }
}

/// Returns the access of a request. `None` if nothing is decided.
pub fn access_of(extensions: &Extensions) -> Option<&RequestAccess> {
    extensions.get::<RequestAccess>()
}

/// Decides whether a request is granted, before anything is looked up.
pub fn authorize<T: Guarded>(request: &Request<T>, namespaces: &Arc<Namespaces>) -> Result<Admitted, Status> {
    authorize_ask(request, namespaces, || request.get_ref().ask())
}

/// Decides whether what `ask` returns is granted.
pub fn authorize_ask<'a, T>(
    request: &'a Request<T>,
    namespaces: &Arc<Namespaces>,
    ask: impl FnOnce() -> Ask<'a>,
) -> Result<Admitted, Status> {
    let Some(access) = access_of(request.extensions()) else { return Ok(Admitted::default()) };
    let ask = ask();
    let granted = access.decide(&ask).and_then(|()| access.claim(&ask, namespaces));
    granted.map_err(|error| status(&error))
}
