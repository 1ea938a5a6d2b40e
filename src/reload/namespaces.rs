//! Policies and quotas of namespaces: their part of a reload.

use std::sync::Arc;

use super::part::{Commit, Part};
use crate::cache::namespace::{NamespaceRules, Namespaces};
use crate::config::{Origin, Problem, Problems};

/// Returns the part of a reload that replaces the configured policies and quotas.
///
/// Limits of the replica stay those of `start`: they need a restart.
pub fn part(namespaces: Arc<Namespaces>, start: NamespaceRules) -> Part {
    Box::new(move |config| {
        let NamespaceRules { default_policy, configured, strict, .. } = config.namespaces.clone();
        let rules = NamespaceRules { default_policy, configured, strict, ..start.clone() };
        check(&rules)?;
        let namespaces = namespaces.clone();
        let commit: Commit = Box::new(move || namespaces.apply(&rules));
        Ok(commit)
    })
}

/// Checks the reservations against the memory of the replica, which may differ from the one that the
/// configuration names now.
fn check(rules: &NamespaceRules) -> Result<(), Problems> {
    let reserved = rules.configured.values().fold(0u64, |sum, policy| sum.saturating_add(policy.reserved_bytes));
    if reserved <= rules.l1_size {
        return Ok(());
    }
    let rule = format!(
        "must reserve at most the {} bytes of l1.size in force, summed over all namespaces; another l1.size needs a restart",
        rules.l1_size
    );
    let value = Some(reserved.to_string());
    Err(Problems(vec![Problem { path: "namespaces".to_owned(), rule, value, origin: Origin::Default }]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn config(given: &[(&str, &str)]) -> Config {
        let overrides = given.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        Config::load(&Sources { overrides, ..Sources::default() }).expect("valid").config
    }

    #[test]
    fn limits_of_the_replica_stay_those_of_the_start() {
        let start = config(&[("l1.size", "16MiB"), ("limits.namespaces", "2")]).namespaces;
        let namespaces = Arc::new(Namespaces::new(start.clone(), 4));
        let part = part(namespaces.clone(), start);
        let now = [("l1.size", "64MiB"), ("limits.namespaces", "9"), ("namespaces.a.max_leases", "5")];
        part(&config(&now)).expect("prepared")();
        assert_eq!(namespaces.find("a").expect("configured").policy().max_leases, 5);
        assert!(namespaces.get("namespace", "b").is_ok() && namespaces.get("namespace", "c").is_err());
        let too_much = [("l1.size", "64MiB"), ("namespaces.a.reserved_bytes", "32MiB")];
        let problems = part(&config(&too_much)).err().expect("refused").to_string();
        assert!(problems.contains("needs a restart") && problems.contains("16777216"), "{problems}");
    }
}
