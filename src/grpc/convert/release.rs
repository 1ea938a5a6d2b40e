//! ReleaseLease: checks the request and renders the response.

use std::time::Duration;

use super::get::hit;
use super::validator::{RequestContext, Validator, duration, lease};
use crate::cache::clock::Moment;
use crate::cache::error::{CacheError, Violation};
use crate::cache::key::KeyRef;
use crate::cache::tier::LeaseRelease;
use crate::cache::tiered::{Release, Released};
use crate::pb;
use crate::units::format_duration;

/// Maximum time for which a released lease is not granted again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Checks a ReleaseLease.
pub fn release(
    context: &RequestContext,
    request: &pb::ReleaseLeaseRequest,
    deadline: Moment,
) -> Result<Release, CacheError> {
    let mut validator = Validator::default();
    let namespace = validator.namespace(context.namespaces.get("namespace", &request.namespace))?;
    validator.take(context.limits.key("key", request.key.as_bytes()));
    let lease = validator.take(lease("lease", &request.lease));
    let pause = request.retry_after.as_ref().and_then(|pause| validator.take(duration("retry_after", pause)));
    if request.retry_after.is_some() && !request.failed {
        validator.take::<()>(Err(Violation::new("retry_after", "must be absent without failed")));
    }
    if let Some(pause) = pause.filter(|pause| *pause > MAX_RETRY_AFTER) {
        let [most, pause] = [MAX_RETRY_AFTER, pause].map(format_duration);
        let limit = format!("must be at most {most}; was {pause}");
        validator.take::<()>(Err(Violation::new("retry_after", limit)));
    }
    let release = namespace.zip(lease).map(|(namespace, lease)| Release {
        key: KeyRef::new(&namespace, request.key.as_bytes()).to_key(),
        release: LeaseRelease { lease, failed: request.failed, pause: pause.unwrap_or_default() },
        deadline,
    });
    validator.done(release)
}

/// Returns the response to a ReleaseLease.
pub fn release_response(answer: Released) -> pb::ReleaseLeaseResponse {
    pb::ReleaseLeaseResponse { released: answer.released, stale: answer.kept.and_then(hit) }
}
