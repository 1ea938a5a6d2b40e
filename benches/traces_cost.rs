//! CPU cost of traces for a Get from memory (`make traces-cost`).
//!
//! Measures four services: without traces, with traces of other Gets only, with traces of one Get
//! in a hundred, and with traces of each Get. All run side by side and are called in turn.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use tokio::runtime::Runtime;
use tonic::transport::Channel;
use twintier::pb;
use twintier::pb::cache_service_client::CacheServiceClient;

const GETS: usize = 40_000;
const ROUNDS: usize = 8;
const CALLERS: usize = 32;

/// A service with its own telemetry variables.
struct Service {
    child: Child,
    client: CacheServiceClient<Channel>,
    /// Clock ticks of each round.
    ticks: Vec<u64>,
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by `cargo bench`");
        return;
    }
    let runtime = Runtime::new().unwrap();
    let (endpoint, ratio) = (sink(), "parentbased_traceidratio");
    let on = |sampler: &'static str, argument: &'static str| {
        let sampling = [("OTEL_TRACES_SAMPLER", sampler.to_owned()), ("OTEL_TRACES_SAMPLER_ARG", argument.to_owned())];
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.clone())].into_iter().chain(sampling).collect()
    };
    let kinds: [(&str, Vec<(&str, String)>); 5] = [
        ("off", vec![]),
        ("off, again", vec![]),
        ("on, none of them", on(ratio, "0")),
        ("on, one in a hundred", on(ratio, "0.01")),
        ("on, each", on("parentbased_always_on", "")),
    ];
    let mut services: Vec<Service> = kinds.iter().map(|(_, variables)| Service::start(&runtime, variables)).collect();
    for _ in 0..ROUNDS {
        services.iter_mut().for_each(|service| service.round(&runtime));
    }
    let cost = |service: &Service| service.median() as f64 * 1e6 / ticks_a_second() / GETS as f64;
    let off = cost(&services[0]);
    println!("| traces | µs of processor a Get | of off |\n|---|---|---|");
    for ((kind, _), service) in kinds.iter().zip(&services) {
        println!("| {kind} | {:.1} | {:.2} |", cost(service), cost(service) / off);
    }
    services.iter_mut().for_each(|service| _ = service.child.kill().and_then(|()| service.child.wait().map(|_| ())));
}

impl Service {
    fn start(runtime: &Runtime, variables: &[(&str, String)]) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twintier"));
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value))).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("twintier serves")).unwrap();
        let port: String = line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        thread::spawn(move || log.for_each(drop));
        let mut client = runtime.block_on(CacheServiceClient::connect(format!("http://127.0.0.1:{port}"))).unwrap();
        let content = Some(pb::set_request::Content::Value(vec![b'x'; 100].into()));
        let set = pb::SetRequest { key: "key".to_owned(), content, ..Default::default() };
        runtime.block_on(client.set(set)).unwrap();
        Service { child, client, ticks: Vec::new() }
    }

    fn round(&mut self, runtime: &Runtime) {
        let before = self.cpu_ticks();
        runtime.block_on(async {
            let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(gets(self.client.clone()))).collect();
            for caller in callers {
                caller.await.unwrap();
            }
        });
        self.ticks.push(self.cpu_ticks() - before);
    }

    /// Clock ticks of this process so far.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        [11, 12].iter().map(|index| fields[*index].parse::<u64>().unwrap()).sum()
    }

    fn median(&self) -> u64 {
        let mut ticks = self.ticks.clone();
        ticks.sort_unstable();
        ticks[ticks.len() / 2]
    }
}

async fn gets(mut client: CacheServiceClient<Channel>) {
    for _ in 0..GETS / CALLERS {
        client.get(pb::GetRequest { key: "key".to_owned(), ..Default::default() }).await.unwrap();
    }
}

fn ticks_a_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Starts a collector that discards everything.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener.incoming().map_while(Result::ok).for_each(|stream| _ = thread::spawn(|| discard(stream)))
    });
    format!("http://{address}/v1/traces")
}

fn discard(stream: TcpStream) {
    let mut requests = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while requests.read_line(&mut line).unwrap_or(0) > 0 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            requests.read_exact(&mut vec![0; length]).unwrap();
            requests.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
        line.clear();
    }
}
