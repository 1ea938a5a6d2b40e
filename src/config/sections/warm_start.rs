//! Settings of the warm start: keys that are loaded before a replica reports ready.

use std::time::Duration;

use crate::cache::fleet::warm_start::WarmStartConfig;
use crate::cache::namespace::NamespaceRules;
use crate::cache::policy::{Limits, limits};
use crate::cache::quoted::quoted;
use crate::config::reader::Reader;

const KEYS: &str = "warm_start.load_keys";
const PREFIXES: &str = "warm_start.load_prefixes";
/// Most keys and prefixes in the lists, and most bytes of each list.
const MOST_KEYS: usize = 10_000;
const MOST_PREFIXES: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// Least number of keys tracked for the hot-key list.
const MIN_TRACKED_HOT_KEYS: usize = 2048;

/// Settings of the warm start.
pub(crate) struct WarmStartSettings {
    /// Configuration; `None` if replicas do not start warm.
    pub config: Option<WarmStartConfig>,
    /// Number of keys tracked for the hot-key list.
    pub tracked_keys: usize,
}

/// Reads the section.
pub(crate) fn read(reader: &mut Reader, limits: &Limits, namespaces: &NamespaceRules) -> WarmStartSettings {
    let named = Named { limits, namespaces };
    let enabled = reader.boolean(
        "warm_start.enabled",
        true,
        "load the keys that the fleet reads most before reporting ready, and publish the keys read most here",
    );
    let load_keys = named.read(
        reader,
        (KEYS, MOST_KEYS, "keys"),
        "a list of namespace/key",
        "keys that are always loaded, such as sessions/user:7, before those that the fleet reads most",
    );
    let config = WarmStartConfig {
        keys: reader.count(
            "warm_start.keys",
            1000,
            1..=10_000,
            "most keys that are listed and loaded, and most that are loaded by prefix",
        ),
        load_keys: load_keys.into_iter().map(|(namespace, key)| (namespace, key.into())).collect(),
        load_prefixes: named.read(
            reader,
            (PREFIXES, MOST_PREFIXES, "prefixes"),
            "a list of namespace/prefix",
            "prefixes whose keys are loaded, such as goals/user:7, or goals/ for all of a namespace: Redis is searched for them, as far as timeout and keys allow",
        ),
        timeout: reader.duration(
            "warm_start.timeout",
            Duration::from_secs(5),
            Duration::from_millis(10)..=Duration::from_secs(60),
            "longest delay of readiness by loading them",
        ),
        keys_per_second: reader.count(
            "warm_start.keys_per_second",
            5000,
            1..=1_000_000,
            "most keys that are loaded in a second",
        ),
    };
    let tracked_keys = MIN_TRACKED_HOT_KEYS.max(2 * config.keys);
    WarmStartSettings { config: enabled.then_some(config), tracked_keys }
}

/// Rules for the names in a list.
struct Named<'a> {
    limits: &'a Limits,
    namespaces: &'a NamespaceRules,
}

