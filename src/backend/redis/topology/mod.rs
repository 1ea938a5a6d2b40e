//! The servers: discovery of primaries, placement of partitions, facts about each server.

pub mod discovery;
pub mod node_report;
pub mod placement;
pub mod server_info;
