//! twintier: a two-tier cache as a gRPC service.

pub mod cache;
pub mod cli;
pub mod pb;
