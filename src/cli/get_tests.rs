use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    get: GetArgs,
}

fn parse(args: &[&str]) -> Result<GetArgs, clap::Error> {
    Line::try_parse_from([&["get"], args].concat()).map(|line| line.get)
}

fn args(args: &[&str]) -> GetArgs {
    parse(args).expect("valid arguments")
}

fn hit(value: &'static [u8]) -> pb::GetResponse {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let entry = pb::EntryInfo {
        version: "v7".to_owned(),
        age: seconds(2),
        ttl: seconds(298),
        tier: pb::Tier::L1.into(),
        ..pb::EntryInfo::default()
    };
    let hit = pb::Hit { value: value.into(), content_type: "text/plain".to_owned(), entry: Some(entry) };
    pb::GetResponse { result: Some(Found::Hit(hit)), token: "t1".to_owned(), ..pb::GetResponse::default() }
}

fn miss() -> pb::GetResponse {
    let miss = pb::Miss { reason: pb::MissReason::TokenNotReached.into() };
    pb::GetResponse { result: Some(Found::Miss(miss)), token: "t1".to_owned(), degraded: true, lease: None }
}

#[test]
fn a_program_gets_the_exact_bytes() {
    assert_eq!(args(&["k"]).answer(&hit(b"\x00\xff"), false), Output { out: b"\x00\xff".into(), ..Output::default() });
    assert_eq!(args(&["k", "--raw"]).answer(&hit(b"\x00"), true).out, b"\x00");
}

#[test]
fn a_person_gets_text_and_what_is_known_about_it() {
    let answer = args(&["k"]).answer(&hit(b"value"), true);
    assert_eq!(answer.out, b"value\n");
    assert_eq!(
        answer.notes,
        "result   hit\ntier     l1\nage      2 s\nttl      4m 58s\nversion  v7\ntype     text/plain\ntoken    t1\n"
    );
    assert_eq!(args(&["k", "-q"]).answer(&hit(b"value"), true).notes, "");
}

#[test]
fn a_miss_and_an_empty_value_have_different_exit_codes() {
    assert_eq!((args(&["k"]).answer(&hit(b""), false).exit, args(&["k"]).answer(&miss(), false).exit), (0, 1));
    assert_eq!(args(&["k"]).answer(&miss(), false).notes, "miss: token_not_reached\n");
    assert_eq!(args(&["k", "-q"]).answer(&miss(), false), Output { exit: 1, ..Output::default() });
}

#[test]
fn metadata_takes_the_place_of_the_value() {
    let get = args(&["k", "--metadata"]);
    assert!(get.request().metadata_only);
    let answer = get.answer(&hit(b""), false);
    assert!(answer.out.starts_with(b"result   hit\n") && answer.notes.is_empty());
    let json = Value::Object(document(&hit(b""), true));
    assert_eq!((json.get("value"), &json["version"]), (None, &json!("v7")));
}

#[test]
fn json_says_everything() {
    assert_eq!(
        Value::Object(document(&hit(b"value"), false)),
        json!({
            "result": "hit", "value": "value", "content_type": "text/plain", "tier": "l1", "age_seconds": 2.0,
            "ttl_seconds": 298.0, "refresh_due": false, "version": "v7", "source_version": null, "stale": null,
            "degraded": false, "token": "t1",
        })
    );
    assert_eq!(
        Value::Object(document(&miss(), false)),
        json!({ "result": "miss", "reason": "token_not_reached", "degraded": true, "token": "t1" })
    );
}

#[test]
fn a_negative_entry_is_no_hit_but_has_facts() {
    let Some(Found::Hit(hit)) = hit(b"").result else { panic!("a hit") };
    let stale = pb::Stale { reason: pb::StaleReason::Expired.into(), staleness: None };
    let entry = hit.entry.map(|entry| pb::EntryInfo { stale: Some(stale), ..entry });
    let response = pb::GetResponse { result: Some(Found::NegativeHit(pb::NegativeHit { entry })), ..miss() };
    let answer = args(&["k"]).answer(&response, true);
    assert_eq!((answer.exit, answer.out), (1, Vec::new()));
    assert!(answer.notes.contains("stale     expired, by at most -\n"), "{}", answer.notes);
}

#[test]
fn arguments_become_the_request() {
    let request = args(&["k", "-n", "ns", "--max-staleness", "100ms", "--token", "a", "--token", "b"]).request();
    assert_eq!((request.namespace.as_str(), request.key.as_str()), ("ns", "k"));
    assert_eq!(request.max_staleness, Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }));
    assert_eq!(request.tokens, ["a", "b"]);
    assert_eq!(args(&["k", "--strong"]).request().consistency(), pb::Consistency::Strong);
}

#[test]
fn a_lease_is_asked_for_and_shown() {
    assert_eq!(args(&["k"]).request().lease, None);
    let options = args(&["k", "--lease", "--lease-duration", "5s", "--no-wait"]).request().lease.expect("asked for");
    assert_eq!(options.duration, Some(prost_types::Duration { seconds: 5, nanos: 0 }));
    assert_eq!(options.wait(), pb::LeaseWait::None);
    let get = args(&["k", "--lease", "--stale-if-error"]);
    assert!(get.request().stale_if_error);
    assert_eq!(get.request().lease.expect("asked for").wait(), pb::LeaseWait::UntilDeadline);
    let duration = Some(prost_types::Duration { seconds: 9, nanos: 0 });
    let response = pb::GetResponse { lease: Some(pb::Lease { id: "1f".to_owned(), duration }), ..miss() };
    assert_eq!(get.answer(&response, false).notes, "miss: token_not_reached\nlease 1f for 9 s\n");
    assert!(get.answer(&response, true).notes.contains("lease     1f for 9 s\n"));
    assert_eq!(Value::Object(document(&response, false))["lease"], json!({ "id": "1f", "duration_seconds": 9.0 }));
    for bad in [&["k", "--no-wait"][..], &["k", "--lease", "--strong"], &["k", "--lease", "--metadata"]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn contradictions_are_refused() {
    assert!(parse(&["k", "--strong", "--max-staleness", "1s"]).is_err());
    assert!(parse(&["k", "--metadata", "--raw"]).is_err());
    assert!(parse(&[]).is_err());
}
