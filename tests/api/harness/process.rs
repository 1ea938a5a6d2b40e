//! The program as a child process, on a port that is reserved while it is down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{WAIT_TIMEOUT, eventually};

/// A process of the service. Killed on drop.
pub struct Process {
    program: PathBuf,
    port: u16,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// Its standard error so far.
    log: NamedTempFile,
}

impl Process {
    /// Starts the program with these settings, and waits until it listens.
    pub async fn start(settings: &[(&str, &str)], environment: &[(String, String)]) -> Process {
        Process::of_build(Path::new(env!("CARGO_BIN_EXE_twintier")), settings, environment).await
    }

    /// Starts another build of the program, and waits until it listens.
    pub async fn of_build(program: &Path, settings: &[(&str, &str)], environment: &[(String, String)]) -> Process {
        let port = super::redis::free_port();
        let listen = format!("127.0.0.1:{port}");
        let all = [
            ("server.listen", &listen[..]),
            ("admin.enabled", "false"),
            ("drain.delay", "0s"),
            ("drain.timeout", "3s"),
        ];
        let settings = all.iter().chain(settings);
        let args = settings.flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")]).collect();
        let (program, environment) = (program.to_owned(), environment.to_vec());
        let log = NamedTempFile::new().unwrap();
        let mut process = Process { program, port, args, environment, child: None, log };
        process.restart().await;
        process
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Starts the program again, and waits until it listens.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "still running");
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment.iter().cloned()).args(&self.args);
        self.log.as_file().set_len(0).unwrap();
        let logging = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log.reopen().unwrap());
        self.child = Some(logging.spawn().unwrap());
        let address = self.address();
        eventually("the process listens", async || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("{status} instead of listening: {}", std::fs::read_to_string(self.log.path()).unwrap());
            }
            TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends SIGTERM, and waits for the end. Returns true if it exited with success.
    pub async fn terminate_and_wait(&mut self) -> bool {
        self.terminate();
        self.wait_for_exit().await
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        kill_process(Pid::from_child(self.child.as_ref().expect("running")), Signal::TERM).unwrap();
    }

    /// Waits for the end. Returns true if it exited with success.
    pub async fn wait_for_exit(&mut self) -> bool {
        let mut child = self.child.take().expect("running");
        let ended = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status.success();
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let Ok(is_well) = timeout(WAIT_TIMEOUT, ended).await else {
            let _ = (child.kill(), child.wait());
            panic!("still running {WAIT_TIMEOUT:?} after SIGTERM");
        };
        is_well
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
