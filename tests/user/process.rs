//! Child processes of the program, with an environment that only the test sets.
//!
//! A process is killed by its id when its handle is dropped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for an expected event.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Settings for a loaded machine, for tests that are not about timeouts.
pub const LONG_TIMEOUTS: [(&str, &str); 5] = [
    ("redis.connect_timeout", "10s"),
    ("redis.read_timeout", "10s"),
    ("redis.write_timeout", "10s"),
    ("redis.unresponsive_after", "10s"),
    ("coherence.max_staleness", "10s"),
];

/// Exit code and output of a command.
#[derive(Debug)]
pub struct CommandResult {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

/// A command that runs the program with an empty environment.
pub fn twintier(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twintier"));
    command.env_clear().args(args);
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command, input: &[u8]) -> CommandResult {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // A command that does not read its input closes the pipe.
    let writer = thread::spawn(move || stdin.write_all(&input).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    CommandResult { code: output.status.code(), out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
}

/// Polls until `happened` returns true.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < WAIT_TIMEOUT, "not within {WAIT_TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port that is free now, below the ephemeral range. No other test gets it soon after.
pub fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| rand::random_range(18_000..32_000));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Path of a program that the tests need and that must be installed.
pub fn required_program(program: &str, variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run `make test`, which installs {program} and sets it"),
    }
}

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).status().unwrap();
    assert!(sent.success());
}

// === CommandResult ===

impl CommandResult {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the command exited with `code`.
    #[track_caller]
    pub fn assert_exit(self, code: i32) -> CommandResult {
        assert_eq!(self.code, Some(code), "{} {}", String::from_utf8_lossy(&self.out), self.err);
        self
    }
}

// === Serving ===

/// A running service.
pub struct Serving {
    child: Child,
    log: Arc<Log>,
    pub address: String,
}

/// Lines of a log so far, and true if it has ended.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

impl Serving {
    /// Starts the service on a free port, and waits until it is ready.
    pub fn start(args: &[&str]) -> Serving {
        Serving::spawn(twintier(&[&["--listen", "127.0.0.1:0"], args].concat()))
    }

    /// Starts the service on a free port with a Redis and long timeouts, and waits until Redis is
    /// healthy. `args` override the timeouts.
    pub fn with_redis(redis: &Redis, args: &[&str]) -> Serving {
        let unhurried = LONG_TIMEOUTS.map(|(path, value)| format!("{path}={value}"));
        let unhurried = unhurried.iter().flat_map(|setting| ["--set", setting]);
        let url = redis.url();
        let args: Vec<_> = unhurried.chain(["--redis-url", &url]).chain(args.iter().copied()).collect();
        let service = Serving::start(&args);
        service.wait_for_health("redis");
        service
    }

    /// Starts the service by any command, and waits until it is ready.
    pub fn spawn(command: Command) -> Serving {
        let serving = Serving::listening(command);
        serving.wait_for_health("readiness");
        serving
    }

    /// Starts the service by any command, and waits until it listens.
    pub fn listening(mut command: Command) -> Serving {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, writer) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| writer.push(line));
            writer.end();
        });
        let mut serving = Serving { child, log, address: String::new() };
        let line = serving.wait_for_log("twintier serves");
        serving.address = match line.split("127.0.0.1:").nth(1) {
            Some(port) => format!("127.0.0.1:{}", port.split(|c: char| !c.is_ascii_digit()).next().unwrap()),
            None => {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                format!("unix://{}", line["socket"].as_str().expect("a socket without TCP"))
            }
        };
        serving
    }

    /// Waits for a line of the log, and returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        let found = self.log.wait(|lines, _| lines.iter().find(|line| line.contains(text)).cloned());
        found.unwrap_or_else(|| panic!("not in the log: {text}\n{}", self.log.lines().join("\n")))
    }

    /// Lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until this service of grpc.health.v1 is SERVING.
    pub fn wait_for_health(&self, service: &str) {
        wait_until(&format!("health of {service:?}"), || self.client(&["health", service]).code == Some(0));
    }

    /// Runs a client command against this service.
    pub fn client(&self, args: &[&str]) -> CommandResult {
        self.client_with(args, b"")
    }

    /// Runs a client command with this input.
    pub fn client_with(&self, args: &[&str], input: &[u8]) -> CommandResult {
        run(twintier(args).env("TWINTIER_SERVER", &self.address), input)
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        send(name, self.id());
    }

    /// Waits for the end of the process. Returns its exit code and the time that it took.
    pub fn wait_for_exit(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let ended = self.log.wait(|_, ended| ended.then_some(()));
        assert!(ended.is_some(), "still running after {WAIT_TIMEOUT:?}: {:?}", self.log());
        (self.child.wait().unwrap().code(), begun.elapsed())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn push(&self, line: String) {
        self.lines.lock().unwrap().0.push(line);
        self.news.notify_all();
    }

    fn end(&self) {
        self.lines.lock().unwrap().1 = true;
        self.news.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().0.clone()
    }

    /// Waits until `find` returns a value. `None` if the log has ended, or after the timeout.
    fn wait<T>(&self, mut find: impl FnMut(&[String], bool) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        loop {
            let found = find(&lines.0, lines.1);
            if found.is_some() || lines.1 || begun.elapsed() > WAIT_TIMEOUT {
                return found;
            }
            lines = self.news.wait_timeout(lines, Duration::from_secs(1)).unwrap().0;
        }
    }
}

// === Redis ===

/// A Redis of one test, on a socket in its own directory.
pub struct Redis {
    child: Child,
    directory: TempDir,
}

impl Redis {
    /// Starts an empty Redis.
    pub fn start() -> Redis {
        let directory = tempfile::Builder::new().prefix("twintier-").tempdir().unwrap();
        Redis { child: Redis::spawn(&directory), directory }
    }

    /// Starts an empty Redis in the same place.
    pub fn restart(&mut self) {
        self.kill();
        self.child = Redis::spawn(&self.directory);
    }

    /// Sends a signal by its name. After STOP the process keeps its connections and does not
    /// answer.
    pub fn signal(&self, name: &str) {
        send(name, self.child.id());
    }

    /// Runs a command by redis-cli.
    pub fn cli(&self, args: &[&str]) -> String {
        let ran = run(Command::new("redis-cli").args(["-s", &self.socket()]).args(args), b"").assert_exit(0);
        ran.text().to_owned()
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops the process until `thaw`.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Continues the process.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Path of the socket.
    pub fn socket(&self) -> String {
        self.directory.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    /// URL for the service.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket())
    }

    fn spawn(directory: &TempDir) -> Child {
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
            .arg(directory.path())
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.expect("redis-server cannot be run: run `make test`, which installs it");
        let mut line = String::new();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        while !line.contains("ready to accept connections") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "redis-server ended at once");
        }
        // Another thread drains the rest of the log, so that the process never blocks on it.
        thread::spawn(move || log.read_to_end(&mut Vec::new()));
        child
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
