//! The callers of one connection: its certificate, the last login, and places of its identities.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::auth::{
    Authority, Authorization, Caller, Demand, IdentityLimitReached, LimitedUse, LoginFailure, UsageGuard, Verb,
};
use crate::cache::error::CacheError;
use crate::net::certificate::ClientCertificate;
use crate::net::peer::Peer;
use crate::sync::Mutex;

/// The callers of one connection.
pub struct ConnectionAccess {
    authority: Arc<Authority>,
    certificate: Option<Arc<ClientCertificate>>,
    peer: Peer,
    /// The last login, so that its credential is not verified for each request.
    last: Mutex<Option<Login>>,
    /// Identities that count the connection: one for most connections, several behind a proxy.
    places: Mutex<Vec<(Arc<str>, UsageGuard)>>,
}

/// A login that succeeded: its header, and its caller.
struct Login {
    /// The header `authorization`. `None` if there was none.
    header: Option<SecretSlice<u8>>,
    caller: Arc<Caller>,
}

/// A request for one key that is granted at once.
pub struct GrantedAtOnce {
    /// The caller. `None` if nothing is decided.
    caller: Option<Arc<Caller>>,
    /// The place of the request among those of its identity.
    place: Option<UsageGuard>,
}

// === impl ConnectionAccess ===

impl ConnectionAccess {
    /// Creates the state of a new connection.
    pub fn new(
        authority: Arc<Authority>,
        certificate: Option<Arc<ClientCertificate>>,
        peer: Peer,
    ) -> Arc<ConnectionAccess> {
        let (last, places) = (Mutex::default(), Mutex::default());
        Arc::new(ConnectionAccess { authority, certificate, peer, last, places })
    }

    /// Returns the identities and grants in force.
    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Returns the peer.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Decides a demand on one key at once. `None` if the general way has to decide it, and to
    /// record it.
    pub fn grant_at_once(&self, headers: &HeaderMap, demand: &Demand<'_>) -> Option<GrantedAtOnce> {
        if !self.authority.is_on() {
            return Some(GrantedAtOnce { caller: None, place: None });
        }
        let caller = match self.last_caller(headers) {
            Some(caller) => caller,
            None => {
                let caller =
                    self.authority.identify_quietly(authorization(headers), self.certificate.as_deref()).ok()?;
                self.remember(headers, &caller).ok()?;
                caller
            }
        };
        caller.identity.grant_for(demand)?;
        // The general way counts the namespaces that a write makes known.
        if demand.verb != Verb::Read && caller.identity.limits_namespaces() {
            return None;
        }
        let place = caller.identity.begin(LimitedUse::InFlight).ok()?;
        Some(GrantedAtOnce { caller: Some(caller), place })
    }

    /// Records a demand that was granted and answered at once, and returns its place.
    pub fn record(&self, granted: GrantedAtOnce, demand: &Demand<'_>) -> Option<UsageGuard> {
        if let Some(caller) = &granted.caller {
            self.authority.record_granted(caller, demand, &self.peer);
        }
        granted.place
    }

    /// Returns the caller of a request.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, CacheError> {
        if let Some(caller) = self.last_caller(headers) {
            return Ok(caller);
        }
        let caller = self.identify(authorization(headers)).map_err(|failure| match failure {
            LoginFailure::NoCredential => CacheError::NoCredential,
            _ => CacheError::BadCredential,
        })?;
        self.remember(headers, &caller)?;
        Ok(caller)
    }

    /// Returns the caller of a credential, verified anew.
    pub(super) fn identify(&self, authorization: Authorization<'_>) -> Result<Arc<Caller>, LoginFailure> {
        self.authority.identify(authorization, self.certificate.as_deref(), self.peer.ip(), &self.peer)
    }

    /// Returns the caller of the last login, if the request has the same credential and it still
    /// holds.
    fn last_caller(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        let header = match authorization(headers) {
            Authorization::Absent => None,
            Authorization::One(header) => Some(header),
            Authorization::Several => return None,
        };
        let last = self.last.lock();
        let Login { header: known, caller } = last.as_ref()?;
        let is_same = match (header, known) {
            (None, None) => true,
            (Some(header), Some(known)) => verify_slices_are_equal(header, known.expose_secret()).is_ok(),
            _ => false,
        };
        (is_same && self.authority.still_knows(caller)).then(|| caller.clone())
    }

    /// Counts the connection for the identity, and remembers the login.
    fn remember(&self, headers: &HeaderMap, caller: &Arc<Caller>) -> Result<(), CacheError> {
        let name = &caller.identity.name;
        let mut places = self.places.lock();
        if !places.iter().any(|(identity, _)| identity == name) {
            match caller.identity.begin(LimitedUse::Connections) {
                Ok(place) => places.extend(place.map(|place| (name.clone(), place))),
                Err(reached) if caller.enforced => return Err(limit_reached(reached)),
                Err(_) => {}
            }
        }
        let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes().to_vec().into());
        *self.last.lock() = Some(Login { header, caller: caller.clone() });
        Ok(())
    }
}

/// Returns the credential of a request.
fn authorization(headers: &HeaderMap) -> Authorization<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Authorization::Absent,
        (Some(value), None) => Authorization::One(value.as_bytes()),
        (Some(_), Some(_)) => Authorization::Several,
    }
}

/// Returns the error of a limit of an identity.
pub(super) fn limit_reached(reached: IdentityLimitReached) -> CacheError {
    let IdentityLimitReached { setting, limit } = reached;
    CacheError::IdentityLimit { setting, limit }
}
