#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twintier::fuzzing::run("jwt", bytes));
