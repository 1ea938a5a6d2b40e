//! The names by which this server may be called: keeps pages of other sites out.
//!
//! A page can make its own name resolve to the address of this server (DNS rebinding), and then
//! read it as its own. So a request has to name an IP address, localhost or an allowed host.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderName, HeaderValue, StatusCode, Version};

/// Site that a browser says a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Purpose that a browser says a request has.
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Reason to refuse a request.
pub type Refusal = (StatusCode, &'static str);

const MALFORMED: Refusal = (StatusCode::BAD_REQUEST, "the request must have one valid Host header\n");
const FOREIGN_HOST: Refusal =
    (StatusCode::MISDIRECTED_REQUEST, "use localhost, an IP address, or a name of admin.allowed_hosts as the host\n");
const FOREIGN_ORIGIN: Refusal = (StatusCode::FORBIDDEN, "pages of other sites may not call this server\n");

/// Host names that are allowed beside IP addresses and localhost. `*.` at the beginning stands for
/// any name below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

/// A host and an optional port, as a Host header has them.
#[derive(Debug, PartialEq, Eq)]
struct HostAndPort<'a> {
    host: &'a str,
    is_address: bool,
}

// === impl AllowedHosts ===

impl AllowedHosts {
    /// Creates a list of names. Fails with the first that is no host name.
    pub fn new(names: Vec<String>) -> Result<AllowedHosts, String> {
        let is_valid = |name: &String| is_name(name.strip_prefix("*.").unwrap_or(name));
        match names.iter().find(|name| !is_valid(name)) {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(AllowedHosts(names)),
        }
    }

    /// Checks the host of a request, and the page that it comes from.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(text(host).ok_or(MALFORMED)?),
            // HTTP/1.0 needs none. No browser speaks it.
            (None, _) if request.version() == Version::HTTP_10 => None,
            _ => return Err(MALFORMED),
        };
        let of_target = request.uri().authority().map(|authority| authority.as_str());
        for named in host.into_iter().chain(of_target) {
            let authority = HostAndPort::parse(named).ok_or(MALFORMED)?;
            if !authority.is_address && !self.allows(authority.host) {
                return Err(FOREIGN_HOST);
            }
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let is_own = |origin: &HeaderValue| text(origin).is_some_and(|origin| self.is_own_origin(origin, host));
        if !origins.all(is_own) || is_cross_site(request) {
            return Err(FOREIGN_ORIGIN);
        }
        Ok(())
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_named = |allowed: &String| match allowed.strip_prefix('*') {
            Some(suffix) => host.len().checked_sub(suffix.len()).is_some_and(|start| {
                start > 0 && host.is_char_boundary(start) && host[start..].eq_ignore_ascii_case(suffix)
            }),
            None => host.eq_ignore_ascii_case(allowed),
        };
        host.eq_ignore_ascii_case("localhost") || self.0.iter().any(is_named)
    }

    /// Returns true if a page of `origin` was loaded from this server: from its host, or by a name
    /// that a proxy in front of it has.
    fn is_own_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(named) = named else { return false };
        let is_allowed = |authority: HostAndPort<'_>| !authority.is_address && self.allows(authority.host);
        host.is_some_and(|host| host.eq_ignore_ascii_case(named))
            || (!self.0.is_empty() && HostAndPort::parse(named).is_some_and(is_allowed))
    }
}

/// Returns true if a browser says that a page of another site loads something of this server.
/// Following a link is allowed.
fn is_cross_site(request: &Request) -> bool {
    let is = |name, value: &str| request.headers().get(name).is_some_and(|found: &HeaderValue| found == value);
    is(FETCH_SITE, "cross-site") && !is(FETCH_MODE, "navigate")
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

// === impl HostAndPort ===

impl HostAndPort<'_> {
    /// Parses `host`, `host:port`, `[address]` or `[address]:port`, and nothing else.
    fn parse(text: &str) -> Option<HostAndPort<'_>> {
        let (host, rest, is_address) = match text.strip_prefix('[') {
            Some(inner) => {
                let (address, rest) = inner.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (address, rest, true)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                let is_address = host.parse::<Ipv4Addr>().is_ok();
                if !is_address && !is_name(host) {
                    return None;
                }
                (host, rest, is_address)
            }
        };
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        is_whole.then_some(HostAndPort { host, is_address })
    }
}

