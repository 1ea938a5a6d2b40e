//! The gRPC status of each core error, with google.rpc details that fit into trailers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::header_size;
use crate::cache::error::{self, CacheError};
use crate::cache::tier::RETRY_AFTER;
use crate::pb;

/// Domain of every ErrorInfo.
const DOMAIN: &str = "twintier.dev";

/// Returns the status of an error.
pub fn status(error: &CacheError) -> Status {
    let mut details = ErrorDetails::new();
    let message = match error {
        CacheError::Invalid(violations) => header_size::summary(violations),
        other => match setting_of(other) {
            Some(setting) => header_size::message(&format!("{other} ({setting})")),
            None => header_size::message(&other.to_string()),
        },
    };
    let cause = match error {
        CacheError::InSome { cause, .. } => cause,
        other => other,
    };
    let (code, reason) = match cause {
        CacheError::Invalid(violations) => {
            let fitting = header_size::fitting(violations, &message).into_iter();
            let fields = fitting.map(|violation| FieldViolation::new(violation.field, violation.description));
            details.set_bad_request(fields.collect::<Vec<_>>());
            (Code::InvalidArgument, "INVALID_REQUEST")
        }
        CacheError::UnknownNamespace(_) => (Code::NotFound, "UNKNOWN_NAMESPACE"),
        CacheError::Unavailable { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
            (Code::Unavailable, "L2_UNAVAILABLE")
        }
        CacheError::Full => (Code::ResourceExhausted, "L2_FULL"),
        CacheError::Exhausted { what, limit, retry_after } => {
            limit_reached(&mut details, what, *limit as u64, *retry_after)
        }
        CacheError::NoCredential => (Code::Unauthenticated, "NO_CREDENTIAL"),
        CacheError::BadCredential => (Code::Unauthenticated, "BAD_CREDENTIAL"),
        CacheError::NotGranted(_) => (Code::PermissionDenied, "NOT_GRANTED"),
        CacheError::IdentityLimit { setting, limit } => {
            limit_reached(&mut details, setting, *limit as u64, Some(RETRY_AFTER))
        }
        CacheError::Quota(quota) => limit_reached(&mut details, quota.field, quota.limit, quota.retry_after),
        CacheError::DeadlineExceeded { .. } => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        CacheError::Incomplete { .. } => (Code::DeadlineExceeded, "REQUEST_INCOMPLETE"),
        CacheError::Halted(_) => (Code::Unavailable, "REPLICA_HALTED"),
        CacheError::Leaving => {
            details.set_retry_info(Some(Duration::ZERO));
            (Code::Unavailable, "LEAVING")
        }
        // The cause of an `InSome` is never another `InSome`.
        CacheError::InSome { .. } | CacheError::Internal => (Code::Internal, "INTERNAL"),
    };
    details.set_error_info(reason, DOMAIN, metadata(error));
    Status::with_error_details(code, message, details)
}

/// Returns the error of one batch item: the status that a call for it alone would have.
pub fn item_error(error: &CacheError) -> pb::ItemError {
    let status = status(error);
    let retry = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
    let unknown = error.outcome_unknown_for();
    let to_wire = |duration: Duration| prost_types::Duration {
        seconds: duration.as_secs() as i64,
        nanos: duration.subsec_nanos() as i32,
    };
    pb::ItemError {
        code: status.code() as i32,
        message: status.message().to_owned(),
        retry_delay: retry.map(to_wire),
        outcome_unknown_for: unknown.map(to_wire),
    }
}

/// Resources of which the core has a limited amount, and the settings that limit them. The first
/// that ends the name of a resource counts: "share of this address in the requests in flight".
const LIMITING_SETTINGS: [(&str, &str); 10] = [
    ("commands in flight", "redis.max_in_flight"),
    ("requests in flight", "server.max_in_flight"),
    ("bytes in flight", "server.max_bytes_in_flight"),
    ("bytes of health and reflection calls", "server.max_uncounted"),
    ("health and reflection calls", "server.max_uncounted"),
    ("waiting Gets of one connection", "half of server.max_waiting"),
    ("waiting Gets", "server.max_waiting"),
    ("namespaces", "limits.namespaces"),
    ("health watches", "server.max_connections"),
    ("watches", "limits.watches"),
];

/// Returns the setting that limits what is exhausted, if there is one.
fn setting_of(error: &CacheError) -> Option<Cow<'static, str>> {
    let what = match error {
        CacheError::Quota(quota) => return Some(quota.path().into()),
        CacheError::Exhausted { what, .. } => what,
        _ => return None,
    };
    let limiting = LIMITING_SETTINGS.iter().find(|(resource, _)| what.ends_with(resource));
    limiting.map(|(_, setting)| (*setting).into())
}

/// Adds the details of a reached limit. Returns its code and its reason.
fn limit_reached(
    details: &mut ErrorDetails,
    subject: &str,
    limit: u64,
    retry_after: Option<Duration>,
) -> (Code, &'static str) {
    details.add_quota_failure_violation(subject, format!("limit of {limit} reached"));
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    (Code::ResourceExhausted, "LIMIT_REACHED")
}

