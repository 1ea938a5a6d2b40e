//! Admission: limits and shares of connections and peers.

use std::net::Ipv4Addr;

use super::*;

fn load(requests: usize, peer_share: f64) -> Arc<Admission> {
    let limits =
        AdmissionLimits { requests, bytes: 1 << 20, probes: 8, watches: 8, connections: 8, waiting: 8, peer_share };
    Arc::new(Admission::new(limits))
}

fn peer(last: u8) -> IpAddr {
    IpAddr::from(Ipv4Addr::new(10, 0, 0, last))
}

/// Admits requests of `account` until one is refused.
fn fill(account: &Arc<Account>) -> Vec<RequestPermit> {
    std::iter::from_fn(|| account.admit(Resource::Requests).ok()).collect()
}

#[test]
fn small_limits_can_be_used_up_by_one_connection() {
    for limit in [1, 2] {
        assert_eq!(fill(&load(limit, 0.8).account(peer(1))).len(), limit);
    }
}

#[test]
fn greedy_connections_leave_room_for_one_more() {
    let load = load(1024, 0.8);
    let accounts: Vec<_> = (0..4).map(|_| load.account(peer(1))).collect();
    let mut held = Vec::new();
    // In turns, so that each gets as much as it can.
    for _ in 0..1024 {
        held.extend(accounts.iter().filter_map(|account| account.admit(Resource::Requests).ok()));
    }
    assert!(held.len() > 600, "most can be used: {}", held.len());
    assert!(fill(&load.account(peer(1))).len() > 20, "another connection of the same peer");
    assert!(fill(&load.account(peer(2))).len() > 50, "a connection of another peer");
}

#[test]
fn a_peer_with_many_connections_leaves_room_for_other_peers() {
    let load = load(1000, 0.8);
    let accounts: Vec<_> = (0..2000).map(|_| load.account(peer(1))).collect();
    let held: Vec<_> = accounts.iter().flat_map(fill).collect();
    assert!((750..=801).contains(&held.len()), "{}", held.len());
    let error = load.account(peer(1)).admit(Resource::Requests).err().expect("refused");
    assert!(error.to_string().contains("share of this address in the requests in flight"), "{error}");
    assert!(fill(&load.account(peer(2))).len() > 50);
    assert!(load.shed() > 0);
}

#[test]
fn peers_are_not_told_apart_where_one_may_have_all() {
    let load = load(100, 1.0);
    let accounts: Vec<_> = (0..200).map(|_| load.account(peer(1))).collect();
    let held: Vec<_> = accounts.iter().filter_map(|account| account.admit(Resource::Requests).ok()).collect();
    assert_eq!(held.len(), 100);
}

#[test]
fn a_connection_that_has_its_share_of_bytes_may_still_make_small_calls() {
    let load = load(8, 0.8);
    let account = load.account(peer(1));
    let held: Vec<_> = std::iter::from_fn(|| account.try_take(Resource::Bytes, 40 << 10)).collect();
    assert!((5..10).contains(&held.len()), "{}", held.len());
    assert_eq!(load.shed(), 0);
    let mut small = account.take(Resource::Bytes, 1 << 10).expect("small");
    small.grow(30 << 10).expect("still small");
    let error = small.grow(2 << 10).expect_err("large");
    assert!(error.to_string().contains("share of this connection in the bytes in flight"), "{error}");
    assert_eq!(load.shed(), 1);
}

#[test]
fn what_is_given_back_can_be_taken_again_and_peers_are_forgotten() {
    let load = load(4, 0.8);
    let account = load.account(peer(1));
    let permit = account.admit(Resource::Requests).expect("room");
    assert_eq!(load.in_flight(), 1);
    let mut taken = account.take(Resource::Bytes, 100).expect("room");
    taken.grow(50).expect("room");
    assert!(taken.grow(1 << 21).is_err());
    assert_eq!(load.bytes(), 150);
    drop((permit, taken, account));
    assert_eq!((load.in_flight(), load.bytes()), (0, 0));
    assert!(load.peers.is_empty());
}
