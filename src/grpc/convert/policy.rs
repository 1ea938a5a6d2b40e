//! Policies: checks changes and renders the policies in force.

use std::sync::Arc;
use std::time::Duration;

use super::validator::{RequestContext, Validator, duration, to_wire};
use crate::cache::error::{CacheError, Violation};
use crate::cache::namespace::Namespace;
use crate::cache::policy::{Compression, DefaultConsistency, PolicyPatch, Switches};
use crate::pb;
use crate::units::format_duration;

/// Name of the request field with the change.
const FIELD: &str = "policy";

/// Checks a SetPolicy.
///
/// Returns the namespace and the change; the namespace is `None` for the whole service.
pub fn set_policy(
    context: &RequestContext,
    request: &pb::SetPolicyRequest,
) -> Result<(Option<Arc<Namespace>>, PolicyPatch), CacheError> {
    let mut validator = Validator::default();
    let namespace = match request.namespace.as_str() {
        "" => None,
        name => validator.namespace(context.namespaces.get("namespace", name))?,
    };
    let patch = policy_patch(&mut validator, &request.policy.unwrap_or_default());
    validator.done(Some((namespace, patch)))
}

fn policy_patch(validator: &mut Validator, policy: &pb::Policy) -> PolicyPatch {
    let mut time = |field: &str, wire: &Option<prost_types::Duration>| -> Option<Duration> {
        wire.as_ref().and_then(|wire| validator.take(duration(&format!("{FIELD}.{field}"), wire)))
    };
    let mut patch = PolicyPatch {
        default_ttl: time("default_ttl", &policy.default_ttl),
        min_ttl: time("min_ttl", &policy.min_ttl),
        max_ttl: time("max_ttl", &policy.max_ttl),
        soft_ttl: time("soft_ttl", &policy.soft_ttl),
        l1_ttl: time("l1_ttl", &policy.l1_ttl),
        stale_window: time("stale_window", &policy.stale_window),
        negative_ttl: time("negative_ttl", &policy.negative_ttl),
        lease_duration: time("lease_duration", &policy.lease_duration),
        enabled: policy.enabled,
        l1: policy.l1,
        l2: policy.l2,
        jitter: policy.jitter,
        compression: None,
        compression_threshold: policy.compression_threshold,
        max_value_size: policy.max_value_size,
        max_bytes: policy.max_bytes,
        max_requests_per_second: policy.max_requests_per_second,
        reserved_bytes: policy.reserved_bytes,
        max_l2_bytes: policy.max_l2_bytes,
        max_bytes_per_second: policy.max_bytes_per_second,
        max_in_flight: policy.max_in_flight,
        max_leases: policy.max_leases,
        immutable: policy.immutable,
        consistency: None,
        allow_no_expiry: policy.allow_no_expiry,
        early_refresh: policy.early_refresh,
    };
    patch.compression = validator.take(compression(policy.compression)).flatten();
    patch.consistency = validator.take(consistency(policy.consistency)).flatten();
    if *policy == pb::Policy::default() {
        validator.0.push(Violation::new(FIELD, "must change something"));
    }
    patch
}

fn compression(wire: i32) -> Result<Option<Compression>, Violation> {
    match pb::Compression::try_from(wire) {
        Ok(pb::Compression::Unspecified) => Ok(None),
        Ok(pb::Compression::None) => Ok(Some(Compression::None)),
        Ok(pb::Compression::Zstd) => Ok(Some(Compression::Zstd)),
        Ok(pb::Compression::Lz4) => Ok(Some(Compression::Lz4)),
        Err(_) => Err(Violation::new("policy.compression", format!("must be a Compression; was {wire}"))),
    }
}

fn consistency(wire: i32) -> Result<Option<DefaultConsistency>, Violation> {
    match pb::Consistency::try_from(wire) {
        Ok(pb::Consistency::Unspecified) => Ok(None),
        Ok(pb::Consistency::Bounded) => Ok(Some(DefaultConsistency::Bounded)),
        Ok(pb::Consistency::Strong) => Ok(Some(DefaultConsistency::Strong)),
        Err(_) => Err(Violation::new("policy.consistency", format!("must be a Consistency; was {wire}"))),
    }
}

/// Prefixes the fields of an error with the request field of the policy.
pub fn in_policy(error: CacheError) -> CacheError {
    let inside = |violation: Violation| Violation::new(format!("{FIELD}.{}", violation.field), violation.description);
    match error {
        CacheError::Invalid(violations) => CacheError::Invalid(violations.map(inside)),
        other => other,
    }
}

/// Checks a ListPolicies. Returns the namespaces to list: one, or all known ones.
pub fn listed_namespaces(
    context: &RequestContext,
    request: &pb::ListPoliciesRequest,
) -> Result<Vec<Arc<Namespace>>, CacheError> {
    match request.namespace.as_str() {
        "" => Ok(context.namespaces.all()),
        name => Ok(vec![context.namespaces.get_to_read("namespace", name)?]),
    }
}

