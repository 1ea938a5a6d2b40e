//! ExportEntries: what it finds, what it leaves out, and how it continues.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tonic::Status;
use twintier::pb;
use twintier::pb::admin_service_client::AdminServiceClient;
use twintier::pb::exported_entry::Content;

use crate::harness::{
    Cluster, Mode, Redis, Refusal as _, Replica, SHORT_BOUND, Wire, eventually, in_both_modes, set_request,
    whole_namespace,
};

in_both_modes! {
    every_live_entry_is_exported_with_its_facts,
    namespaces_and_prefixes_select_entries,
    entries_that_no_get_would_answer_are_left_out,
    an_export_counts_no_gets_and_extends_no_life,
    an_export_continues_from_each_of_its_cursors,
    large_entries_come_in_several_messages,
    invalid_exports_are_refused_by_field,
}

fn of(namespaces: &[&str]) -> pb::ExportEntriesRequest {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    pb::ExportEntriesRequest { namespaces, ..Default::default() }
}

/// Makes one call, and returns its responses.
async fn call(replica: &Replica, request: pb::ExportEntriesRequest) -> Result<Vec<pb::ExportEntriesResponse>, Status> {
    let mut stream = replica.admin().export_entries(request).await?.into_inner();
    let mut responses = Vec::new();
    while let Some(response) = stream.message().await? {
        responses.push(response);
    }
    Ok(responses)
}

/// Calls until the export is complete. Returns all responses.
async fn export(replica: &Replica, mut request: pb::ExportEntriesRequest) -> Vec<pb::ExportEntriesResponse> {
    let mut responses = Vec::new();
    loop {
        responses.extend(call(replica, request.clone()).await.unwrap());
        let last: &pb::ExportEntriesResponse = responses.last().unwrap();
        if last.complete {
            return responses;
        }
        request.cursor = last.cursor.clone();
    }
}

/// Returns the exported entries by namespace and key.
async fn exported(
    replica: &Replica,
    request: pb::ExportEntriesRequest,
) -> BTreeMap<(String, String), pb::ExportedEntry> {
    let entries = export(replica, request).await.into_iter().flat_map(|response| response.entries);
    entries.map(|entry| ((entry.namespace.clone(), entry.key.clone()), entry)).collect()
}

