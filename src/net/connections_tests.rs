//! The table of connections: limits, eviction, peers.

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits { connections: 8, per_peer: 3 };

fn peer(n: u8) -> IpAddr {
    [10, 0, 0, n].into()
}

fn table() -> Arc<Connections> {
    Connections::new(LIMITS)
}

fn admit(table: &Arc<Connections>, peer: IpAddr, activity: Activity) -> ConnectionSlot {
    table.admit(peer, activity).slot.expect("a slot")
}

fn is_evicted(slot: &ConnectionSlot) -> bool {
    assert_eq!(slot.activity().is_none(), slot.evicted.is_cancelled());
    slot.evicted.is_cancelled()
}

#[test]
fn protected_connections_are_limited_for_each_peer_and_in_total() {
    let table = table();
    let mut slots: Vec<_> = (0..3).map(|_| admit(&table, peer(1), Activity::Protected)).collect();
    let refused = table.admit(peer(1), Activity::Waiting);
    assert!(refused.slot.is_none() && refused.reached == Some(ConnectionLimit::Peer));
    for n in [2, 2, 2, 3, 3] {
        let admission = table.admit(peer(n), Activity::Protected);
        assert_eq!(admission.reached, None);
        slots.extend(admission.slot);
    }
    let refused = table.admit(peer(3), Activity::Waiting);
    assert!(refused.slot.is_none() && refused.reached == Some(ConnectionLimit::All));
    slots.remove(0);
    assert!(table.admit(peer(3), Activity::Waiting).slot.is_some());
    drop(slots);
    assert!(table.lock().peers.is_empty() && table.lock().total == 0);
}

#[test]
fn at_its_limit_a_peer_loses_the_connection_that_waits_longest() {
    let table = table();
    let slots: Vec<_> = (0..3).map(|_| admit(&table, peer(1), Activity::Waiting)).collect();
    slots[0].set(Activity::Answering);
    let admission = table.admit(peer(1), Activity::Waiting);
    assert_eq!(admission.reached, Some(ConnectionLimit::Peer));
    assert_eq!(slots.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
    slots[0].set(Activity::Waiting);
    let _second = admit(&table, peer(1), Activity::Answering);
    assert!(!is_evicted(&slots[0]) && is_evicted(&slots[2]));
    drop(slots);
    assert_eq!(table.lock().total, 2);
}

#[test]
fn at_the_total_limit_the_heaviest_peer_loses_a_connection() {
    let table = table();
    let light = [peer(1), peer(2)].map(|peer| admit(&table, peer, Activity::Waiting));
    let heavy: Vec<_> = (0..6).map(|n| admit(&table, peer(3 + n / 3), Activity::Waiting)).collect();
    heavy[0].set(Activity::Answering);
    let new = admit(&table, peer(5), Activity::Waiting);
    assert!(is_evicted(&heavy[1]) && !is_evicted(&heavy[0]) && !light.iter().any(is_evicted));
    // Peer 4 is the heaviest now: it has three connections, peer 3 has two.
    let _other = admit(&table, peer(6), Activity::Waiting);
    assert!(is_evicted(&heavy[3]));
    drop((new, heavy));
}

#[test]
fn a_peer_loses_its_own_connection_if_others_have_no_more() {
    let table = table();
    let slots: Vec<_> = (0..8).map(|n| admit(&table, peer(n / 2), Activity::Waiting)).collect();
    let _new = admit(&table, peer(3), Activity::Waiting);
    assert_eq!(slots.iter().position(is_evicted), Some(6));
}

#[test]
fn protected_connections_do_not_count_for_eviction() {
    let table = table();
    let slots: Vec<_> = (0..8).map(|n| admit(&table, peer(n / 2), Activity::Waiting)).collect();
    (0..2).for_each(|n| slots[n].set(Activity::Protected));
    let _new = admit(&table, peer(0), Activity::Waiting);
    assert_eq!(slots.iter().position(is_evicted), Some(2));
}

#[test]
fn a_peer_is_an_ipv4_address_or_64_bits_of_ipv6() {
    let same = |one: &str, other: &str| {
        let of = |text: &str| PeerKey::of(text.parse().expect("an address"));
        of(one) == of(other)
    };
    assert!(same("10.0.0.1", "::ffff:10.0.0.1"));
    assert!(same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
    assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
    assert!(!same("10.0.0.1", "10.0.0.2"));
}
