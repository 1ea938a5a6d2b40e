//! Policies and quotas of namespaces: their part of a reload.

use std::sync::Arc;

use super::part::{Commit, Part};
use crate::cache::namespace::Namespaces;

/// Returns the part of a reload that replaces the configured policies and quotas.
pub fn part(namespaces: Arc<Namespaces>) -> Part {
    Box::new(move |config| {
        let (rules, namespaces) = (config.namespaces.clone(), namespaces.clone());
        let commit: Commit = Box::new(move || namespaces.apply(&rules));
        Ok(commit)
    })
}
