//! Invalidation in several parts: in several namespaces, or by an event.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::cache::Tiered;
use super::types::{Invalidate, Invalidated};
use crate::cache::clock::Moment;
use crate::cache::error::CacheError;
use crate::cache::namespace::Namespace;
use crate::cache::tier::L2Error;

/// Most concurrent steps of one invalidation in L2, unless a single part has more.
const MAX_CONCURRENT_STEPS: usize = 512;

// === impl Tiered ===

impl Tiered {
    /// Lists the namespaces of which L2 may hold anything, whichever replica stored it.
    pub async fn namespaces_in_l2(&self, deadline: Moment) -> Result<BTreeSet<String>, CacheError> {
        let shared = &*self.0;
        let until = shared.clock.now().plus(shared.config.write_timeout).min(deadline);
        shared.backing.namespaces(until).await.map_err(|error| match error {
            // This call has no effect that could be unknown.
            L2Error::Unavailable { reason, .. } => shared.error(L2Error::unavailable(reason), deadline),
            error => shared.error(error, deadline),
        })
    }

    /// Invalidates all parts. Those that succeed take effect even if another fails, or the caller
    /// disconnects.
    pub async fn invalidate_all(
        &self,
        parts: Vec<Invalidate>,
    ) -> Result<Vec<(Arc<Namespace>, Invalidated)>, CacheError> {
        let permits = MAX_CONCURRENT_STEPS / usize::from(self.0.coherence.partitions()).max(1);
        let permits = Arc::new(Semaphore::new(permits.max(1)));
        let work = parts.into_iter().map(|part| async {
            let namespace = part.namespace.clone();
            (namespace, self.invalidate_with_permit(part, Some(permits.clone())).await)
        });
        all_or_error(join_all(work).await)
    }
}

/// Returns every answer, or one error for all parts.
fn all_or_error(
    answers: Vec<(Arc<Namespace>, Result<Invalidated, CacheError>)>,
) -> Result<Vec<(Arc<Namespace>, Invalidated)>, CacheError> {
    let of = answers.iter().map(|(namespace, _)| namespace.name()).collect::<BTreeSet<_>>().len();
    let (mut done, mut failed, mut causes) = (Vec::with_capacity(answers.len()), BTreeSet::new(), Vec::new());
    for (namespace, answer) in answers {
        match answer {
            Ok(answer) => done.push((namespace, answer)),
            Err(cause) => {
                failed.insert(namespace.name().to_owned());
                causes.push(cause);
            }
        }
    }
    match causes.into_iter().max_by_key(CacheError::outcome_unknown_for) {
        None => Ok(done),
        Some(cause) if of == 1 => Err(cause),
        Some(cause) => Err(CacheError::InSome { failed: failed.into_iter().collect(), of, cause: Box::new(cause) }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::policy::NamespacePolicy;
    use crate::cache::token::Token;

    fn answer(name: &str, answer: Result<(), CacheError>) -> (Arc<Namespace>, Result<Invalidated, CacheError>) {
        let namespace = Arc::new(Namespace::new(name, 1, NamespacePolicy::default(), 4));
        (namespace, answer.map(|()| Invalidated { removed: None, token: Token::default() }))
    }

    fn late(millis: Option<u64>) -> Result<(), CacheError> {
        Err(CacheError::DeadlineExceeded { outcome_unknown_for: millis.map(Duration::from_millis) })
    }

    #[test]
    fn all_parts_succeed_or_the_failed_namespaces_are_named() {
        let names = |answers| -> Result<Vec<String>, CacheError> {
            Ok(all_or_error(answers)?.into_iter().map(|(namespace, _)| namespace.name().to_owned()).collect())
        };
        let done = names(vec![answer("b", Ok(())), answer("a", Ok(()))]);
        assert_eq!(done, Ok(vec!["b".to_owned(), "a".to_owned()]));
        let failed = names(vec![
            answer("b", late(Some(5))),
            answer("c", Ok(())),
            answer("a", late(Some(9))),
            answer("b", late(None)),
        ]);
        let expected = CacheError::InSome {
            failed: vec!["a".to_owned(), "b".to_owned()],
            of: 3,
            cause: Box::new(late(Some(9)).expect_err("late")),
        };
        assert_eq!(failed, Err(expected), "of the outcomes the one that is unknown for longest");
    }

    #[test]
    fn in_one_namespace_an_error_is_as_without_parts() {
        let failed = all_or_error(vec![answer("a", Ok(())), answer("a", late(None))]).map(|_| ());
        assert_eq!(failed, late(None));
    }
}
