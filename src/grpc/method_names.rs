//! The served methods, and the method and status names in telemetry: a fixed set.
//!
//! Callers cannot create more label values.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tonic::Code;

use super::access::{Rule, rule_of};
use super::decoded_size::{MessageId, message_id};
use crate::pb;
use crate::pb::{admin_service_server, cache_service_server};

/// Name of every method that is not served.
pub const OTHER: &str = "_OTHER";
/// Names of the statuses in the gRPC specification, in the order of their numbers.
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

/// Returns the name of a status in the gRPC specification.
pub fn status_name(code: Code) -> &'static str {
    STATUSES[code as usize]
}

/// Returns the name of every method that may be served, such as `twintier.v1.CacheService/Get`.
pub fn full_method_names() -> impl Iterator<Item = String> {
    let sets = [
        pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    files.flat_map(|file| {
        file.service.iter().flat_map(|service| method_names_of(file.package(), service)).collect::<Vec<_>>()
    })
}

fn method_names_of(package: &str, service: &ServiceDescriptorProto) -> Vec<String> {
    service.method.iter().map(|method| format!("{package}.{}/{}", service.name(), method.name())).collect()
}

/// The service that a method belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
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

/// How a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallShape {
    /// One request. The response ends before the deadline.
    Bounded,
    /// One request, and a stream of responses until the caller ends the call.
    LongLived,
    /// A stream of requests with one response each, until the deadline.
    RequestStream,
}

/// A served method.
#[derive(Clone, Debug)]
pub struct Method {
    /// The service it belongs to.
    pub service: ServiceKind,
    /// How access to it is decided.
    pub rule: Rule,
    /// How its calls run.
    pub shape: CallShape,
    /// The type of its requests.
    pub input: MessageId,
    /// True if a large response may be rejected when there is no room: the call changed nothing, or
    /// can be repeated.
    ///
    /// A BatchGet has already taken room for its values.
    pub refusable: bool,
}

impl Method {
    /// Returns true for health and reflection, which have slots of their own.
    pub fn is_probe(&self) -> bool {
        !matches!(self.service, ServiceKind::Cache | ServiceKind::Admin)
    }
}

/// Returns the descriptors of the request messages.
pub fn messages() -> FileDescriptorSet {
    let sets = [pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap_or_default().file);
    FileDescriptorSet { file: files.collect() }
}

/// Returns the served methods by path. Their request types are indexes into `messages`.
pub fn table(messages: &FileDescriptorSet, admin: bool, reflection: bool) -> HashMap<String, Method> {
    let mut table = HashMap::new();
    for file in &messages.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let served = match name.as_str() {
                cache_service_server::SERVICE_NAME => ServiceKind::Cache,
                admin_service_server::SERVICE_NAME if admin => ServiceKind::Admin,
                tonic_health::pb::health_server::SERVICE_NAME => ServiceKind::Health,
                _ => continue,
            };
            for method in &service.method {
                let path = format!("/{name}/{}", method.name());
                // A method without a rule is not served.
                if let Some(rule) = rule_of(&path) {
                    table.insert(path, method_of(messages, served, method, rule));
                }
            }
        }
    }
    if reflection {
        let (shape, input, refusable) = (CallShape::RequestStream, MessageId::MAX, false);
        for (version, service) in [("v1", ServiceKind::ReflectionV1), ("v1alpha", ServiceKind::ReflectionV1Alpha)] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            table.insert(path, Method { service, rule: Rule::Identity, shape, input, refusable });
        }
    }
    table
}

fn method_of(messages: &FileDescriptorSet, service: ServiceKind, method: &MethodDescriptorProto, rule: Rule) -> Method {
    let is_watch = method.name() == "Watch";
    let refusable = method.name() == "Get" && service == ServiceKind::Cache;
    let input = message_id(messages, method.input_type()).unwrap_or(MessageId::MAX);
    Method { service, rule, shape: if is_watch { CallShape::LongLived } else { CallShape::Bounded }, input, refusable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_in_the_order_of_their_numbers() {
        for (code, name) in STATUSES.iter().enumerate() {
            let said = format!("{:?}", Code::from(code as i32)).to_uppercase();
            assert_eq!(name.replace('_', ""), said);
        }
    }

    #[test]
    fn all_services_are_served() {
        let served: Vec<_> = full_method_names().collect();
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