/// Returns the machine-readable metadata of an error.
fn metadata(error: &CacheError) -> HashMap<String, String> {
    let mut known = HashMap::new();
    let mut add = |name: &str, value: String| _ = known.insert(name.to_owned(), value);
    if let Some(unknown) = error.outcome_unknown_for() {
        add("outcome_unknown_for_ms", unknown.as_millis().to_string());
    }
    match error {
        CacheError::Exhausted { what, limit, .. } => {
            add("limit", (*what).to_owned());
            add("value", limit.to_string());
            if let Some(setting) = setting_of(error) {
                add("setting", setting.into_owned());
            }
        }
        CacheError::IdentityLimit { setting, limit } => {
            add("limit", setting.clone());
            add("value", limit.to_string());
            add("setting", setting.clone());
        }
        CacheError::Quota(quota) => {
            add("limit", quota.field.to_owned());
            add("value", quota.limit.to_string());
            add("setting", quota.path());
        }
        CacheError::InSome { failed, cause, .. } => {
            known.extend(metadata(cause));
            known.insert("failed_namespaces".to_owned(), error::listed(failed));
        }
        _ => {}
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::error::{QuotaReached, Violation};

    #[test]
    fn an_invalid_request_names_its_fields() {
        let status = status(&Violation::too_large("key", 2000, 1024, "bytes").into());
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = &details.bad_request().expect("BadRequest").field_violations[0];
        assert_eq!(violation.field, "key");
        assert_eq!(violation.description, "must be at most 1024 bytes; was 2000 bytes");
        assert_eq!(details.error_info().expect("ErrorInfo").reason, "INVALID_REQUEST");
    }

    #[test]
    fn a_limit_that_is_reached_names_its_setting() {
        let refused = |what| status(&CacheError::Exhausted { what, limit: 8, retry_after: None });
        for (what, setting) in [
            ("requests in flight", "server.max_in_flight"),
            ("share of this address in the bytes in flight", "server.max_bytes_in_flight"),
            ("waiting Gets of one connection", "half of server.max_waiting"),
            ("namespaces", "limits.namespaces"),
            ("watches", "limits.watches"),
        ] {
            let status = refused(what);
            assert_eq!(status.message(), format!("{what} limit of 8 reached ({setting})"));
            let details = status.get_error_details();
            assert_eq!(details.error_info().expect("ErrorInfo").metadata["setting"], setting);
        }
        let quota = QuotaReached {
            section: "namespaces",
            name: "cart".to_owned(),
            field: "max_leases",
            limit: 8,
            retry_after: Some(Duration::from_secs(1)),
        };
        let status = status(&quota.into());
        assert_eq!(status.message(), "max_leases limit of 8 reached (namespaces.cart.max_leases)");
        let details = status.get_error_details();
        assert_eq!(details.error_info().expect("ErrorInfo").metadata["setting"], "namespaces.cart.max_leases");
        assert_eq!(details.retry_info().expect("RetryInfo").retry_delay, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_batch_item_has_the_error_of_its_call() {
        let unknown = Some(Duration::from_millis(80));
        let error = CacheError::Unavailable {
            reason: "lost",
            retry_after: Duration::from_millis(500),
            outcome_unknown_for: unknown,
        };
        let item = item_error(&error);
        assert_eq!((item.code, item.message), (14, error.to_string()));
        let millis = |wire: Option<prost_types::Duration>| wire.map(|wire| wire.nanos / 1_000_000);
        assert_eq!((millis(item.retry_delay), millis(item.outcome_unknown_for)), (Some(500), Some(80)));
        let item = item_error(&CacheError::DeadlineExceeded { outcome_unknown_for: unknown });
        assert_eq!((item.code, millis(item.retry_delay), millis(item.outcome_unknown_for)), (4, None, Some(80)));
    }

    #[test]
    fn a_partial_failure_has_the_code_of_its_cause_and_names_namespaces() {
        let cause = CacheError::Unavailable {
            reason: "lost",
            retry_after: Duration::from_millis(500),
            outcome_unknown_for: Some(Duration::from_millis(80)),
        };
        let failed: Vec<String> = (0..65_536).map(|n| format!("{n:064}")).collect();
        for (failed, named) in [(vec!["a".to_owned(), "b".to_owned()], "a,b"), (failed, "000")] {
            let error = CacheError::InSome { failed, of: 65_536, cause: Box::new(cause.clone()) };
            let status = status(&error);
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains("the shared tier is unavailable: lost; failed in "), "{status}");
            let details = status.get_error_details();
            assert_eq!(details.retry_info().expect("RetryInfo").retry_delay, Some(Duration::from_millis(500)));
            let info = details.error_info().expect("ErrorInfo");
            assert_eq!((info.reason.as_str(), &*info.metadata["outcome_unknown_for_ms"]), ("L2_UNAVAILABLE", "80"));
            assert!(info.metadata["failed_namespaces"].starts_with(named), "{info:?}");
            assert!(status.details().len() < 2900 / 4 * 3, "{} bytes", status.details().len());
        }
    }

    #[test]
    fn an_unknown_outcome_has_its_duration() {
        let error = CacheError::Unavailable {
            reason: "lost",
            retry_after: Duration::from_millis(500),
            outcome_unknown_for: Some(Duration::from_millis(80)),
        };
        let details = status(&error).get_error_details();
        assert_eq!(details.retry_info().expect("RetryInfo").retry_delay, Some(Duration::from_millis(500)));
        assert_eq!(details.error_info().expect("ErrorInfo").metadata["outcome_unknown_for_ms"], "80");
    }
}
