//! Servers as processes of their own, each on its core, ended with the benchmark.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::NamedTempFile;

use crate::tls::Certificate;

/// Longest time until a server listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// All processes that were started.
static RUNNING: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Kills every process that was started, and waits for their ends.
pub fn end_all() {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for mut child in running.drain(..) {
        let _ = (child.kill(), child.wait());
    }
}

/// Ends all servers when it is dropped, also by a panic.
pub struct EndsAll;

impl Drop for EndsAll {
    fn drop(&mut self) {
        end_all();
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pid: u32,
}

impl Server {
    /// Starts the service: see [`program`].
    ///
    /// With a certificate it speaks TLS.
    pub fn service(settings: &[(&str, &str)], certificate: Option<&Certificate>, cores: &Cores) -> Server {
        let files = certificate
            .map(|certificate| [&certificate.cert_file, &certificate.key_file].map(|file| file.to_str().unwrap()));
        let tls = files.iter().flat_map(|[cert, key]| [("tls.cert_file", *cert), ("tls.key_file", *key)]);
        let settings: Vec<_> = settings.iter().copied().chain(tls).collect();
        let (server, log) = Server::listening_service(Command::new(program()), &settings, cores);
        let authority = certificate.map(|certificate| certificate.cert_file.as_path());
        assert!(is_ready(server.address, authority), "not ready: {}", fs::read_to_string(log.path()).unwrap());
        server
    }

    /// Starts the service by a command, to which its arguments are added. Waits until it listens, and returns its log.
    pub fn listening_service(
        mut command: Command,
        settings: &[(&str, &str)],
        cores: &Cores,
    ) -> (Server, NamedTempFile) {
        let log = NamedTempFile::new().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).args(["--listen", "127.0.0.1:0"]).stderr(log.reopen().unwrap());
        for (path, value) in settings {
            command.args(["--set", &format!("{path}={value}")]);
        }
        let pid = spawn(command, cores.server);
        let text = || fs::read_to_string(log.path()).unwrap();
        let port = await_some(text, || {
            let text = text();
            let rest = text.lines().find(|line| line.contains("twintier serves"))?.split("127.0.0.1:").nth(1)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        (Server { address: loopback(port), pid }, log)
    }

    /// Stops the process by SIGINT, and waits for its end.
    pub fn stop(self) {
        let mut running = RUNNING.lock().unwrap();
        let at = running.iter().position(|child| child.id() == self.pid).expect("running");
        let mut child = running.swap_remove(at);
        drop(running);
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert!(child.wait().unwrap().success(), "the server fails at its stop");
    }

    /// Starts the floor: this program as an echo.
    pub fn echo(runtime: &str, cores: &Cores) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["echo", runtime]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let pid = spawn(command, cores.server);
        let stdout = with_child(pid, |child| child.stdout.take().unwrap());
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        Server { address: loopback(line.trim().parse().unwrap()), pid }
    }

    /// Starts a Redis without persistence.
    pub fn redis(folder: &Path, core: Option<usize>) -> Server {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--logfile", "", "--dir"]).arg(folder);
        Server::listening(command, port, core)
    }

    /// Starts memcached with one thread. `None` if it is not installed.
    pub fn memcached(cores: &Cores) -> Option<Server> {
        let program = find("memcached")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-t", "1", "-m", "2048"]);
        if rustix::process::getuid().is_root() {
            command.args(["-u", "root"]);
        }
        Some(Server::listening(command, port, cores.server))
    }

    fn listening(command: Command, port: u16, core: Option<usize>) -> Server {
        let program = command.get_program().to_string_lossy().into_owned();
        let pid = spawn(command, core);
        let address = loopback(port);
        await_some(|| program.clone(), || TcpStream::connect(address).ok());
        Server { address, pid }
    }

    /// CPU time of each thread so far, in nanoseconds by the scheduler's accounting.
    pub fn spent(&self) -> Spent {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap() {
            let folder = entry.unwrap().path();
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(folder.join("schedstat")) else { continue };
            let spent = text.split(' ').next().and_then(|spent| spent.parse().ok());
            threads.insert(folder, spent.unwrap_or(0));
        }
        assert!(!threads.is_empty(), "no /proc/{}/task/*/schedstat: the kernel keeps no account", self.pid);
        Spent(threads)
    }
}

/// CPU time by thread.
pub struct Spent(BTreeMap<PathBuf, u64>);

impl Spent {
    /// Nanoseconds since `before`.
    pub fn since(&self, before: &Spent) -> u64 {
        let threads = self.0.iter();
        threads.map(|(thread, spent)| spent - before.0.get(thread).copied().unwrap_or(0)).sum()
    }
}

/// Cores of the servers that are measured and of everything else.
pub struct Cores {
    /// Core of the server that is measured. `None` if there is only one core.
    pub server: Option<usize>,
    /// Core of the client and of the Redis of the service.
    pub client: Option<usize>,
}

impl Cores {
    /// Takes the first two cores that this process may use, and moves the thread to the second one.
    pub fn choose() -> Cores {
        let allowed = sched_getaffinity(None).unwrap();
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (first, second) = (cores.next(), cores.next());
        if second.is_some() {
            stay_on(second);
        }
        Cores { server: second.and(first), client: second }
    }
}

/// Moves this thread, and the processes that it starts, to a core.
fn stay_on(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).unwrap();
    }
}

/// Starts a process on a core. Its runtime sees one core, as in a container with one.
fn spawn(mut command: Command, core: Option<usize>) -> u32 {
    let before = sched_getaffinity(None).unwrap();
    stay_on(core);
    if command.get_program() != std::env::current_exe().unwrap() {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    sched_setaffinity(None, &before).unwrap();
    let pid = child.id();
    RUNNING.lock().unwrap().push(child);
    pid
}

fn with_child<T>(pid: u32, f: impl FnOnce(&mut Child) -> T) -> T {
    let mut running = RUNNING.lock().unwrap();
    f(running.iter_mut().find(|child| child.id() == pid).expect("running"))
}

/// Waits until a replica is ready.
fn is_ready(address: SocketAddr, authority: Option<&Path>) -> bool {
    let mut health = Command::new(program());
    health.env_clear().args(["health", "readiness", "--wait", "30s", "--server", &address.to_string()]);
    if let Some(authority) = authority {
        health.arg("--tls").arg("--ca-file").arg(authority);
    }
    health.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Polls until there is a result. Panics with `log` after [`START_TIMEOUT`].
fn await_some<T>(log: impl Fn() -> String, mut poll: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(begin.elapsed() < START_TIMEOUT, "not within {START_TIMEOUT:?}: {}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Path of the service: `PROGRAM`, else the program beside this one.
pub fn program() -> PathBuf {
    let given = std::env::var_os("PROGRAM").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.unwrap_or_else(|| std::env::current_exe().unwrap().with_file_name("twintier"))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Path of an installed program.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
