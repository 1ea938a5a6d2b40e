//! What one event, or one peer, adds to the log: a line and a count, not a flood.

use serde_json::Value;

use crate::process::{Redis, Serving, until};

const GARBAGE: &str = "bus: a message could not be read; memory is suspect until the next echo";

fn lines(service: &Serving) -> Vec<Value> {
    service.log().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

#[test]
fn garbage_on_the_bus_is_one_line_a_second_and_a_count() {
    const MESSAGES: u64 = 5000;
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    let script = "for n = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', KEYS[1], 'garbage ' .. n) end";
    redis.cli(&["EVAL", script, "1", "twintier:{0}:b", &MESSAGES.to_string()]);
    let own = || lines(&service).iter().filter(|line| line["message"] == GARBAGE).count();
    let counts = || {
        let all = lines(&service).into_iter().filter(|line| line["line"] == GARBAGE);
        all.inspect(|line| {
            assert_eq!((&line["message"], &line["level"]), (&"log lines were left out".into(), &"WARN".into()))
        })
        .map(|line| line["left_out"].as_u64().expect("a number"))
        .collect::<Vec<_>>()
    };
    until("every message is a line, or counted", || own() as u64 + counts().iter().sum::<u64>() == MESSAGES);
    // One in each second of which there is a count, and one more after the last.
    assert!(own() <= 2 * counts().len() + 1, "{} lines, counts {:?}", own(), counts());
    assert!(own() < 100, "{} lines", own());
}

#[test]
fn the_end_of_redis_is_one_warning() {
    let redis = Redis::start();
    let service = Serving::with_redis(&redis, &[]);
    let before = service.log().len();
    redis.signal("KILL");
    service.logged("redis: commands still do not work");
    let warnings: Vec<_> = lines(&service).into_iter().skip(before).filter(|line| line["level"] == "WARN").collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], "redis: commands do not work; answering from memory, refusing writes");
}
