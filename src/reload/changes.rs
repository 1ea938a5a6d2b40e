//! Settings that changed, by whether they take effect without a restart.

use std::collections::BTreeMap;

use crate::config::Setting;

/// Sections and settings that a reload applies.
const RELOADABLE: [&str; 8] =
    ["audit", "auth", "cache", "identities", "namespaces", "redis.encryption_key_files", "redis.mac_key_files", "tls"];
/// Settings whose value a reload replaces by another one, and never by none or for the first time.
const KEY_FILES: [&str; 2] = ["redis.encryption_key_files", "redis.mac_key_files"];
/// Settings in such a section that need a restart.
const FIXED: [&str; 4] = ["cache.enabled", "cache.l1", "cache.l2", "tls.admin"];

/// Returns the paths of settings that differ from those of the start and need a restart.
///
/// `has_tls` is true if the service speaks TLS: it neither begins to do so nor stops by a reload.
pub(super) fn need_restart(start: &[Setting], now: &[Setting], has_tls: bool) -> Vec<String> {
    let now: BTreeMap<_, _> = now.iter().map(|setting| (setting.path.as_str(), setting)).collect();
    let before: BTreeMap<_, _> = start.iter().map(|setting| (setting.path.as_str(), setting)).collect();
    let is_turned_off = has_tls && now.get("tls.cert_file").is_none_or(|setting| setting.value.is_none());
    let is_given = |setting: Option<&&Setting>| setting.is_some_and(|setting| setting.value.is_some());
    let is_replaced = |path: &str| is_given(before.get(path)) && is_given(now.get(path));
    let is_applied = |path: &str| match path {
        path if path.starts_with("tls.") => has_tls && !is_turned_off && is_reloadable(path),
        path => is_reloadable(path) && (!KEY_FILES.contains(&path) || is_replaced(path)),
    };
    let paths = before.keys().chain(now.keys().filter(|path| !before.contains_key(*path)));
    let differs = |path: &&&str| {
        let value = |settings: &BTreeMap<&str, &Setting>| settings.get(**path).map(|setting| setting.value.clone());
        value(&before) != value(&now)
    };
    let mut changed: Vec<String> =
        paths.filter(differs).filter(|path| !is_applied(path)).map(|path| (*path).to_owned()).collect();
    changed.sort();
    changed
}

fn is_reloadable(path: &str) -> bool {
    let inside =
        |section: &str| path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    RELOADABLE.iter().any(|section| inside(section)) && !FIXED.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    const TLS: [(&str, &str); 2] = [("tls.cert_file", "/a"), ("tls.key_file", "/b")];

    fn settings(given: &[(&str, &str)]) -> Vec<Setting> {
        let overrides = given.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        Config::load(&Sources { overrides, ..Sources::default() }).expect("valid").settings
    }

    #[test]
    fn only_what_needs_a_restart_is_named() {
        let start = settings(&TLS);
        let now =
            settings(&[TLS[0], ("tls.key_file", "/c"), ("tls.min_version", "1.3"), ("auth.reload_interval", "1s")]);
        assert!(need_restart(&start, &now, true).is_empty());
        let now = settings(&[TLS[0], TLS[1], ("tls.admin", "false"), ("l1.size", "1GiB")]);
        assert_eq!(need_restart(&start, &now, true), ["l1.size", "tls.admin"]);
    }

    #[test]
    fn tls_begins_and_ends_with_a_restart() {
        let (with, without) = (settings(&TLS), settings(&[]));
        assert_eq!(need_restart(&without, &with, false), ["tls.cert_file", "tls.key_file"]);
        assert_eq!(need_restart(&with, &without, true), ["tls.cert_file", "tls.key_file"]);
    }

    #[test]
    fn an_event_that_comes_or_goes_is_named() {
        let event = ("events.a", r#"[{"namespace": "n", "keys": ["k"]}]"#);
        let (with, without) = (settings(&[event]), settings(&[]));
        assert_eq!(need_restart(&without, &with, false), ["events.a"]);
        assert_eq!(need_restart(&with, &without, false), ["events.a"]);
    }

    #[test]
    fn keys_are_replaced_and_neither_begin_nor_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = |number: u8| {
            let file = folder.path().join(number.to_string());
            std::fs::write(&file, [number; 32]).expect("written");
            format!("[{:?}]", file.display().to_string())
        };
        let with = |list: &str| settings(&[("redis.url", "redis://a"), ("redis.mac_key_files", list)]);
        let (none, one, other) = (with("[]"), with(&list(1)), with(&list(2)));
        assert!(need_restart(&one, &other, false).is_empty());
        assert_eq!(need_restart(&none, &one, false), ["redis.mac_key_files"]);
        assert_eq!(need_restart(&one, &none, false), ["redis.mac_key_files"]);
    }

    #[test]
    fn policies_take_effect_and_switches_need_a_restart() {
        let now = settings(&[("namespaces.a.max_leases", "5"), ("cache.default_ttl", "2m"), ("cache.l1", "false")]);
        assert_eq!(need_restart(&settings(&[]), &now, false), ["cache.l1"]);
    }
}
