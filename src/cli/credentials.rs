//! TLS and credentials of the client commands: their files, and the rules between flags.

use std::error::Error;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::args::Server;
use super::credential_args::{CredentialArgs, Encryption};
use super::error::CliError;

// === impl CredentialArgs ===

impl CredentialArgs {
    /// Returns the endpoint of a service, with TLS if it is selected.
    pub(super) fn endpoint(&self, server: &Server) -> Result<Endpoint, CliError> {
        if self.is_tls(server) {
            let endpoint = server.endpoint_with_tls().map_err(CliError::Usage)?;
            return endpoint.tls_config(self.tls_config()?).map_err(|error| CliError::Usage(root_cause(&error)));
        }
        let given = [("--ca-file", &self.ca_file), ("--cert-file", &self.cert_file)];
        match given.iter().find(|(_, file)| file.is_some()) {
            Some((flag, _)) if !server.is_unix() => {
                Err(CliError::Usage(format!("{flag} has no effect without TLS: use --tls, or https:// in --server")))
            }
            _ => Ok(server.endpoint.clone()),
        }
    }

    /// Reads the token to send. `None` if there is none.
    ///
    /// Without TLS it is sent to this machine only, unless a flag allows another.
    pub(super) fn authorization(&self, server: &Server) -> Result<Option<AsciiMetadataValue>, CliError> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let is_safe = self.is_tls(server) || server.is_unix() || is_loopback(server.endpoint.uri().host());
        if !is_safe && !self.plain_text_token {
            return Err(CliError::Usage(format!(
                "--token-file: the token would be sent to {} in plain text: use --tls or https://, or --plain-text-token if the way there is protected",
                server.name
            )));
        }
        let text = String::from_utf8(read(file)?).map_err(|_| unusable("--token-file", file, "is not text"))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable("--token-file", file, "must hold one token: printable ASCII without spaces"));
        }
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| unusable("--token-file", file, "must hold one token: printable ASCII without spaces"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Returns how the connection to a service is encrypted.
    pub(super) fn encryption(&self, server: &Server) -> Encryption {
        match (self.is_tls(server), &self.cert_file) {
            (false, _) => Encryption::Plain,
            (true, None) => Encryption::Tls,
            (true, Some(_)) => Encryption::MutualTls,
        }
    }

    fn is_tls(&self, server: &Server) -> bool {
        !server.is_unix() && (self.tls || server.endpoint.uri().scheme_str() == Some("https"))
    }

    fn tls_config(&self) -> Result<ClientTlsConfig, CliError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca_file {
            Some(file) => {
                let text = read(file)?;
                let count = CertificateDer::pem_slice_iter(&text).filter(Result::is_ok).count();
                if count == 0 {
                    return Err(unusable("--ca-file", file, "holds no certificate in PEM"));
                }
                config.ca_certificate(Certificate::from_pem(text))
            }
            None => config.with_native_roots(),
        };
        if let (Some(cert_file), Some(key_file)) = (&self.cert_file, &self.key_file) {
            let (certificate, key) = (read(cert_file)?, read(key_file)?);
            if CertificateDer::from_pem_slice(&certificate).is_err() {
                return Err(unusable("--cert-file", cert_file, "holds no certificate in PEM"));
            }
            if PrivateKeyDer::from_pem_slice(&key).is_err() {
                return Err(unusable("--key-file", key_file, "holds no private key in PEM"));
            }
            config = config.identity(Identity::from_pem(certificate, key));
        }
        Ok(config)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(file).map_err(CliError::io(file.display().to_string()))
}

fn unusable(flag: &str, file: &Path, cause: &str) -> CliError {
    CliError::Usage(format!("{flag} {}: {cause}", file.display()))
}

fn root_cause(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |&error| error.source()).last().unwrap_or(error).to_string()
}

/// Returns true if a host is this machine.
fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;
    use crate::cli::args::parse_server;

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn authorization(args: &CredentialArgs, server: &str) -> Result<Option<String>, String> {
        let sent = args.authorization(&parse_server(server).expect("a server"));
        let text = |value: AsciiMetadataValue| value.to_str().expect("ASCII").to_owned();
        sent.map(|value| value.map(text)).map_err(|error| error.text())
    }

    #[test]
    fn a_token_leaves_this_machine_with_tls_only() {
        let token = file("secret\n");
        let args = CredentialArgs { token_file: Some(token.path().to_owned()), ..CredentialArgs::default() };
        for safe in ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:///run/a.sock", "https://cache:1"] {
            assert_eq!(authorization(&args, safe), Ok(Some("Bearer secret".to_owned())), "{safe}");
        }
        for unsafe_server in ["cache:1", "http://10.0.0.1:1", "localhost.example.org:1"] {
            let refused = authorization(&args, unsafe_server).expect_err("plain text");
            assert!(refused.contains(unsafe_server) && refused.contains("--plain-text-token"), "{refused}");
            assert!(!refused.contains("secret"));
        }
        let allowed = CredentialArgs { plain_text_token: true, ..args.clone() };
        assert_eq!(authorization(&allowed, "cache:1"), Ok(Some("Bearer secret".to_owned())));
        let tls = CredentialArgs { tls: true, ..args };
        assert_eq!(authorization(&tls, "cache:1"), Ok(Some("Bearer secret".to_owned())));
    }

    #[test]
    fn a_file_holds_one_token() {
        for text in ["", " \n", "two tokens", "a\nb", "\u{e9}"] {
            let token = file(text);
            let args = CredentialArgs { token_file: Some(token.path().to_owned()), ..CredentialArgs::default() };
            let refused = authorization(&args, "localhost:1").expect_err(text);
            assert!(refused.contains("must hold one token"), "{refused}");
        }
    }

    #[test]
    fn files_of_tls_without_tls_are_refused() {
        let args = CredentialArgs { ca_file: Some("/ca.pem".into()), ..CredentialArgs::default() };
        let endpoint = |server: &str| args.endpoint(&parse_server(server).expect("a server"));
        assert!(endpoint("cache:1").is_err_and(|error| error.text().contains("--ca-file has no effect without TLS")));
        assert!(endpoint("unix:///run/a.sock").is_ok());
        assert!(endpoint("https://cache:1").is_err_and(|error| error.text().contains("/ca.pem")));
    }
}
