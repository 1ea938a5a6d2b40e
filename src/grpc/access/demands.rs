//! The demands of each request message.

use crate::auth::{Ask, Demand, Names, Place, Verb};
use crate::cache::invalidation::selector;
use crate::pb;
use crate::pb::invalidate_request::Selector;

/// Most pairs of namespaces and keys of one request that are looked at.
const MAX_PAIRS: usize = 1 << 20;

/// A request whose access is decided.
pub trait Guarded {
    /// Returns the access that the request needs.
    fn ask(&self) -> Ask<'_>;
}

fn one(demand: Demand<'_>) -> Ask<'_> {
    Ask::All(vec![demand])
}

fn keys<'a>(verb: Verb, namespace: &'a str, keys: impl Iterator<Item = &'a str>) -> Ask<'a> {
    let names = Names::Keys(keys.map(str::as_bytes).collect());
    one(Demand { verb, place: Place::Namespace(namespace), names })
}

/// Returns the keys that a prefix selects: those that begin with its normal form.
fn prefix(text: &str) -> Names<'_> {
    selector::normalized(text.as_bytes()).map_or(Names::Whole, Names::Prefix)
}

// === requests of CacheService ===

impl Guarded for pb::GetRequest {
    fn ask(&self) -> Ask<'_> {
        let demand = |verb| Demand::key(verb, &self.namespace, self.key.as_bytes());
        let leases = self.lease.is_some().then_some(Verb::Write);
        Ask::All([Verb::Read].into_iter().chain(leases).map(demand).collect())
    }
}

impl Guarded for pb::SetRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::key(Verb::Write, &self.namespace, self.key.as_bytes()))
    }
}

impl Guarded for pb::TouchRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::key(Verb::Write, &self.namespace, self.key.as_bytes()))
    }
}

impl Guarded for pb::ReleaseLeaseRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::key(Verb::Write, &self.namespace, self.key.as_bytes()))
    }
}

impl Guarded for pb::BatchGetRequest {
    fn ask(&self) -> Ask<'_> {
        keys(Verb::Read, &self.namespace, self.keys.iter().map(String::as_str))
    }
}

impl Guarded for pb::BatchSetRequest {
    fn ask(&self) -> Ask<'_> {
        keys(Verb::Write, &self.namespace, self.items.iter().map(|item| item.key.as_str()))
    }
}

impl Guarded for pb::BatchInvalidateRequest {
    fn ask(&self) -> Ask<'_> {
        keys(Verb::Invalidate, &self.namespace, self.items.iter().map(|item| item.key.as_str()))
    }
}

impl Guarded for pb::InvalidateRequest {
    fn ask(&self) -> Ask<'_> {
        let names = match &self.selector {
            Some(Selector::Event(event)) => return Ask::Event(&event.name),
            Some(Selector::Key(key)) => Names::Key(key.as_bytes()),
            Some(Selector::Keys(keys)) if self.namespaces.len().saturating_mul(keys.keys.len()) <= MAX_PAIRS => {
                Names::Keys(keys.keys.iter().map(String::as_bytes).collect())
            }
            Some(Selector::Prefix(text)) => prefix(text),
            // Too many keys are refused in any case.
            Some(Selector::Keys(_) | Selector::WholeNamespace(_) | Selector::Pattern(_) | Selector::Tags(_)) | None => {
                Names::Whole
            }
        };
        invalidation(self, &names)
    }
}

/// Returns the demands of an invalidation of these keys in all its namespaces.
pub(super) fn invalidation<'a>(request: &'a pb::InvalidateRequest, names: &Names<'a>) -> Ask<'a> {
    let demand = |place| Demand { verb: Verb::Invalidate, place, names: names.clone() };
    if request.all_namespaces {
        return one(demand(Place::Everywhere));
    }
    // With a list the single name has to be empty: it is then no namespace of the request.
    let is_single = request.namespaces.is_empty() || !request.namespace.is_empty();
    let single = is_single.then_some(request.namespace.as_str());
    let all = single.into_iter().chain(request.namespaces.iter().map(String::as_str));
    Ask::All(all.map(|name| demand(Place::Namespace(name))).collect())
}

impl Guarded for pb::WatchRequest {
    fn ask(&self) -> Ask<'_> {
        let names = match &self.selector {
            Some(pb::watch_request::Selector::Prefix(text)) => prefix(text),
            Some(pb::watch_request::Selector::Tag(_)) | None => Names::Whole,
        };
        one(Demand { verb: Verb::Watch, place: Place::Namespace(&self.namespace), names })
    }
}

impl Guarded for pb::StatsRequest {
    fn ask(&self) -> Ask<'_> {
        match self.namespace.as_str() {
            "" => Ask::Somewhere(Verb::Stats),
            name => one(Demand { verb: Verb::Stats, place: Place::Namespace(name), names: Names::Unnamed }),
        }
    }
}

// === requests of AdminService ===

impl Guarded for pb::InspectRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::key(Verb::Admin, &self.namespace, self.key.as_bytes()))
    }
}

impl Guarded for pb::HotKeysRequest {
    fn ask(&self) -> Ask<'_> {
        match self.namespace.as_str() {
            "" => one(Demand::everywhere(Verb::Admin)),
            name => one(Demand { verb: Verb::Admin, place: Place::Namespace(name), names: Names::Unnamed }),
        }
    }
}

impl Guarded for pb::ExportEntriesRequest {
    fn ask(&self) -> Ask<'_> {
        if self.namespaces.is_empty() {
            return one(Demand::everywhere(Verb::Admin));
        }
        // The response contains only the keys that the caller may read.
        let demand = |(verb, name)| Demand { verb, place: Place::Namespace(name), names: Names::Unnamed };
        let verbs = |name| [(Verb::Admin, name), (Verb::Read, name)];
        Ask::All(self.namespaces.iter().flat_map(|name| verbs(name.as_str())).map(demand).collect())
    }
}

/// Returns the demand on the policy of a namespace, or of the service if the name is empty.
fn policy(namespace: &str) -> Ask<'_> {
    match namespace {
        "" => one(Demand::everywhere(Verb::Admin)),
        name => one(Demand::whole(Verb::Admin, name)),
    }
}

impl Guarded for pb::ListPoliciesRequest {
    fn ask(&self) -> Ask<'_> {
        policy(&self.namespace)
    }
}

impl Guarded for pb::SetPolicyRequest {
    fn ask(&self) -> Ask<'_> {
        policy(&self.namespace)
    }
}

impl Guarded for pb::ResetPolicyRequest {
    fn ask(&self) -> Ask<'_> {
        policy(&self.namespace)
    }
}

impl Guarded for pb::DrainRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::everywhere(Verb::Admin))
    }
}

impl Guarded for pb::ResetStatsRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::everywhere(Verb::Admin))
    }
}

impl Guarded for pb::SetLogLevelRequest {
    fn ask(&self) -> Ask<'_> {
        one(Demand::everywhere(Verb::Admin))
    }
}

#[cfg(test)]
#[path = "demands_tests.rs"]
mod tests;
