//! Invalidation by events that the configuration maps to selectors.

use std::collections::HashMap;

use twintier::pb;
use twintier::pb::invalidate_request::Selector;

use super::{prefix, select};
use crate::harness::{Answer as _, Mode, Refusal as _, Replica, in_both_modes, set_request};

in_both_modes! {
    an_event_invalidates_its_mapped_selectors,
    an_invalid_event_is_refused_with_its_violations,
}

const GOAL_CHANGED: (&str, &str) = (
    "events.goal_changed",
    r#"[{"namespace": "goals", "keys": ["goal:{id}"], "tags": ["user:{user}"]},
        {"namespace": "pages", "prefixes": ["goal:{id}"], "patterns": ["*:of:{user}"], "mode": "mark_stale"}]"#,
);

fn event(name: &str, parameters: &[(&str, &str)]) -> pb::InvalidateRequest {
    let parameters: HashMap<_, _> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    select(Selector::Event(pb::Event { name: name.to_owned(), parameters }))
}

async fn start(mode: &Mode) -> Replica {
    mode.replica(&[GOAL_CHANGED, ("namespaces.pages.stale_window", "1h")]).await
}

async fn an_event_invalidates_its_mapped_selectors(mode: Mode) {
    let replica = start(&mode).await;
    let store = async |namespace: &str, key: &str, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let request = pb::SetRequest { namespace: namespace.into(), tags, ..set_request(key, "v") };
        replica.store(request).await.unwrap();
    };
    store("goals", "goal:7", &[]).await;
    store("goals", "goal:8", &["user:4*"]).await;
    store("goals", "goal:9", &["user:42"]).await;
    store("pages", "goal:7/edit", &[]).await;
    store("pages", "goal:70", &[]).await;
    store("pages", "list:of:4*", &[]).await;
    store("pages", "list:of:42", &[]).await;
    let answer = replica.remove(event("goal_changed", &[("id", "7"), ("user", "4*")])).await.unwrap();
    assert_eq!(
        answer.applied,
        [
            "goals: key goal:7",
            "goals: tag user:4*",
            "pages: prefix goal:7, marked stale",
            "pages: pattern *:of:4\\*, marked stale",
        ]
    );
    assert!(answer.removed.is_none() && !answer.token.is_empty());
    let has = async |namespace: &str, key: &str| replica.get_from(namespace, key).await.miss().is_none();
    assert!(!has("goals", "goal:7").await && !has("goals", "goal:8").await && has("goals", "goal:9").await);
    assert!(!has("pages", "goal:7/edit").await && has("pages", "goal:70").await);
    assert!(!has("pages", "list:of:4*").await && has("pages", "list:of:42").await, "a parameter is no wildcard");
    let welcome = pb::GetRequest {
        namespace: "pages".into(),
        key: "goal:7/edit".into(),
        max_staleness: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        ..Default::default()
    };
    assert!(replica.try_get(welcome).await.unwrap().stale().is_some());
}

async fn an_invalid_event_is_refused_with_its_violations(mode: Mode) {
    let replica = start(&mode).await;
    let refused = async |request: pb::InvalidateRequest| replica.remove(request).await.unwrap_err();
    refused(event("other", &[])).await.assert_violations(&[("event.name", "was \"other\"")]);
    refused(event("goal_changed", &[("id", "7"), ("user", "1"), ("more", "x")]))
        .await
        .assert_violations(&[("event.parameters[\"more\"]", "is not a parameter")]);
    let missing = refused(event("goal_changed", &[("id", "")])).await;
    missing.assert_violations(&[
        ("event.parameters[\"user\"]", "must be given"),
        ("event.parameters[\"id\"]", "must not be empty"),
    ]);
    let named =
        pb::InvalidateRequest { namespace: "goals".into(), ..event("goal_changed", &[("id", "7"), ("user", "1")]) };
    refused(named).await.assert_violations(&[("namespace", "must be empty with event")]);
    let many = "u".repeat(200);
    refused(event("goal_changed", &[("id", "7"), ("user", &many)]))
        .await
        .assert_violations(&[("event", "at most 128 bytes")]);
    assert_eq!(replica.remove(prefix("x")).await.unwrap().applied, [""; 0]);
}
