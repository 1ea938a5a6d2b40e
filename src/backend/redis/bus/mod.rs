//! The subscription to each primary: messages between replicas, and their audit.

pub mod foreign_epochs;
pub mod subscription;
