//! twintier: a two-tier cache as a gRPC service.

pub mod backend;
pub mod cache;
pub mod config;
pub mod grpc;
pub mod pb;
