//! The `twintier` program.

fn main() {}
