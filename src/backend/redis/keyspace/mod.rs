//! Estimates keys and memory of each namespace in Redis, for Stats, from samples.

mod sample_json;
mod sampler;
mod tally;

pub use sampler::run;
