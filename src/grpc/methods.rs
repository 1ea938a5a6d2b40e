//! The names of what is served, and of how it ends, for what is told of RPCs. They are a fixed number, so that no caller can make up more.

use prost::Message as _;
use prost_types::{FileDescriptorSet, ServiceDescriptorProto};
use tonic::Code;

use crate::pb;

/// Stands for every method that is not served.
pub const OTHER: &str = "_OTHER";
/// Statuses in the words of the specification of gRPC, in the order of their numbers.
pub const STATUSES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A status in the words of the specification.
pub fn status_name(code: Code) -> &'static str {
    STATUSES[code as usize]
}

/// Every method that may be served: `twintier.v1.CacheService/Get`.
pub fn served() -> impl Iterator<Item = String> {
    let sets = [
        pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    files.flat_map(|file| file.service.iter().flat_map(|service| of(file.package(), service)).collect::<Vec<_>>())
}

fn of(package: &str, service: &ServiceDescriptorProto) -> Vec<String> {
    service.method.iter().map(|method| format!("{package}.{}/{}", service.name(), method.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_stand_in_the_order_of_their_numbers() {
        for (code, name) in STATUSES.iter().enumerate() {
            let said = format!("{:?}", Code::from(code as i32)).to_uppercase();
            assert_eq!(name.replace('_', ""), said);
        }
    }

    #[test]
    fn all_services_are_served() {
        let served: Vec<_> = served().collect();
        for method in [
            "twintier.v1.CacheService/Get",
            "twintier.v1.AdminService/HotKeys",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(served.iter().any(|known| known == method), "{method}");
        }
    }
}
