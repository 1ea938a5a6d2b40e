use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

use super::*;

#[test]
fn every_number_of_the_contract_has_a_value() {
    let set = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET).expect("a descriptor set");
    for (message, known) in NUMBERS {
        let descriptor = set.file.iter().flat_map(|file| &file.message_type).find(|found| found.name() == *message);
        let numbers = descriptor.expect("of the contract").field.iter().filter(|field| field.r#type() == Type::Uint64);
        for number in numbers {
            assert!(known.contains(&number.name()), "{message}.{}", number.name());
        }
    }
}

#[test]
fn namespaces_are_summed_by_name() {
    let namespace = |name: &str, misses, entries| pb::NamespaceStats {
        namespace: name.to_owned(),
        misses,
        entries,
        ..Default::default()
    };
    let mut sum = vec![namespace("b", 1, 10)];
    sum.add(&vec![namespace("a", 2, 20), namespace("b", 3, 30)]);
    assert_eq!(sum, [namespace("a", 2, 20), namespace("b", 4, 40)]);
}

#[test]
fn numbers_of_the_shared_redis_are_not_summed() {
    let of = |redis_keys, redis_bytes| pb::NamespaceStats { redis_keys, redis_bytes, ..Default::default() };
    let mut sum = of(Some(7), None);
    sum.add(&of(Some(6), Some(600)));
    assert_eq!(sum, of(Some(7), Some(600)));
}
