//! Identities and grants of a configuration, with their files read.

use super::config::Config;
use super::problem::{Problem, Problems};
use super::setting::Origin;
use crate::auth::{Auth, Authority};

/// Builds the identities and grants of a configuration. Reads the files that it names.
pub fn build_auth(config: &Config) -> Result<Auth, Problems> {
    Auth::build(&config.auth).map_err(|problems| {
        let problem = |found: crate::auth::AuthProblem| Problem {
            path: found.path,
            rule: found.rule,
            value: None,
            origin: Origin::Default,
        };
        Problems(problems.into_iter().map(problem).collect())
    })
}

/// Puts the identities and grants of another configuration in force, as a reload does. A bad one
/// changes nothing.
pub fn apply_auth(authority: &Authority, config: &Config) -> Result<(), Problems> {
    authority.replace(build_auth(config)?);
    authority.audit().reload("applied", "identities and grants");
    Ok(())
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
