//! Names of environment variables: of settings, customary ones, and those of Kubernetes.

/// Variable that names the configuration file. A flag overrides it.
pub const CONFIG: &str = "TWINTIER_CONFIG";

/// Variable that names the revision of a build. It is still set when `cargo run` starts the
/// program.
const REVISION: &str = "TWINTIER_REVISION";

const PREFIX: &str = "TWINTIER_";

/// Customary variables of settings. The service's own variable overrides them, then the first wins.
const CUSTOMARY: [(&str, &str); 4] = [
    ("redis.url", "REDIS_URL"),
    ("redis.password", "REDIS_PASSWORD"),
    ("log.level", "RUST_LOG"),
    ("log.level", "LOG_LEVEL"),
];

/// Returns the service's own variable of a setting: `l1.size` is `TWINTIER_L1_SIZE`.
pub fn variable(path: &str) -> String {
    let mut name = String::from(PREFIX);
    name.extend(path.chars().map(|c| if matches!(c, '.' | '-') { '_' } else { c.to_ascii_uppercase() }));
    name
}

/// Returns every variable of a setting, the winning one first.
pub fn variables(path: &str) -> Vec<String> {
    let customary = CUSTOMARY.iter().filter(|(setting, _)| *setting == path).map(|(_, name)| (*name).to_owned());
    std::iter::once(variable(path)).chain(customary).collect()
}

/// True if a variable belongs to this service: it has the prefix, is not of the build, and is no
/// link that Kubernetes sets for a Service whose name begins with `twintier`.
pub fn is_own(name: &str, value: &str) -> bool {
    name.starts_with(PREFIX) && name != CONFIG && name != REVISION && !is_service_link(name, value)
}

/// `TWINTIER(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)`. A link that ends in `_PORT` holds a URL: a bare number there is a
/// guess at a setting, and not a link.
fn is_service_link(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix("TWINTIER") else { return false };
    if rest.ends_with("_PORT") && !rest.ends_with("_SERVICE_PORT") && !rest.contains("_PORT_") {
        return value.contains("://");
    }
    let port = |(at, word): (usize, &str)| matches!(rest.as_bytes().get(at + word.len()), None | Some(b'_'));
    rest.ends_with("_SERVICE_HOST") || rest.match_indices("_PORT").any(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_variable() {
        assert_eq!(variable("coherence.max_staleness"), "TWINTIER_COHERENCE_MAX_STALENESS");
        assert_eq!(variables("log.level"), ["TWINTIER_LOG_LEVEL", "RUST_LOG", "LOG_LEVEL"]);
    }

    #[test]
    fn links_of_kubernetes_services_are_not_ours() {
        for (name, value) in [
            ("TWINTIER_SERVICE_HOST", "10.0.0.1"),
            ("TWINTIER_SERVICE_PORT", "50051"),
            ("TWINTIER_SERVICE_PORT_GRPC", "50051"),
            ("TWINTIER_PORT", "tcp://10.0.0.1:50051"),
            ("TWINTIER_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("TWINTIER_PORT_50051_TCP_PORT", "50051"),
            ("TWINTIER_REDIS_SERVICE_HOST", "10.0.0.1"),
            ("TWINTIER_REDIS_HEADLESS_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
            ("TWINTIER_CONFIG", "/etc/twintier.toml"),
            ("TWINTIER_REVISION", "d470f1b"),
        ] {
            assert!(!is_own(name, value), "{name}");
        }
        for (name, value) in [("TWINTIER_SERVER_PORT", "50051"), ("TWINTIER_PORTS", "1"), ("TWINTIER_L1_SIZE", "1MiB")]
        {
            assert!(is_own(name, value), "{name}");
        }
    }
}
