//! Keys of MACs and encryption of data in Redis: their part of a reload.

use std::sync::Arc;

use super::part::{Commit, Part};
use crate::backend::redis::{Protection, warn_of_exposed_keys};

/// Returns the part of a reload that replaces the keys. Their files were read with the
/// configuration.
pub fn part(protection: Arc<Protection>) -> Part {
    Box::new(move |config| {
        // To run without Redis needs a restart, which is logged.
        let Some(redis) = &config.redis else { return Ok(Box::new(|| ())) };
        let (protection, config) = (protection.clone(), redis.protection.clone());
        let commit: Commit = Box::new(move || {
            warn_of_exposed_keys(&config);
            protection.replace_keys(&config);
        });
        Ok(commit)
    })
}
