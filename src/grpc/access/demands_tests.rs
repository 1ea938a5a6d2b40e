//! Demands of requests, in their less common forms.

use super::*;

fn demand<'a>(verb: Verb, namespace: &'a str, names: Names<'a>) -> Demand<'a> {
    Demand { verb, place: Place::Namespace(namespace), names }
}

#[test]
fn a_lease_needs_the_right_to_write() {
    let get = pb::GetRequest { namespace: "n".into(), key: "k".into(), ..Default::default() };
    assert_eq!(get.ask(), Ask::All(vec![Demand::key(Verb::Read, "n", b"k")]));
    let leases = pb::GetRequest { lease: Some(Default::default()), ..get };
    assert_eq!(leases.ask(), Ask::All([Verb::Read, Verb::Write].map(|verb| Demand::key(verb, "n", b"k")).to_vec()));
}

#[test]
fn an_invalidation_needs_all_that_it_selects() {
    let of =
        |selector: Option<Selector>| pb::InvalidateRequest { namespace: "n".into(), selector, ..Default::default() };
    let tags = pb::Tags { tags: vec!["t".into()] };
    for (selector, names) in [
        (Some(Selector::Key("k".into())), Names::Key(b"k")),
        (Some(Selector::Keys(pb::Keys { keys: vec!["a".into(), "b".into()] })), Names::Keys([&b"a"[..], b"b"].into())),
        (Some(Selector::Prefix("user:1".into())), Names::Prefix(b"user:1")),
        (Some(Selector::Prefix("user:".into())), Names::Prefix(b"user")),
        (Some(Selector::Prefix(String::new())), Names::Whole),
        (Some(Selector::Pattern("user:*".into())), Names::Whole),
        (Some(Selector::Tags(tags)), Names::Whole),
        (Some(Selector::WholeNamespace(pb::WholeNamespace {})), Names::Whole),
        (None, Names::Whole),
    ] {
        assert_eq!(of(selector.clone()).ask(), Ask::All(vec![demand(Verb::Invalidate, "n", names)]), "{selector:?}");
    }
    let event = pb::Event { name: "e".into(), ..Default::default() };
    assert_eq!(of(Some(Selector::Event(event))).ask(), Ask::Event("e"));
}

#[test]
fn an_invalidation_in_several_namespaces_needs_each_of_them() {
    let key = Some(Selector::Key("k".into()));
    let several =
        pb::InvalidateRequest { namespaces: vec!["a".into(), "b".into()], selector: key, ..Default::default() };
    let in_namespace = |name| demand(Verb::Invalidate, name, Names::Key(b"k"));
    assert_eq!(several.ask(), Ask::All(vec![in_namespace("a"), in_namespace("b")]));
    let with_one = pb::InvalidateRequest { namespace: "c".into(), ..several.clone() };
    assert_eq!(with_one.ask(), Ask::All(vec![in_namespace("c"), in_namespace("a"), in_namespace("b")]));
    let everywhere = pb::InvalidateRequest { all_namespaces: true, ..several };
    let demand = Demand { verb: Verb::Invalidate, place: Place::Everywhere, names: Names::Key(b"k") };
    assert_eq!(everywhere.ask(), Ask::All(vec![demand]));
}

#[test]
fn many_keys_in_many_namespaces_are_not_looked_at() {
    let keys = Some(Selector::Keys(pb::Keys { keys: vec!["k".into(); 2048] }));
    let request = pb::InvalidateRequest { namespaces: vec!["n".into(); 1024], selector: keys, ..Default::default() };
    let Ask::All(demands) = request.ask() else { panic!("demands") };
    assert!(demands.iter().all(|demand| demand.names == Names::Whole));
}
