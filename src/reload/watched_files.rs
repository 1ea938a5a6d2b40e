//! The files whose content a reload applies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::config::Config;

/// Digest of the content of each file. `None` for one that cannot be read.
pub(super) type Digests = BTreeMap<PathBuf, Option<u128>>;

/// Returns the files that a configuration names and a reload reads again.
pub(super) fn of_config(config: &Config) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    if let Some(tls) = &config.tls {
        files.extend([tls.cert_file.clone(), tls.key_file.clone()]);
        files.extend(tls.client_ca_file.iter().chain(&tls.crl_file).cloned());
    }
    files.extend(config.auth.jwt.iter().map(|jwt| jwt.jwks_file.clone()));
    files.extend(config.auth.identities.iter().filter_map(|identity| identity.token_hashes_file.clone()));
    files.extend(config.redis.iter().flat_map(|redis| redis.protection.files.iter().cloned()));
    files
}

/// Returns a digest of the content of each file: volumes of Kubernetes replace a link and keep
/// names, and may keep times.
pub(super) fn digests(files: &BTreeSet<PathBuf>) -> Digests {
    files.iter().map(|file| (file.clone(), digest(file))).collect()
}

/// Returns the digest of a file. `None` if it cannot be read.
pub(super) fn digest(file: &Path) -> Option<u128> {
    fs::read(file).ok().map(|content| xxh3_128(&content))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn another_content_behind_a_link_is_another_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let [old, new, link] = ["old", "new", "link"].map(|name| folder.path().join(name));
        fs::write(&old, "a").expect("written");
        fs::write(&new, "b").expect("written");
        assert_eq!(digest(&link), None);
        symlink(&old, &link).expect("linked");
        assert_eq!(digest(&link), digest(&old));
        fs::remove_file(&link).expect("removed");
        symlink(&new, &link).expect("linked");
        assert_eq!(digest(&link), digest(&new));
        assert_ne!(digest(&old), digest(&new));
    }
}
