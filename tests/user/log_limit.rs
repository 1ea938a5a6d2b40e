//! Rate limit of the log: one event or peer adds a line and a count.

use serde_json::Value;

use crate::process::{Redis, Serving, wait_until};

const GARBAGE: &str = "bus: a message could not be read; memory is suspect until the next echo";

fn lines(service: &Serving) -> Vec<Value> {
    service.log().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

#[test]
fn garbage_on_the_bus_causes_one_line_a_minute() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    // The last message is of another deployment: when it is counted, all before it were handled.
    let script = "for n = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', KEYS[1], 'garbage ' .. n) end
        redis.call('PUBLISH', KEYS[1], struct.pack('>BBI2I8I8I8I8I8', 1, 1, 0, 4711, 0, 1000, 1, 0) .. '\\1\\7default\\0\\1x\\0\\0')";
    redis.cli(&["EVAL", script, "1", "twintier:{0}:b", "5000"]);
    wait_until("every message is handled", || {
        service.client(&["stats", "-o", "json"]).assert_exit(0).json()["redis"]["foreign_messages"] == 1
    });
    let own: Vec<_> = lines(&service).into_iter().filter(|line| line["message"] == GARBAGE).collect();
    assert_eq!((own.len(), &own[0]["channel"]), (1, &"twintier:{0}:b".into()), "{own:?}");
}

#[test]
fn an_outage_of_redis_causes_one_warning() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    let before = service.log().len();
    redis.signal("KILL");
    service.wait_for_log("redis: commands still do not work");
    let warnings: Vec<_> = lines(&service).into_iter().skip(before).filter(|line| line["level"] == "WARN").collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], "redis: commands do not work; answering from memory, refusing writes");
}

/// Lines of the log at this level that start with `beginning`.
fn warnings(service: &Serving, beginning: &str) -> Vec<Value> {
    let begins = |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with(beginning));
    lines(service).into_iter().filter(|line| line["level"] == "WARN" && begins(line)).collect()
}

#[test]
fn another_deployment_on_the_channels_causes_one_detailed_warning() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    // A message about a key, in an epoch that ended long ago.
    let script =
        "local change = struct.pack('>BBI2I8I8I8I8I8', 1, 1, 3, 4711, 0, 1000, 1, 0) .. '\\1\\7default\\0\\1x\\0\\0'
        for n = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', KEYS[1], change) end";
    redis.cli(&["EVAL", script, "1", "twintier:{3}:b", "500"]);
    wait_until("every message is counted", || {
        service.client(&["stats", "-o", "json"]).assert_exit(0).json()["redis"]["foreign_messages"] == 500
    });
    let warnings = warnings(&service, "bus: another deployment");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["channel"], "twintier:{3}:b");
    let text = warnings[0]["message"].as_str().unwrap();
    assert!(text.contains("redis.prefix") && text.contains("redis.url"), "{text}");
}

#[test]
fn a_missing_right_to_memory_usage_causes_one_warning() {
    let redis = Redis::start();
    redis.cli(&["ACL", "SETUSER", "default", "-memory|usage"]);
    let service = Serving::with_redis(&redis, &["--set", "redis.namespace_sampling=1s"]);
    service.client(&["set", "k", "v"]).assert_exit(0);
    let scans = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls=")).map(str::to_owned);
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    wait_until("the namespace was sampled again", || scans() >= 3);
    let warnings = warnings(&service, "redis: MEMORY USAGE is refused");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let why = warnings[0]["why"].as_str().unwrap();
    assert!(why.contains("NOPERM") && why.contains("docs/redis.md"), "{why}");
}
