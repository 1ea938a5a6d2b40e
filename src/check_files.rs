//! Check of the files that a configuration names, as a start reads them.

use crate::backend::redis::tls::{TlsError, client_of};
use crate::config::{Config, Origin, Problem, Problems, build_auth};
use crate::reload::tls_problems;
use crate::tls::TlsMaterial;

/// Reads certificates, private keys, revocation lists, key sets and hashes of tokens, and checks
/// that they fit. Returns all problems.
///
/// Key files of `redis.mac_key_files` and `redis.encryption_key_files`, and files of passwords, are
/// read with the configuration itself.
pub fn check_files(config: &Config) -> Result<(), Problems> {
    let server = config.tls.as_ref().map(TlsMaterial::load).transpose().map_err(tls_problems);
    let auth = build_auth(config);
    let redis = config.redis.as_ref().map(client_of).transpose().map_err(problems_of_redis);
    let found = [server.err(), auth.err(), redis.err()];
    let problems: Vec<Problem> = found.into_iter().flatten().flat_map(|problems| problems.0).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

fn problems_of_redis(error: TlsError) -> Problems {
    let (path, rule, origin) = match error {
        TlsError::File { setting, path, cause } => (setting, cause, Origin::File(path.into())),
        error => ("redis.tls_ca_file", error.to_string(), Origin::Default),
    };
    Problems(vec![Problem { path: path.to_owned(), rule, value: None, origin }])
}