impl Named<'_> {
    /// Reads a list of at most `most` names. An invalid name is reported with its index.
    fn read(
        &self,
        reader: &mut Reader,
        (path, most, unit): (&'static str, usize, &'static str),
        expects: &'static str,
        doc: &'static str,
    ) -> Vec<(String, String)> {
        let texts = reader.texts(path, expects, doc);
        let bytes: usize = texts.iter().map(String::len).sum();
        if texts.len() > most {
            reader.problem_of(path, path.to_owned(), format!("must be at most {most} {unit}; was {}", texts.len()));
        } else if bytes > MOST_BYTES {
            let rule = format!("must be at most {MOST_BYTES} bytes in all; was {bytes} bytes");
            reader.problem_of(path, path.to_owned(), rule);
        }
        let mut names = Vec::new();
        for (index, text) in texts.iter().take(most).enumerate() {
            let item = format!("{path}[{index}]");
            match self.split(&item, path == PREFIXES, text) {
                Ok(name) => names.push(name),
                Err(rule) => reader.problem_of(path, item, rule),
            }
        }
        names
    }

    /// Splits a name at the first slash: namespaces have none.
    fn split(&self, item: &str, is_prefix: bool, text: &str) -> Result<(String, String), String> {
        let Some((namespace, rest)) = text.split_once('/') else {
            let form = if is_prefix { "prefix" } else { "key" };
            return Err(format!("must be namespace/{form}, such as default/user:7; was {}", quoted(text)));
        };
        limits::namespace(item, namespace).map_err(|broken| format!("its namespace {}", broken.description))?;
        if self.namespaces.strict && !self.namespaces.configured.contains_key(namespace) {
            return Err(format!(
                "must name a namespace that is configured (cache.strict_namespaces); was {}",
                quoted(namespace)
            ));
        }
        let rest = if !is_prefix {
            self.limits.key(item, rest.as_bytes()).map_err(|broken| format!("its key {}", broken.description))?;
            rest
        } else if rest.is_empty() {
            rest
        } else {
            let normal = self.limits.prefix(item, rest.as_bytes());
            let normal = normal.map_err(|broken| format!("its prefix {}", broken.description))?;
            // A separator at the end, of one byte, may be absent.
            &rest[..normal.len()]
        };
        Ok((namespace.to_owned(), rest.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::config::Config;
    use crate::config::problem::Problem;
    use crate::config::sources::Sources;

    fn flags(overrides: &[(&str, &str)]) -> Sources {
        let overrides = overrides.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        Sources { overrides, ..Sources::default() }
    }

    fn problems(overrides: &[(&str, &str)]) -> Vec<String> {
        let problems = Config::load(&flags(overrides)).map(|_| ()).expect_err("refused");
        problems.0.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn lists_of_keys_and_prefixes_come_from_a_file_a_variable_or_a_flag() {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        let yaml =
            "warm_start:\n  load_keys: [sessions/user:7, sessions/a/b]\n  load_prefixes: ['goals/user:7:', goals/]\n";
        std::fs::write(file.path(), yaml).expect("written");
        let (keys, prefixes) = (r#"["sessions/user:7", "sessions/a/b"]"#, r#"["goals/user:7:", "goals/"]"#);
        let variables = [("TWINTIER_WARM_START_LOAD_KEYS", keys), ("TWINTIER_WARM_START_LOAD_PREFIXES", prefixes)];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        for sources in [
            Sources { file: Some(file.path().into()), ..Sources::default() },
            Sources { environment: variables.into_iter().collect(), ..Sources::default() },
            flags(&[("warm_start.load_keys", keys), ("warm_start.load_prefixes", prefixes)]),
        ] {
            let loaded = Config::load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
            let named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
                pairs.iter().map(|(namespace, rest)| ((*namespace).to_owned(), (*rest).to_owned())).collect()
            };
            let warm_start = loaded.config.warm_start.expect("on by default");
            let keys = warm_start.load_keys.iter().map(|(namespace, key)| (namespace.as_str(), &key[..]));
            assert!(keys.eq([("sessions", &b"user:7"[..]), ("sessions", b"a/b")]));
            assert_eq!(warm_start.load_prefixes, named(&[("goals", "user:7"), ("goals", "")]));
        }
    }

    #[test]
    fn every_name_that_is_wrong_is_named_with_its_limit() {
        let long = format!(r#"["n/{}", "plain", "No!/k", "n/"]"#, "k".repeat(1025));
        let found = problems(&[("warm_start.load_keys", &long)]);
        for (index, rule) in [
            "its key must be at most 1024 bytes; was 1025 bytes",
            "must be namespace/key, such as default/user:7; was \"plain\"",
            "its namespace must be of [a-z0-9._-], beginning and ending with a letter or digit; was \"No!\"",
            "its key must not be empty",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(found[index].contains(&format!("warm_start.load_keys[{index}]")), "{found:?}");
            assert!(found[index].contains(rule), "{found:?}");
        }
        let found = problems(&[("warm_start.load_prefixes", r#"["n", "n/:"]"#)]);
        assert!(found[0].contains("warm_start.load_prefixes[0]: must be namespace/prefix"), "{found:?}");
        assert!(found[1].contains("its prefix must have 1 to 16 segments"), "{found:?}");
        let strict = [("cache.strict_namespaces", "true"), ("warm_start.load_keys", r#"["unknown/k"]"#)];
        assert!(problems(&strict)[0].contains("must name a namespace that is configured"), "{:?}", problems(&strict));
        assert!(problems(&[("warm_start.load_keys", "n/k")])[0].contains("must be a list of texts; as text, in JSON"));
        assert!(problems(&[("warm_start.load_keys", "[7]")])[0].contains("must be a list of texts"));
    }

    #[test]
    fn a_list_is_bounded_in_number_and_bytes() {
        let list =
            |count: usize, size: usize| serde_json::json!(vec![format!("n/{}", "k".repeat(size)); count]).to_string();
        let found = problems(&[("warm_start.load_keys", &list(10_001, 1))]);
        assert!(found.len() == 1 && found[0].contains("must be at most 10000 keys; was 10001"), "{found:?}");
        let found = problems(&[("warm_start.load_keys", &list(2000, 1000))]);
        assert!(found[0].contains("must be at most 1048576 bytes in all; was 2004000 bytes"), "{found:?}");
        let found = problems(&[("warm_start.load_prefixes", &list(65, 1))]);
        assert!(found[0].contains("must be at most 64 prefixes; was 65"), "{found:?}");
    }
}
