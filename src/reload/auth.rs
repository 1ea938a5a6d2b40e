//! Identities and grants: their part of a reload.

use std::sync::Arc;

use super::part::{Commit, Part};
use crate::auth::Authority;
use crate::config::build_auth;

/// Returns the part of a reload that replaces identities, grants and their limits.
pub(super) fn part(authority: Arc<Authority>) -> Part {
    Box::new(move |config| {
        let (auth, authority) = (build_auth(config)?, authority.clone());
        let commit: Commit = Box::new(move || authority.replace(auth));
        Ok(commit)
    })
}
