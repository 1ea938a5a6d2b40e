//! A certificate authority that belongs to one test.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// The authority and its certificates. Deletes their files on drop.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// Content of a certificate, beside its key.
pub struct Subject<'a> {
    /// Name of its files.
    pub file: &'a str,
    /// Common name.
    pub common_name: &'a str,
    pub names: Vec<SanType>,
    pub serial: u64,
    /// Its purpose; any if `None`.
    pub purpose: Option<ExtendedKeyUsagePurpose>,
    /// Seconds from now to the begin and the end of its validity.
    pub valid: [i64; 2],
}

impl Subject<'_> {
    /// A client that is known by a URI.
    pub fn client<'a>(file: &'a str, uri: &str, serial: u64) -> Subject<'a> {
        let names = vec![SanType::URI(uri.try_into().unwrap())];
        let purpose = Some(ExtendedKeyUsagePurpose::ClientAuth);
        Subject { file, common_name: file, names, serial, purpose, valid: [-3600, 365 * 86_400] }
    }

    /// A server with a name or an address.
    pub fn server<'a>(file: &'a str, name: &str) -> Subject<'a> {
        let names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
        let purpose = Some(ExtendedKeyUsagePurpose::ServerAuth);
        Subject { file, common_name: file, names, serial: 1, purpose, valid: [-3600, 365 * 86_400] }
    }
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named("authority of tests")
    }

    /// An authority with its own common name, by which it differs from others.
    pub fn named(name: &str) -> Authority {
        let directory = tempfile::Builder::new().prefix("twintier-authority-").tempdir().unwrap();
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        std::fs::write(directory.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { directory, issuer: Issuer::new(params, key) }
    }

    /// The file of the authority's own certificate.
    pub fn file(&self) -> String {
        self.path("authority.pem")
    }

    /// The files of a certificate for a name or address, and of its key.
    pub fn certificate(&self, name: &str) -> (String, String) {
        let (mut params, key) = (CertificateParams::new([name.to_owned()]).unwrap(), KeyPair::generate().unwrap());
        // OpenSSL treats a certificate with the name of its authority as self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        self.write(name, params, &key)
    }

    /// The files of a certificate with this content, and of its key.
    pub fn issue(&self, subject: Subject<'_>) -> (String, String) {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        params.distinguished_name.push(DnType::CommonName, subject.common_name);
        params.subject_alt_names = subject.names;
        params.serial_number = Some(SerialNumber::from(subject.serial));
        params.extended_key_usages = subject.purpose.into_iter().collect();
        let [begin, end] = subject.valid.map(|seconds| date_time_ymd(1970, 1, 1) + from_now(seconds));
        (params.not_before, params.not_after) = (begin, end);
        self.write(subject.file, params, &key)
    }

    /// The file of a list of revoked certificates.
    pub fn revocation_list(&self, serials: &[u64]) -> String {
        let now = date_time_ymd(1970, 1, 1) + from_now(-3600);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: date_time_ymd(1970, 1, 1) + from_now(86_400),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.path("revoked.pem");
        std::fs::write(&path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, params: CertificateParams, key: &KeyPair) -> (String, String) {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let (certificate_file, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (certificate_file, key_file)
    }

    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }
}

/// Time from 1970 to so many seconds from now.
fn from_now(seconds: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    if seconds < 0 {
        now - Duration::from_secs(seconds.unsigned_abs())
    } else {
        now + Duration::from_secs(seconds as u64)
    }
}
