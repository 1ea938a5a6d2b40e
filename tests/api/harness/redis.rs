//! A redis-server process that belongs to one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::WAIT_TIMEOUT;
use super::resp::{self, Reply};

/// A Redis on 127.0.0.1. Its process is killed on drop.
pub struct Redis {
    port: u16,
    /// Configuration file of a sentinel, which stores its state in it.
    file: Option<PathBuf>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts an empty Redis without persistence.
    pub async fn start() -> Redis {
        Redis::with(&[]).await
    }

    /// Starts an empty Redis with additional arguments.
    pub async fn with(args: &[&str]) -> Redis {
        let mut redis = Redis::not_started(args);
        redis.restart().await;
        redis
    }

    /// Reserves a port for a Redis that is not started yet.
    pub fn not_started(args: &[&str]) -> Redis {
        let directory = tempfile::Builder::new().prefix("twintier-redis-").tempdir().unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Redis { port: free_port(), file: None, args, environment: Vec::new(), directory, child: None }
    }

    /// Starts an empty Redis with variables in its environment.
    pub async fn with_environment(environment: &[(String, String)]) -> Redis {
        let mut redis = Redis::not_started(&[]);
        redis.environment = environment.to_vec();
        redis.restart().await;
        redis
    }

    /// Starts a sentinel with this configuration.
    pub async fn sentinel(configuration: &str) -> Redis {
        let mut redis = Redis::not_started(&["--sentinel"]);
        let file = redis.directory.path().join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        redis.file = Some(file);
        redis.restart().await;
        redis
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Starts it again on the same port. It loads its data from disk if the arguments enable
    /// persistence.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "still running");
        let child = Command::new(program())
            .args(&self.file)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--logfile", "redis.log"])
            .args(["--enable-debug-command", "local", "--dir"])
            .arg(self.directory.path())
            .args(&self.args)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server has to be installed");
        self.child = Some(child);
        let starting = async {
            while !self.answers().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(WAIT_TIMEOUT, starting).await.is_ok(), "redis-server did not start: {}", self.log());
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGSTOP: it keeps its connections and does not answer.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs one command on a new connection.
    pub async fn cli<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        match resp::command(self.port, args).await {
            Ok(Reply::Error(error)) => panic!("redis: {error}"),
            Ok(reply) => reply,
            Err(error) => panic!("redis: {error}; {}", self.log()),
        }
    }

    /// Runs one command on a new connection. `None` after a timeout or an error.
    pub async fn try_cli<A: AsRef<[u8]>>(&self, args: &[A]) -> Option<Reply> {
        match timeout(Duration::from_millis(300), resp::command(self.port, args)).await {
            Ok(Ok(Reply::Error(_)) | Err(_)) | Err(_) => None,
            Ok(Ok(reply)) => Some(reply),
        }
    }

    /// True if the process exists, frozen or not.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    async fn answers(&self) -> bool {
        let ping = resp::command(self.port, &["PING"]);
        // A server that requires a password is up too.
        matches!(timeout(Duration::from_secs(1), ping).await, Ok(Ok(_)))
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("running");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Directory of its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Path of the server program: TEST_REDIS, else redis-server of the system.
fn program() -> std::ffi::OsString {
    std::env::var_os("TEST_REDIS").unwrap_or_else(|| "redis-server".into())
}

pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// A port below the ephemeral range, which stays free while a Redis is down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 12_000 + (std::process::id() % 190) as u16 * 100;
    for _ in 0..10_000 {
        let port = 12_000 + (start - 12_000 + NEXT.fetch_add(1, Ordering::Relaxed)) % 19_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
