//! What people see of a running service from outside its RPCs: logs.

pub mod logs;