async fn keys(replica: &Replica, request: pb::ExportEntriesRequest) -> Vec<String> {
    exported(replica, request).await.into_keys().map(|(namespace, key)| format!("{namespace}/{key}")).collect()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn every_live_entry_is_exported_with_its_facts(mode: Mode) {
    let replica = mode.replica(&[("cache.allow_no_expiry", "true")]).await;
    let set = pb::SetRequest {
        content_type: "text/plain".into(),
        expiry: seconds(200).map(pb::set_request::Expiry::Ttl),
        soft_ttl: seconds(100),
        tags: vec!["a".into(), "b".into()],
        source_version: Some(7),
        ..set_request("full", "value")
    };
    let version = replica.store(set).await.unwrap().version;
    let absent = pb::set_request::Content::KnownAbsent(pb::KnownAbsent {});
    let expiry = Some(pb::set_request::Expiry::NoExpiry(pb::NoExpiry {}));
    replica.store(pb::SetRequest { content: Some(absent), expiry, ..set_request("absent", "") }).await.unwrap();
    let sliding = pb::Sliding { idle: seconds(60), max_ttl: seconds(600) };
    let expiry = Some(pb::set_request::Expiry::Sliding(sliding));
    replica.store(pb::SetRequest { expiry, ..set_request("sliding", "v") }).await.unwrap();

    let found = exported(&replica, of(&["default"])).await;
    let of_key = |key: &str| &found[&("default".to_owned(), key.to_owned())];
    let whole = |wire: Option<prost_types::Duration>| wire.unwrap().seconds;
    let full = of_key("full");
    assert_eq!((&full.version, full.content_type.as_str()), (&version, "text/plain"));
    assert_eq!(full.content, Some(Content::Value("value".into())));
    assert!((100..=200).contains(&whole(full.ttl)) && (1..=100).contains(&whole(full.soft_ttl)), "{full:?}");
    assert_eq!((full.tags.as_slice(), full.source_version), (&["a".to_owned(), "b".to_owned()][..], Some(7)));
    let absent = of_key("absent");
    assert_eq!((&absent.content, absent.ttl), (&Some(Content::KnownAbsent(pb::KnownAbsent {})), None));
    let sliding = of_key("sliding").sliding.unwrap();
    assert_eq!(sliding.idle, seconds(60));
    assert!((300..=600).contains(&whole(sliding.max_ttl)), "{sliding:?}");
    assert_eq!(found.len(), 3);
}

async fn namespaces_and_prefixes_select_entries(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for (namespace, key) in [("a", "user:1"), ("a", "user:12"), ("a", "user:1:x"), ("b", "user:1"), ("c", "k")] {
        replica.set_in(namespace, key, "v").await;
    }
    assert_eq!(keys(&replica, of(&["a"])).await, ["a/user:1", "a/user:12", "a/user:1:x"]);
    assert_eq!(keys(&replica, of(&["b", "c"])).await, ["b/user:1", "c/k"]);
    assert_eq!(keys(&replica, of(&[])).await.len(), 5);
    let below = |names: &[&str]| pb::ExportEntriesRequest { prefix: "user:1".into(), ..of(names) };
    assert_eq!(keys(&replica, below(&["a"])).await, ["a/user:1", "a/user:1:x"]);
    assert_eq!(keys(&replica, below(&[])).await, ["a/user:1", "a/user:1:x", "b/user:1"]);
    assert_eq!(keys(&replica, of(&["unknown"])).await, [""; 0]);
}

async fn entries_that_no_get_would_answer_are_left_out(mode: Mode) {
    let replica = mode.replica(&[("cache.stale_window", "10m")]).await;
    for key in ["live", "removed", "marked", "tagged"] {
        let tags = if key == "tagged" { vec!["t".to_owned()] } else { Vec::new() };
        replica.store(pb::SetRequest { tags, ..set_request(key, "v") }).await.unwrap();
    }
    let expiry = Some(pb::set_request::Expiry::Ttl(prost_types::Duration { seconds: 0, nanos: 1_000_000 }));
    replica.store(pb::SetRequest { expiry, ..set_request("expired", "v") }).await.unwrap();
    replica.invalidate("removed").await;
    let key = |key: &str| Some(pb::invalidate_request::Selector::Key(key.into()));
    let mark =
        pb::InvalidateRequest { selector: key("marked"), mode: pb::Mode::MarkStale.into(), ..Default::default() };
    replica.remove(mark).await.unwrap();
    let tags = pb::invalidate_request::Selector::Tags(pb::Tags { tags: vec!["t".into()] });
    replica.remove(pb::InvalidateRequest { selector: Some(tags), ..Default::default() }).await.unwrap();
    eventually("the entry has expired", async || keys(&replica, of(&["default"])).await == ["default/live"]).await;
    let skipped: u64 = export(&replica, of(&["default"])).await.iter().map(|response| response.skipped).sum();
    assert!(skipped >= 2, "the marked and the expired entry are kept: {skipped}");

    let off = pb::Policy { enabled: Some(false), ..Default::default() };
    let change = pb::SetPolicyRequest { namespace: "default".into(), policy: Some(off) };
    replica.admin().set_policy(change).await.unwrap();
    assert_eq!(keys(&replica, of(&["default"])).await, [""; 0], "the namespace is switched off");
    replica.remove(whole_namespace("default")).await.unwrap();
}

async fn an_export_counts_no_gets_and_extends_no_life(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let sliding = pb::Sliding { idle: seconds(60), max_ttl: None };
    let expiry = Some(pb::set_request::Expiry::Sliding(sliding));
    replica.store(pb::SetRequest { expiry, ..set_request("sliding", "v") }).await.unwrap();
    let before = replica.counts("default").await;
    let ttl = |found: &BTreeMap<_, pb::ExportedEntry>| {
        let ttl = found.values().next().unwrap().ttl.unwrap();
        Duration::new(ttl.seconds as u64, ttl.nanos as u32)
    };
    let first = ttl(&exported(&replica, of(&[])).await);
    let second = ttl(&exported(&replica, of(&[])).await);
    assert!(second <= first, "{second:?} after {first:?}");
    let after = replica.counts("default").await;
    assert_eq!((after.l1_hits, after.l2_hits, after.misses), (before.l1_hits, before.l2_hits, before.misses));
}

async fn an_export_continues_from_each_of_its_cursors(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let value = "v".repeat(10_000);
    let all: BTreeSet<String> = (0..400).map(|n| format!("k{n}")).collect();
    for key in &all {
        replica.set(key, &value).await;
    }
    let responses = export(&replica, of(&["default"])).await;
    assert!(responses.len() > 1, "400 entries of 10 KB need several messages");
    let mut seen = BTreeSet::new();
    for response in responses {
        seen.extend(response.entries.into_iter().map(|entry| entry.key));
        let rest = exported(&replica, pb::ExportEntriesRequest { cursor: response.cursor, ..of(&["default"]) }).await;
        let both: BTreeSet<String> = rest.into_keys().map(|(_, key)| key).chain(seen.iter().cloned()).collect();
        assert_eq!(both, all, "nothing is between what was sent and what comes after its cursor");
    }
}

async fn large_entries_come_in_several_messages(mode: Mode) {
    let replica = mode.replica(&[]).await;
    for n in 0..12 {
        replica.set(&format!("k{n}"), &n.to_string().repeat(300_000)).await;
    }
    let responses = export(&replica, of(&["default"])).await;
    let entries: Vec<_> = responses.iter().flat_map(|response| &response.entries).collect();
    let keys: BTreeSet<_> = entries.iter().map(|entry| &entry.key).collect();
    assert_eq!(keys.len(), 12);
    for entry in entries {
        let Some(Content::Value(value)) = &entry.content else { panic!("{}", entry.key) };
        assert_eq!(value.as_ref(), entry.key[1..].repeat(300_000).as_bytes());
    }
    let size = |response: &pb::ExportEntriesResponse| prost::Message::encoded_len(response);
    assert!(responses.iter().all(|response| size(response) < 3 << 19), "{:?}", responses.iter().map(size).max());
}

async fn invalid_exports_are_refused_by_field(mode: Mode) {
    let replica = mode.replica(&[]).await;
    let (namespaces, cursor) = (vec!["No!".to_owned()], "x".to_owned());
    let request = pb::ExportEntriesRequest { namespaces, prefix: ":".into(), cursor };
    let refused = call(&replica, request).await.unwrap_err();
    refused.assert_violations(&[
        ("namespaces[0]", "No!"),
        ("prefix", "must have 1 to 16 segments"),
        ("cursor", "must be the cursor of an earlier response; was \"x\""),
    ]);
    let request = pb::ExportEntriesRequest { namespaces: vec!["n".into(); 300], ..Default::default() };
    let refused = call(&replica, request).await.unwrap_err();
    refused.assert_violations(&[("namespaces", "must be at most 256 namespaces; was 300 namespaces")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_scans_every_primary_of_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let replica = Replica::connected_to(&cluster.url(), &[]).await;
    replica.wait_until_proven().await;
    let all: BTreeSet<String> = (0..200).map(|n| format!("default/k{n}")).collect();
    for n in 0..200 {
        replica.set(&format!("k{n}"), "v").await;
    }
    assert_eq!(keys(&replica, of(&["default"])).await.into_iter().collect::<BTreeSet<_>>(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_valid_at_another_replica_until_redis_restarts() {
    let mut redis = Redis::start().await;
    let (one, other) = (Replica::on(&redis, &[]).await, Replica::on(&redis, &[]).await);
    let value = "v".repeat(10_000);
    for n in 0..400 {
        one.set(&format!("k{n}"), &value).await;
    }
    let mut stream = one.admin().export_entries(of(&["default"])).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    drop(stream);
    assert!(!first.complete && first.entries.len() < 400, "{} entries", first.entries.len());
    let from = |cursor: &str| pb::ExportEntriesRequest { cursor: cursor.to_owned(), ..of(&["default"]) };
    let rest = export(&other, from(&first.cursor)).await;
    assert!(rest.iter().all(|response| !response.restarted));
    let keys = |responses: &[pb::ExportEntriesResponse]| -> BTreeSet<String> {
        responses.iter().flat_map(|response| &response.entries).map(|entry| entry.key.clone()).collect()
    };
    assert_eq!(keys(&[vec![first.clone()], rest].concat()).len(), 400);

    redis.kill9();
    redis.restart().await;
    eventually("the replica has met the new server", async || {
        call(&other, from(&first.cursor)).await.is_ok_and(|responses| responses.iter().any(|one| one.restarted))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_with_a_cursor_when_its_connection_is_renewed() {
    let redis = Redis::start().await;
    // Slices of eight entries, until their sizes are known.
    let renewed = [("server.max_connection_age", "1s"), ("server.max_bytes_in_flight", "16MiB")];
    let (one, other) = (Replica::on(&redis, &[]).await, Replica::on(&redis, &renewed).await);
    let value = "v".repeat(300_000);
    for n in 0..60 {
        one.set(&format!("k{n}"), &value).await;
    }
    let wire = Wire::connect(other.address).await;
    let mut stream = AdminServiceClient::new(wire.clone()).export_entries(of(&["default"])).await.unwrap().into_inner();
    let mut responses = vec![stream.message().await.unwrap().unwrap()];
    // The server cannot send more than the windows of the connection before they are read.
    let get = || pb::GetRequest { key: "k0".into(), metadata_only: true, ..Default::default() };
    eventually("the connection takes no new call", async || wire.client().get(get()).await.is_err()).await;
    while let Some(response) = stream.message().await.unwrap() {
        responses.push(response);
    }
    let last = responses.last().unwrap().clone();
    assert!(!last.complete, "the call ends before the export does");
    responses.extend(export(&one, pb::ExportEntriesRequest { cursor: last.cursor, ..of(&["default"]) }).await);
    let keys: BTreeSet<_> = responses.iter().flat_map(|response| &response.entries).map(|entry| &entry.key).collect();
    assert_eq!(keys.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_ends_with_an_error_while_redis_is_away() {
    let redis = Redis::start().await;
    let replica = Replica::on(&redis, SHORT_BOUND).await;
    replica.set("k", "v").await;
    redis.freeze();
    eventually("the export fails", async || {
        call(&replica, of(&["default"])).await.is_err_and(|status| status.code() == tonic::Code::Unavailable)
    })
    .await;
    redis.thaw();
    eventually("the export works again", async || {
        call(&replica, of(&["default"]))
            .await
            .is_ok_and(|responses| responses.iter().any(|one| !one.entries.is_empty()))
    })
    .await;
}
