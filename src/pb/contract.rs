//! The types and services that prost and tonic generate.

tonic::include_proto!("twintier.v1");
