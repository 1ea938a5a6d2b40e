//! The subscription to each primary: messages between replicas, and audits.

pub mod audit_groups;
pub mod dispatcher;
pub mod foreign_epochs;
pub mod subscription;
