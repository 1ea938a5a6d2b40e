//! The contract has the options that generated clients need.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

#[test]
fn each_file_names_its_java_class() {
    let set = FileDescriptorSet::decode(twintier::pb::FILE_DESCRIPTOR_SET).unwrap();
    let files: Vec<_> = set.file.iter().filter(|file| file.package() == "twintier.v1").collect();
    assert!(files.len() > 4, "the contract was not found");
    let mut classes = BTreeSet::new();
    for file in &files {
        let options = file.options.as_ref().unwrap();
        let stem = file.name().rsplit('/').next().unwrap().trim_end_matches(".proto");
        let class = format!("{}{}Proto", stem[..1].to_uppercase(), &stem[1..]);
        assert_eq!(options.java_outer_classname(), class, "{}", file.name());
        classes.insert(class);
    }
    let types = files.iter().flat_map(|file| file.message_type.iter().map(|message| message.name().to_owned()));
    assert!(types.into_iter().all(|name| !classes.contains(&name)), "a message has the name of an outer class");
    assert_eq!(classes.len(), files.len());
}
