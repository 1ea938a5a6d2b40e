//! TLS of the benchmark: a certificate for the service, and a connection of the client.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

/// A certificate for 127.0.0.1 that is its own authority.
pub struct Certificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    config: Arc<ClientConfig>,
}

/// TLS of one connection.
pub struct Session(ClientConnection);

impl Certificate {
    /// Creates it with openssl. `None` if that is not installed.
    pub fn create(folder: &Path) -> Option<Certificate> {
        let program = crate::servers::find("openssl")?;
        let (cert_file, key_file) = (folder.join("tls.crt"), folder.join("tls.key"));
        let mut openssl = Command::new(program);
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "365",
        ]);
        openssl.args(["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]);
        // A certificate of an authority is not accepted as that of a server.
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.arg("-keyout").arg(&key_file).arg("-out").arg(&cert_file);
        let ended = openssl.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(ended.success(), "openssl: {ended}");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&cert_file).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(Certificate { cert_file, key_file, config: Arc::new(config) })
    }

    /// Shakes hands on a connection that blocks.
    pub fn connect(&self, stream: &mut TcpStream) -> Session {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut session = ClientConnection::new(self.config.clone(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(stream).unwrap();
        }
        Session(session)
    }
}

impl Session {
    /// Reads from a connection that does not block.
    pub fn read(&mut self, stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
        Stream::new(&mut self.0, stream).read(buffer)
    }

    /// Writes to a connection that does not block. Returns the bytes that were taken.
    pub fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
        Stream::new(&mut self.0, stream).write(bytes)
    }

    /// Sends what was taken. Returns true if something is left.
    pub fn is_left(&mut self, stream: &mut TcpStream) -> bool {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) => panic!("writing: {error}"),
            }
        }
        false
    }
}
