//! `twintier policy`: lists the policies of namespaces, changes them at run time in the whole
//! fleet.

mod command;
mod fields;

pub use command::PolicyCommand;