/// Returns true for a name of letters, digits, `-` and `_`, in parts between dots.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 254 && text.strip_suffix('.').unwrap_or(text).split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn hosts(names: &[&str]) -> AllowedHosts {
        AllowedHosts::new(names.iter().map(|name| (*name).to_owned()).collect()).expect("names")
    }

    fn status(allowed: &AllowedHosts, headers: &[(HeaderName, &str)]) -> u16 {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let checked = allowed.check(&request.body(Body::empty()).expect("a request"));
        checked.map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn a_host_is_an_address_localhost_or_an_allowed_name() {
        let allowed = hosts(&["cache.example", "*.cache.svc"]);
        for (host, expected) in [
            ("localhost", 200),
            ("LOCALHOST:9090", 200),
            ("localhost.", 200),
            ("127.0.0.1:9090", 200),
            ("10.1.2.3:80", 200),
            ("[::1]", 200),
            ("[fd00::1]:9090", 200),
            ("cache.example:1", 200),
            ("one.cache.svc", 200),
            ("cache.svc", 421),
            ("evilcache.svc", 421),
            ("example.org", 421),
            ("localhost.example.org", 421),
            ("127.0.0.1.example.org:9090", 421),
            ("[::1].evil", 400),
            ("[::1]evil", 400),
            ("[::1", 400),
            ("[localhost]", 400),
            ("::1", 400),
            ("localhost:", 400),
            ("localhost:+1", 400),
            ("localhost:99999", 400),
            ("user@localhost", 400),
            ("localhost/evil", 400),
            ("localhost,evil", 400),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(status(&allowed, &[(HOST, host)]), expected, "{host:?}");
        }
        assert_eq!(status(&allowed, &[(HOST, "localhost"), (HOST, "localhost")]), 400);
        assert_eq!(status(&allowed, &[]), 400);
    }

    #[test]
    fn the_target_of_a_request_is_a_host_too() {
        let request = |target: &str, version| {
            let request = Request::get(target).version(version).header(HOST, "localhost");
            hosts(&[]).check(&request.body(Body::empty()).expect("a request"))
        };
        assert_eq!(request("http://evil.example/", Version::HTTP_11), Err(FOREIGN_HOST));
        assert_eq!(request("http://127.0.0.1:9090/", Version::HTTP_11), Ok(()));
        let old = Request::get("/").version(Version::HTTP_10).body(Body::empty()).expect("a request");
        assert_eq!(hosts(&[]).check(&old), Ok(()), "HTTP/1.0 without a host");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let allowed = hosts(&["cache.example"]);
        let of = |origin| status(&allowed, &[(HOST, "10.0.0.1:9090"), (ORIGIN, origin)]);
        for (origin, expected) in [
            ("http://10.0.0.1:9090", 200),
            ("https://cache.example", 200),
            ("http://10.0.0.1:80", 403),
            ("http://10.0.0.2:9090", 403),
            ("http://evil.example", 403),
            ("null", 403),
            ("file://10.0.0.1:9090", 403),
        ] {
            assert_eq!(of(origin), expected, "{origin}");
        }
        let fetch = |mode| status(&allowed, &[(HOST, "localhost"), (FETCH_SITE, "cross-site"), (FETCH_MODE, mode)]);
        assert_eq!((fetch("navigate"), fetch("no-cors")), (200, 403));
    }

    #[test]
    fn a_list_of_allowed_hosts_has_names_only() {
        for wrong in ["", "*", "a b", "host:80", "http://host", "a.*.b", "[::1]"] {
            assert_eq!(AllowedHosts::new(vec!["host".to_owned(), wrong.to_owned()]), Err(wrong.to_owned()));
        }
    }
}
