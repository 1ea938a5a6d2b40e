//! The reflection services grpc.reflection.v1 and v1alpha.
//!
//! A query without a result is answered with an error message and the stream continues, as the
//! protocol requires. A call ends at its deadline or when its connection shuts down.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::{v1, v1alpha};

use super::middleware;
use super::middleware::StreamLifetime;

/// Descriptors by file and by symbol.
pub struct Descriptors {
    services: Vec<String>,
    files: HashMap<String, Bytes>,
    symbols: HashMap<String, Bytes>,
    /// Names of message types.
    messages: Vec<String>,
}

/// The reflection service over these descriptors.
#[derive(Clone)]
pub struct ReflectionApi(pub Arc<Descriptors>);

/// A FileDescriptorSet whose files are not decoded.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// A query, in either version of the protocol.
enum ReflectionQuery {
    File(String),
    Symbol(String),
    Extension,
    ExtensionNumbers(String),
    Services,
    Unknown,
}

/// A reply, in either version of the protocol.
enum ReflectionReply {
    File(Bytes),
    ExtensionNumbers(String),
    Services(Vec<String>),
    Error(Code, String),
}

// === impl Descriptors ===

impl Descriptors {
    /// Indexes encoded descriptor sets. A listing shows these services.
    pub fn new(sets: &[&'static [u8]], services: &[&str]) -> Result<Descriptors, prost::DecodeError> {
        let services = services.iter().map(|name| (*name).to_owned()).collect();
        let (files, symbols, messages) = (HashMap::new(), HashMap::new(), Vec::new());
        let mut descriptors = Descriptors { services, files, symbols, messages };
        for set in sets {
            for encoded in EncodedSet::decode(Bytes::from_static(set))?.files {
                let file = FileDescriptorProto::decode(encoded.clone())?;
                if !descriptors.files.contains_key(file.name()) {
                    descriptors.add(&file, &encoded);
                    descriptors.files.insert(file.name().to_owned(), encoded);
                }
            }
        }
        Ok(descriptors)
    }

    fn add(&mut self, file: &FileDescriptorProto, encoded: &Bytes) {
        for message in &file.message_type {
            self.add_message(file.package(), message, encoded);
        }
        for declared in &file.enum_type {
            self.add_enum(file.package(), declared, encoded);
        }
        for service in &file.service {
            let name = self.symbol(file.package(), service.name(), encoded);
            for method in &service.method {
                self.symbol(&name, method.name(), encoded);
            }
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, encoded: &Bytes) {
        let name = self.symbol(scope, message.name(), encoded);
        let fields = message.field.iter().map(|field| field.name());
        for part in fields.chain(message.oneof_decl.iter().map(|oneof| oneof.name())) {
            self.symbol(&name, part, encoded);
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested, encoded);
        }
        for declared in &message.enum_type {
            self.add_enum(&name, declared, encoded);
        }
        self.messages.push(name);
    }

    /// The values of an enum are its siblings.
    fn add_enum(&mut self, scope: &str, declared: &EnumDescriptorProto, encoded: &Bytes) {
        let name = self.symbol(scope, declared.name(), encoded);
        for value in &declared.value {
            self.symbol(scope, value.name(), encoded);
            self.symbol(&name, value.name(), encoded);
        }
    }

    fn symbol(&mut self, scope: &str, name: &str, encoded: &Bytes) -> String {
        let name = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.symbols.insert(name.clone(), encoded.clone());
        name
    }

    fn answer(&self, query: ReflectionQuery) -> ReflectionReply {
        match query {
            ReflectionQuery::File(name) => file(self.files.get(&name), "file", &name),
            ReflectionQuery::Symbol(name) => file(self.symbols.get(&name), "symbol", &name),
            ReflectionQuery::Extension => {
                ReflectionReply::Error(Code::NotFound, "no extensions are declared".to_owned())
            }
            ReflectionQuery::ExtensionNumbers(name) if self.messages.contains(&name) => {
                ReflectionReply::ExtensionNumbers(name)
            }
            ReflectionQuery::ExtensionNumbers(name) => file(None, "message type", &name),
            ReflectionQuery::Services => ReflectionReply::Services(self.services.clone()),
            ReflectionQuery::Unknown => {
                ReflectionReply::Error(Code::InvalidArgument, "message_request is required".to_owned())
            }
        }
    }
}

/// Maximum length of a name that an error quotes, in characters.
const MAX_SHOWN_CHARS: usize = 64;

fn file(found: Option<&Bytes>, kind: &str, name: &str) -> ReflectionReply {
    match found {
        Some(encoded) => ReflectionReply::File(encoded.clone()),
        None => {
            let shown: String = name.chars().take(MAX_SHOWN_CHARS).collect();
            ReflectionReply::Error(Code::NotFound, format!("{kind} {shown:?} not found"))
        }
    }
}

/// Returns the next request of a stream, or `None` at its end.
async fn next<T>(requests: &mut Streaming<T>, lifetime: &StreamLifetime) -> Option<Result<T, Status>> {
    tokio::select! {
        biased;
        end = middleware::stream_end(lifetime) => end.map(Err),
        request = requests.message() => request.map_err(|status| middleware::restate(&status).unwrap_or(status)).transpose(),
    }
}

/// Implements one version of the protocol. Both have the same messages in packages of their own.
macro_rules! serve_reflection {
    ($version:ident) => {
        #[tonic::async_trait]
        impl $version::server_reflection_server::ServerReflection for ReflectionApi {
            type ServerReflectionInfoStream =
                std::pin::Pin<Box<dyn Stream<Item = Result<$version::ServerReflectionResponse, Status>> + Send>>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$version::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                use $version::server_reflection_request::MessageRequest as Wire;
                use $version::server_reflection_response::MessageResponse;
                let lifetime = request.extensions().get::<StreamLifetime>().cloned().unwrap_or_default();
                let begin = Some((self.0.clone(), request.into_inner(), lifetime));
                let answers = stream::unfold(begin, |state| async move {
                    let (descriptors, mut requests, lifetime) = state?;
                    let request = match next(&mut requests, &lifetime).await? {
                        Ok(request) => request,
                        Err(status) => return Some((Err(status), None)),
                    };
                    let query = match request.message_request.clone() {
                        Some(Wire::FileByFilename(name)) => ReflectionQuery::File(name),
                        Some(Wire::FileContainingSymbol(name)) => ReflectionQuery::Symbol(name),
                        Some(Wire::FileContainingExtension(_)) => ReflectionQuery::Extension,
                        Some(Wire::AllExtensionNumbersOfType(name)) => ReflectionQuery::ExtensionNumbers(name),
                        Some(Wire::ListServices(_)) => ReflectionQuery::Services,
                        None => ReflectionQuery::Unknown,
                    };
                    let answer = match descriptors.answer(query) {
                        ReflectionReply::File(encoded) => {
                            MessageResponse::FileDescriptorResponse($version::FileDescriptorResponse {
                                file_descriptor_proto: vec![encoded.into()],
                            })
                        }
                        ReflectionReply::ExtensionNumbers(base_type_name) => {
                            MessageResponse::AllExtensionNumbersResponse($version::ExtensionNumberResponse {
                                base_type_name,
                                extension_number: Vec::new(),
                            })
                        }
                        ReflectionReply::Services(names) => {
                            MessageResponse::ListServicesResponse($version::ListServiceResponse {
                                service: names.into_iter().map(|name| $version::ServiceResponse { name }).collect(),
                            })
                        }
                        ReflectionReply::Error(code, error_message) => {
                            MessageResponse::ErrorResponse($version::ErrorResponse {
                                error_code: code.into(),
                                error_message,
                            })
                        }
                    };
                    let response = $version::ServerReflectionResponse {
                        valid_host: request.host.clone(),
                        original_request: Some(request),
                        message_response: Some(answer),
                    };
                    Some((Ok(response), Some((descriptors, requests, lifetime))))
                });
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

serve_reflection!(v1);
serve_reflection!(v1alpha);