/// Returns the policy of a namespace.
pub fn namespace_policy(namespace: &Namespace) -> pb::NamespacePolicy {
    pb::NamespacePolicy {
        namespace: namespace.name().to_owned(),
        policy: Some(policy(&PolicyPatch::of(&namespace.policy()))),
        changed: Some(policy(&namespace.changed())),
    }
}

/// Returns the switches of the whole service.
pub fn service_policy(switches: Switches, changed: &PolicyPatch) -> pb::NamespacePolicy {
    let Switches { enabled, l1, l2 } = switches;
    let now = pb::Policy { enabled: Some(enabled), l1: Some(l1), l2: Some(l2), ..Default::default() };
    pb::NamespacePolicy { namespace: String::new(), policy: Some(now), changed: Some(policy(changed)) }
}

/// Returns a policy in force as text for the audit log: `enabled=true default_ttl=5m …`.
pub fn policy_text(of: &pb::NamespacePolicy) -> String {
    let policy = of.policy.unwrap_or_default();
    let mut text = String::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let space = if text.is_empty() { "" } else { " " };
            text.extend([space, name, "=", &value]);
        }
    };
    macro_rules! add {
        ($($field:ident),* as $show:expr) => {
            $(add(stringify!($field), policy.$field.map($show));)*
        };
    }
    let time = |wire: prost_types::Duration| Duration::try_from(wire).map_or_else(|_| "?".to_owned(), format_duration);
    add!(enabled, l1, l2, immutable, allow_no_expiry as |value: bool| value.to_string());
    add!(default_ttl, min_ttl, max_ttl, soft_ttl, l1_ttl, stale_window, negative_ttl, lease_duration as time);
    add!(jitter, early_refresh, max_requests_per_second as |value: f64| value.to_string());
    add!(compression_threshold, max_value_size, max_bytes as |value: u64| value.to_string());
    let is_namespace = !of.namespace.is_empty();
    add("compression", is_namespace.then(|| policy.compression().as_str_name().to_owned()));
    add("consistency", is_namespace.then(|| policy.consistency().as_str_name().to_owned()));
    text
}

fn policy(patch: &PolicyPatch) -> pb::Policy {
    let compression = patch.compression.map_or(pb::Compression::Unspecified, |compression| match compression {
        Compression::None => pb::Compression::None,
        Compression::Zstd => pb::Compression::Zstd,
        Compression::Lz4 => pb::Compression::Lz4,
    });
    let consistency = patch.consistency.map_or(pb::Consistency::Unspecified, |consistency| match consistency {
        DefaultConsistency::Bounded => pb::Consistency::Bounded,
        DefaultConsistency::Strong => pb::Consistency::Strong,
    });
    pb::Policy {
        enabled: patch.enabled,
        l1: patch.l1,
        l2: patch.l2,
        default_ttl: patch.default_ttl.map(to_wire),
        min_ttl: patch.min_ttl.map(to_wire),
        max_ttl: patch.max_ttl.map(to_wire),
        jitter: patch.jitter,
        soft_ttl: patch.soft_ttl.map(to_wire),
        l1_ttl: patch.l1_ttl.map(to_wire),
        stale_window: patch.stale_window.map(to_wire),
        negative_ttl: patch.negative_ttl.map(to_wire),
        compression: compression.into(),
        compression_threshold: patch.compression_threshold,
        max_value_size: patch.max_value_size,
        max_bytes: patch.max_bytes,
        max_requests_per_second: patch.max_requests_per_second,
        reserved_bytes: patch.reserved_bytes,
        max_l2_bytes: patch.max_l2_bytes,
        max_bytes_per_second: patch.max_bytes_per_second,
        max_in_flight: patch.max_in_flight,
        max_leases: patch.max_leases,
        immutable: patch.immutable,
        consistency: consistency.into(),
        allow_no_expiry: patch.allow_no_expiry,
        early_refresh: patch.early_refresh,
        lease_duration: patch.lease_duration.map(to_wire),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::NamespacePolicy;

    fn read(policy: &pb::Policy) -> Result<PolicyPatch, CacheError> {
        let mut validator = Validator::default();
        let patch = policy_patch(&mut validator, policy);
        validator.done(Some(patch))
    }

    #[test]
    fn a_policy_survives_the_wire() {
        let full = NamespacePolicy {
            compression: Compression::Lz4,
            consistency: DefaultConsistency::Strong,
            stale_window: Duration::from_millis(1500),
            ..NamespacePolicy::default()
        };
        let patch = PolicyPatch::of(&full);
        assert_eq!(read(&policy(&patch)), Ok(patch));
    }

    #[test]
    fn every_violation_is_reported() {
        let max_ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let wrong = pb::Policy { max_ttl, compression: 9, consistency: 9, ..Default::default() };
        let Err(CacheError::Invalid(violations)) = read(&wrong) else { panic!("wrong") };
        let fields: Vec<_> = violations.named().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["policy.max_ttl", "policy.compression", "policy.consistency"]);
        let Err(CacheError::Invalid(violations)) = read(&pb::Policy::default()) else { panic!("empty") };
        assert_eq!(violations.named(), [Violation::new("policy", "must change something")]);
    }
}
