//! Settings of MACs and encryption of what is in Redis.

use std::path::{Path, PathBuf};

use crate::backend::redis::{ProtectionConfig, ProtectionMode, SecretKey};
use crate::config::reader::Reader;

const MAC_KEYS: &str = "redis.mac_key_files";
const ENCRYPTION_KEYS: &str = "redis.encryption_key_files";
const MODE: &str = "redis.protection";
/// Most keys of one kind.
const MAX_KEYS: usize = 8;

/// Reads the keys and their use.
pub(crate) fn read(reader: &mut Reader) -> ProtectionConfig {
    let mut files = Vec::new();
    let mac_keys = read_keys(
        reader,
        MAC_KEYS,
        "files of keys of 32 bytes, raw, in hex or base64, for MACs (HMAC-SHA256) of entries and messages: the first one \
         signs, all verify; what does not verify is not used",
        &mut files,
    );
    let encryption_keys = read_keys(
        reader,
        ENCRYPTION_KEYS,
        "files of keys of 32 bytes, raw, in hex or base64, for the encryption of values (AES-256-GCM): the first one \
         encrypts, all decrypt; an entry of another key is a miss",
        &mut files,
    );
    let mode = reader.choice(
        MODE,
        ProtectionMode::Require,
        &[("read", ProtectionMode::Read), ("write", ProtectionMode::Write), ("require", ProtectionMode::Require)],
        "use of redis.mac_key_files and redis.encryption_key_files: read, verify and decrypt only; write, sign and encrypt, \
         too, but accept what is not; require, refuse what is not",
    );
    if mac_keys.is_empty() && encryption_keys.is_empty() && reader.is_given(MODE) {
        reader.contradict(MODE, MAC_KEYS, "has no effect without redis.mac_key_files or redis.encryption_key_files");
    }
    let is_exposed = |file: &&PathBuf| SecretKey::is_readable_by_others(file);
    let readable_by_others = files.iter().filter(is_exposed).cloned().collect();
    ProtectionConfig { mac_keys, encryption_keys, mode, files, readable_by_others }
}

fn read_keys(reader: &mut Reader, path: &'static str, doc: &'static str, files: &mut Vec<PathBuf>) -> Vec<SecretKey> {
    let named = reader.texts(path, "a list of paths of files", doc);
    if named.len() > MAX_KEYS {
        reader.refuse(path, format!("must name at most {MAX_KEYS} files"));
        return Vec::new();
    }
    let mut keys = Vec::new();
    for file in &named {
        match SecretKey::read_file(Path::new(file)) {
            Ok(key) if keys.contains(&key) => {
                reader.refuse(path, format!("{file}: must hold another key than the others"))
            }
            Ok(key) => {
                keys.push(key);
                files.push(file.into());
            }
            Err(rule) => reader.refuse(path, format!("{file}: {rule}")),
        }
    }
    keys
}
