//! Parser of Redis URLs. No error repeats a part that may be a password.

use std::path::PathBuf;

use url::Url;

use crate::backend::redis::{Address, Credentials, Password, RedisUrl, Servers};

/// Error of a text that is no Redis URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// The scheme is absent, or not one of Redis.
    #[error(
        "must begin with redis://, rediss:// or unix:// (or with redis-sentinel://, redis-cluster:// and their rediss- forms)"
    )]
    Scheme,
    /// A character has to be percent-encoded.
    #[error("must percent-encode {0}")]
    Unencoded(&'static str),
    /// A part is missing.
    #[error("must name {0}")]
    Missing(&'static str),
    /// There are more servers than the scheme takes.
    #[error("must name one server only: {0}:// takes no list")]
    OneServer(&'static str),
    /// A server is no host with an optional port.
    #[error("must name each server as host or host:port, with a port from 1 to 65535")]
    Server,
    /// The database is no valid number.
    #[error("must give the database as a number from 0 to 255")]
    Database,
    /// A unix URL has a host.
    #[error("must have no host before the path of the socket: write unix:///path/to/socket")]
    UnixHost,
    /// A query parameter is unknown for the scheme.
    #[error("has an unknown query parameter {0}; {1}")]
    Parameter(String, &'static str),
    /// A query parameter is repeated.
    #[error("has the query parameter {0} more than once")]
    Repeated(&'static str),
}

use RedisUrlError as Error;

#[derive(Clone, Copy, PartialEq)]
enum Scheme {
    Standalone,
    Unix,
    Sentinel,
    Cluster,
}

/// Parses a Redis URL.
pub fn parse(text: &str) -> Result<RedisUrl, Error> {
    let text = text.trim();
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::Unencoded("spaces and control characters"));
    }
    let (name, rest) = text.split_once("://").ok_or(Error::Scheme)?;
    let (scheme, tls) = scheme(name)?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if tail.contains(['@', '#']) {
        return Err(Error::Unencoded("'/', '?', '#' and '@' in user, password and path"));
    }
    let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let url = Url::parse(&format!("redis://{userinfo}@host{tail}")).map_err(|_| Error::Server)?;
    let parameters = Parameters::read(&url, scheme)?;
    Ok(RedisUrl {
        servers: servers(scheme, hosts, &url, &parameters)?,
        tls,
        credentials: credentials(&url)?,
        database: database(scheme, &url, &parameters)?,
    })
}

fn scheme(name: &str) -> Result<(Scheme, bool), Error> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "redis" => (Scheme::Standalone, false),
        "rediss" => (Scheme::Standalone, true),
        "unix" | "redis+unix" => (Scheme::Unix, false),
        "redis-sentinel" => (Scheme::Sentinel, false),
        "rediss-sentinel" => (Scheme::Sentinel, true),
        "redis-cluster" => (Scheme::Cluster, false),
        "rediss-cluster" => (Scheme::Cluster, true),
        _ => return Err(Error::Scheme),
    })
}

fn credentials(url: &Url) -> Result<Credentials, Error> {
    let filled = |word: String| Some(word).filter(|word| !word.is_empty());
    let password = url.password().map(decode).transpose()?.and_then(filled);
    Ok(Credentials {
        username: filled(decode(url.username())?),
        password: password.map(|password| Password::Text(password.into())),
    })
}

fn servers(scheme: Scheme, hosts: &str, url: &Url, parameters: &Parameters) -> Result<Servers, Error> {
    Ok(match scheme {
        Scheme::Standalone if hosts.contains(',') => return Err(Error::OneServer("redis")),
        Scheme::Standalone => Servers::Standalone(tcp(hosts, 6379)?),
        Scheme::Unix if !hosts.is_empty() => return Err(Error::UnixHost),
        Scheme::Unix if matches!(url.path(), "" | "/") => return Err(Error::Missing("the path of the socket")),
        Scheme::Unix => Servers::Standalone(Address::Unix { path: PathBuf::from(decode(url.path())?) }),
        Scheme::Sentinel => Servers::Sentinel {
            sentinels: hosts.split(',').map(|host| tcp(host, 26379)).collect::<Result<_, _>>()?,
            service: parameters.service.clone().ok_or(Error::Missing("the service, as ?service=name"))?,
        },
        Scheme::Cluster => {
            Servers::Cluster { seeds: hosts.split(',').map(|host| tcp(host, 6379)).collect::<Result<_, _>>()? }
        }
    })
}

fn tcp(server: &str, default_port: u16) -> Result<Address, Error> {
    if server.is_empty() || server.starts_with(':') {
        return Err(Error::Missing("a host"));
    }
    let url = Url::parse(&format!("redis://{server}")).map_err(|_| Error::Server)?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port().unwrap_or(default_port);
    if host.is_empty() || host.contains('%') || port == 0 {
        Err(Error::Server)
    } else {
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

fn database(scheme: Scheme, url: &Url, parameters: &Parameters) -> Result<u8, Error> {
    let text = match scheme {
        Scheme::Unix => parameters.db.as_deref().unwrap_or("0"),
        _ => Some(url.path().trim_start_matches('/')).filter(|path| !path.is_empty()).unwrap_or("0"),
    };
    if text.bytes().all(|c| c.is_ascii_digit()) {
        text.parse().map_err(|_| Error::Database)
    } else {
        Err(Error::Database)
    }
}

/// Query parameters of a URL.
#[derive(Default)]
struct Parameters {
    db: Option<String>,
    service: Option<String>,
}

impl Parameters {
    fn read(url: &Url, scheme: Scheme) -> Result<Self, Error> {
        let mut parameters = Parameters::default();
        for (name, value) in url.query_pairs() {
            let (slot, known) = match (&*name, scheme) {
                ("db", Scheme::Unix) => (&mut parameters.db, "db"),
                ("service" | "sentinelServiceName", Scheme::Sentinel) => (&mut parameters.service, "service"),
                _ => return Err(Error::Parameter(name.escape_debug().to_string(), takes(scheme))),
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Error::Repeated(known));
            }
        }
        parameters.service = parameters.service.filter(|name| !name.is_empty());
        Ok(parameters)
    }
}

fn takes(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Standalone | Scheme::Cluster => "this scheme takes none (the database is the path: /1)",
        Scheme::Unix => "unix:// takes db",
        Scheme::Sentinel => "this scheme takes service",
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<String, Error> {
    const STRAY: Error = Error::Unencoded("'%' that is no percent-encoding as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(STRAY)?;
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(STRAY);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Error::Unencoded("user, password and path as UTF-8"))
}

#[cfg(test)]
#[path = "redis_url_tests.rs"]
mod tests;
