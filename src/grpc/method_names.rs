//! The methods that are served and how, and their names and those of statuses for telemetry: a fixed number, so that no caller can make up more.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tonic::Code;

use super::decoded_size::{MessageId, message_id};
use crate::pb;
use crate::pb::{admin_service_server, cache_service_server};

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

/// The service of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// `twintier.v1.CacheService`.
    Cache,
    /// `twintier.v1.AdminService`.
    Admin,
    /// `grpc.health.v1.Health`.
    Health,
    /// `grpc.reflection.v1.ServerReflection`.
    ReflectionV1,
    /// `grpc.reflection.v1alpha.ServerReflection`.
    ReflectionV1Alpha,
}

/// The course of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallShape {
    /// One request, and an answer within the deadline.
    Answered,
    /// One request, and answers until the caller ends the call.
    Lasting,
    /// A stream of requests, each with an answer, within the deadline.
    Conversation,
}

/// A method that is served.
#[derive(Clone, Debug)]
pub struct Method {
    /// The service.
    pub service: Served,
    /// The course of its calls.
    pub shape: CallShape,
    /// The type of its request.
    pub input: MessageId,
    /// True if a large answer may be refused for want of room: the call has changed nothing, or can be repeated. A BatchGet has taken room for
    /// its values before.
    pub refusable: bool,
}

impl Method {
    /// True for health and reflection, which have places of their own.
    pub fn is_probe(&self) -> bool {
        !matches!(self.service, Served::Cache | Served::Admin)
    }
}

/// The descriptors of the messages of requests.
pub fn messages() -> FileDescriptorSet {
    let sets = [pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    FileDescriptorSet { file: files.collect() }
}

/// The methods that are served, by path. The types of their requests are those of `messages`.
pub fn table(messages: &FileDescriptorSet, admin: bool, reflection: bool) -> HashMap<String, Method> {
    let mut table = HashMap::new();
    for file in &messages.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let served = match name.as_str() {
                cache_service_server::SERVICE_NAME => Served::Cache,
                admin_service_server::SERVICE_NAME if admin => Served::Admin,
                tonic_health::pb::health_server::SERVICE_NAME => Served::Health,
                _ => continue,
            };
            for method in &service.method {
                table.insert(format!("/{name}/{}", method.name()), described(messages, served, method));
            }
        }
    }
    if reflection {
        let (shape, input, refusable) = (CallShape::Conversation, MessageId::MAX, false);
        for (version, service) in [("v1", Served::ReflectionV1), ("v1alpha", Served::ReflectionV1Alpha)] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            table.insert(path, Method { service, shape, input, refusable });
        }
    }
    table
}

fn described(messages: &FileDescriptorSet, service: Served, method: &MethodDescriptorProto) -> Method {
    let lasts = method.name() == "Watch";
    let refusable = method.name() == "Get" && service == Served::Cache;
    let input = message_id(messages, method.input_type()).unwrap_or(MessageId::MAX);
    Method { service, shape: if lasts { CallShape::Lasting } else { CallShape::Answered }, input, refusable }
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
