//! Reads the PEM files of TLS.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::TlsProblem;

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Permissions by which users other than owner and group may read or write a file.
const OTHERS: u32 = 0o006;

/// The certificates of a file, at least one.
pub(super) fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    items(setting, path, "holds no certificate in PEM")
}

/// The lists of revoked certificates of a file, at least one.
pub(super) fn revocation_lists(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
    items(setting, path, "holds no list of revoked certificates in PEM (X509 CRL)")
}

/// The first private key of a file.
pub(super) fn private_key(setting: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let text = read(setting, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = text.windows(9).any(|word| word == b"ENCRYPTED");
        let cause = match error {
            pem::Error::NoItemsFound if is_encrypted => "the private key is encrypted: decrypt it".to_owned(),
            pem::Error::NoItemsFound => "holds no private key in PEM".to_owned(),
            error => error.to_string(),
        };
        TlsProblem::new(setting, path, cause)
    })
}

/// Returns true if every user of the machine may read or write a file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS != 0)
}

fn items<T: PemObject>(setting: &'static str, path: &Path, none: &str) -> Result<Vec<T>, TlsProblem> {
    let text = read(setting, path)?;
    match T::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(items) if items.is_empty() => Err(TlsProblem::new(setting, path, none)),
        Ok(items) => Ok(items),
        Err(error) => Err(TlsProblem::new(setting, path, format!("no PEM: {error}"))),
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsProblem> {
    let problem = |cause: String| TlsProblem::new(setting, path, cause);
    let metadata = fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err(problem("is not a file".to_owned()));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| problem(error.to_string()))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(|error| problem(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(problem("is larger than 16 MiB".to_owned()));
    }
    Ok(text)
}
