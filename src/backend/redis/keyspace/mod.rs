//! Samples what each namespace holds in Redis, for Stats: an estimate. One replica of the deployment samples at a time;
//! it leaves the result where the others read it. A sample of one primary is at most one INFO, [`PAGES`] SCANs of
//! [`PAGE`] and [`super::tally::MEASURED`] MEMORY USAGEs.

mod note;
mod sampler;
mod tally;

pub use sampler::run;
