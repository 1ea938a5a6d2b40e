//! A part of the service that a reload changes.

use crate::config::{Config, Problems};

/// Puts a prepared state into effect. Cannot fail.
pub type Commit = Box<dyn FnOnce() + Send>;

/// A part of the service that a reload changes: prepares its state from a configuration, without
/// effect.
pub type Part = Box<dyn Fn(&Config) -> Result<Commit, Problems> + Send + Sync>;
