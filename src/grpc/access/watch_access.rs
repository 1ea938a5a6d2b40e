//! The access of a watch, which is decided again when identities or grants change.

use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::sleep;

use super::demands::Guarded;
use super::narrowing::narrowed_watch;
use super::request_access::RequestAccess;
use crate::auth::{LimitedUse, LoginFailure, UsageGuard, Verb};
use crate::cache::error::CacheError;
use crate::cache::quoted::quoted;
use crate::pb;

/// The access of a watch.
pub struct WatchAccess {
    access: RequestAccess,
    request: pb::WatchRequest,
    /// Beginning of the keys that are shown. `None` for all.
    shown: Option<Vec<u8>>,
    changes: watch::Receiver<u64>,
    /// Its place among the watches of the identity.
    _place: Option<UsageGuard>,
}

// === impl WatchAccess ===

impl WatchAccess {
    /// Takes a place among the watches of the identity.
    pub fn begin(
        access: &RequestAccess,
        request: &pb::WatchRequest,
        shown: Option<&str>,
    ) -> Result<WatchAccess, CacheError> {
        let place = access.begin(LimitedUse::Watches)?;
        let (access, request) = (access.clone(), request.clone());
        let changes = access.connection().authority().changes();
        Ok(WatchAccess { access, request, shown: shown.map(|text| text.as_bytes().to_vec()), changes, _place: place })
    }

    /// Returns true if the watch may show a change of this key.
    pub fn shows(&self, key: &[u8]) -> bool {
        self.shown.as_ref().is_none_or(|shown| key.starts_with(shown))
    }

    /// Returns true if the watch shows some keys of its filter only.
    pub fn is_narrowed(&self) -> bool {
        self.shown.is_some()
    }

    /// Completes when the watch is not granted any more, or its credential has expired.
    pub async fn revoked(&mut self) -> CacheError {
        loop {
            if let Err(error) = self.decide_again() {
                return error;
            }
            let is_on = self.access.connection().authority().is_on();
            let expires_at = self.access.caller().expires_at.filter(|_| is_on);
            let left = expires_at.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
            tokio::select! {
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                () = async { match left { Some(left) => sleep(left).await, None => std::future::pending().await } } => {}
            }
        }
    }

    fn decide_again(&mut self) -> Result<(), CacheError> {
        let authority = self.access.connection().authority().clone();
        if !authority.is_on() || authority.still_knows(self.access.caller()) {
            return Ok(());
        }
        self.access = self.access.again().map_err(|failure| match failure {
            LoginFailure::Expired => CacheError::BadCredential,
            _ => {
                let namespace = quoted(&self.request.namespace);
                CacheError::NotGranted(format!("{} is not granted in namespace {namespace}", Verb::Watch))
            }
        })?;
        let narrowed = narrowed_watch(Some(&self.access), &self.request);
        match (narrowed, &self.shown) {
            (Some((_, ask)), Some(_)) => self.access.decide(&ask),
            _ => self.access.decide(&self.request.ask()),
        }
    }
}
