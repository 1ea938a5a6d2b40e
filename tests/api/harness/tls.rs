//! TLS on the side of a client, and files of a server that a test replaces.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use twintier::app::{App, Observers};
use twintier::cache::fleet::replica::Replica as Identity;
use twintier::config::{Config, Loaded, Sources};
use twintier::reload::Reload;
use twintier::shutdown::Stop;
use twintier::telemetry::metrics::MetricsConfig;

use super::{Authority, Scrape, Subject, Wire, eventually};

/// A client, with a memory of sessions that its connections share.
#[derive(Clone)]
pub struct TlsClient(pub Arc<ClientConfig>);

/// A certificate of a server for 127.0.0.1, at paths that stay when it is replaced.
pub struct TlsPair {
    pub authority: Authority,
    pub cert_file: String,
    pub key_file: String,
}

impl TlsClient {
    /// A client that trusts an authority and offers HTTP/2.
    pub fn new(authority: &Authority) -> TlsClient {
        TlsClient::with(authority, None, &[b"h2"], rustls::ALL_VERSIONS)
    }

    /// Such a client with the files of a certificate and its key.
    pub fn known(authority: &Authority, files: &(String, String)) -> TlsClient {
        TlsClient::with(authority, Some(files), &[b"h2"], rustls::ALL_VERSIONS)
    }

    /// A client of TLS 1.2 alone.
    pub fn tls12(authority: &Authority) -> TlsClient {
        TlsClient::with(authority, None, &[b"h2"], &[&version::TLS12])
    }

    pub fn with(
        authority: &Authority,
        files: Option<&(String, String)>,
        protocols: &[&[u8]],
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match files {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(8);
        TlsClient(Arc::new(config))
    }

    /// Opens a connection.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.on(TcpStream::connect(address).await?).await
    }

    /// Shakes hands on a connection.
    pub async fn on(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }

    /// Opens an HTTP/2 connection.
    pub async fn wire(&self, address: SocketAddr) -> Wire {
        Wire::over(address, self.connect(address).await.expect("a handshake")).await.expect("HTTP/2")
    }
}

impl TlsPair {
    pub fn new() -> TlsPair {
        let authority = Authority::named("authority of servers");
        let (cert_file, key_file) = authority.issue(Subject::server("server", "127.0.0.1"));
        TlsPair { authority, cert_file, key_file }
    }

    /// The settings, and `more` of them.
    pub fn settings<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [("tls.cert_file", self.cert_file.as_str()), ("tls.key_file", self.key_file.as_str())];
        [&own, more].concat()
    }

    pub fn client(&self) -> TlsClient {
        TlsClient::new(&self.authority)
    }
}

/// A replica in this process whose callers speak TLS, and which looks at its files often. It stops
/// in the background on drop.
pub struct TlsReplica {
    app: Option<App>,
    pub address: SocketAddr,
}

impl TlsReplica {
    pub async fn start(settings: &[(&str, &str)]) -> TlsReplica {
        TlsReplica::try_start(settings).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a replica, or returns why it does not start.
    pub async fn try_start(settings: &[(&str, &str)]) -> Result<TlsReplica, String> {
        TlsReplica::from_sources(settings, None).await
    }

    /// Starts a replica with a configuration file beside these settings.
    pub async fn with_file(file: &Path, settings: &[(&str, &str)]) -> TlsReplica {
        let started = TlsReplica::from_sources(settings, Some(file.to_owned())).await;
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn from_sources(settings: &[(&str, &str)], file: Option<PathBuf>) -> Result<TlsReplica, String> {
        let own = [("server.listen", "127.0.0.1:0"), ("admin.enabled", "false"), ("auth.reload_interval", "100ms")];
        let drain = [("drain.delay", "0s"), ("drain.timeout", "3s"), ("server.max_connection_age", "1h")];
        let all = own.iter().chain(&drain).chain(settings);
        let overrides = all.map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        let sources = Sources { file, overrides, ..Sources::default() };
        let Loaded { config, settings, .. } = Config::load(&sources).map_err(|problems| problems.to_string())?;
        let replica = Identity::new();
        let metrics = MetricsConfig::from_variables([], true, &replica.id);
        let observers = Observers { tracing: None, metrics, log_level: None };
        let reload = Reload::new(sources, settings).unwrap();
        let app = App::start_reloadable(replica, config, observers, Some(reload)).await;
        let app = app.map_err(|error| error.to_string())?;
        let address = app.address().expect("TCP");
        Ok(TlsReplica { app: Some(app), address })
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.app.as_ref().and_then(App::admin_address).expect("an admin server")
    }

    pub fn scrape(&self) -> Scrape {
        Scrape(self.app.as_ref().and_then(App::metrics).expect("metrics").prometheus_text())
    }

    /// Handshakes with this result.
    pub fn handshakes(&self, result: &str) -> f64 {
        self.scrape().get("twintier_tls_handshakes_total", &[("result", result)])
    }

    /// Reloads with this result.
    pub fn reloads(&self, result: &str) -> f64 {
        self.scrape().get("twintier_reloads_total", &[("result", result)])
    }

    /// Waits until there were this many reloads with a result.
    pub async fn wait_for_reloads(&self, result: &str, count: f64) {
        eventually("a reload", async || self.reloads(result) >= count).await;
    }

    /// Stops it with a drain. Returns true if every RPC was finished.
    pub async fn drain(mut self) -> bool {
        self.app.take().expect("running").stop(Stop::Drain).await
    }
}

impl Drop for TlsReplica {
    fn drop(&mut self) {
        let (app, runtime) = (self.app.take(), tokio::runtime::Handle::try_current());
        if let (Some(app), Ok(runtime)) = (app, runtime) {
            runtime.spawn(app.stop(Stop::Now));
        }
    }
}
