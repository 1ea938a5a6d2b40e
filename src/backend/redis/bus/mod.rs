//! The subscription to each primary: messages between replicas, and audits.

pub mod foreign_epochs;
pub mod subscription;
