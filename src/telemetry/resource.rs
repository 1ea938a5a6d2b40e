//! The OpenTelemetry resource: attributes that name this service and replica in all telemetry.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};

use super::env::Environment;

/// The resource of this replica. Variables override the built-in attributes.
pub(crate) fn resource(environment: &Environment, replica: &str) -> Resource {
    let known = [
        KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", replica.to_owned()),
    ];
    let builder = Resource::builder_empty().with_attributes(known);
    let builder =
        builder.with_detector(Box::new(TelemetryResourceDetector)).with_detector(Box::new(EnvResourceDetector::new()));
    match environment.get("OTEL_SERVICE_NAME") {
        Some(name) => builder.with_service_name(name.to_owned()).build(),
        None => builder.build(),
    }
}
