//! Filters of responses: callers see only what they are granted.

use super::request_access::RequestAccess;
use crate::auth::{Demand, Verb};
use crate::cache::key::KeyRef;
use crate::cache::key_form::KeyForm;
use crate::cache::stats::hot_keys::HotKey;
use crate::pb;

/// Leaves the granted namespaces in Stats. Totals and Redis need `admin` on `*`.
pub fn show_stats(access: Option<&RequestAccess>, response: pb::StatsResponse) -> pb::StatsResponse {
    let Some(access) = access else { return response };
    let mut namespaces = response.namespaces.clone();
    namespaces.retain(|stats| access.shows_namespace(Verb::Stats, &stats.namespace));
    if access.shows(&Demand::everywhere(Verb::Admin)) {
        return pb::StatsResponse { namespaces, ..response };
    }
    pb::StatsResponse { namespaces, reset_time: response.reset_time, ..Default::default() }
}

/// Replaces the names of hot keys that the caller may not read by their hashes.
pub fn name_hot_keys(access: Option<&RequestAccess>, hottest: &[HotKey], response: &mut pb::HotKeysResponse) {
    let Some(access) = access else { return };
    for (hot, shown) in hottest.iter().zip(&mut response.keys) {
        let (namespace, bytes) = (hot.key.namespace(), hot.key.bytes());
        if !access.shows(&Demand::key(Verb::Read, namespace.name(), bytes)) {
            shown.key = KeyForm::Hashed.format(KeyRef::new(namespace, bytes));
        }
    }
}

/// Returns true if the caller may not see the policy of the service.
pub fn hides_service_policy(access: Option<&RequestAccess>) -> bool {
    access.is_some_and(|access| !access.shows(&Demand::everywhere(Verb::Admin)))
}
