//! Targets of fuzzing: each takes any bytes, and panics if a property does not hold.
//!
//! `make fuzz` feeds them by coverage. `cargo test` runs them with the seeds in `fuzz/seeds`, and
//! with mutations of these.

use crate::auth::fuzzing as auth;
use crate::backend::redis::fuzzing as redis;
use crate::cache::fuzzing as cache;
use crate::config::fuzzing as config;
use crate::grpc::fuzzing as grpc;

/// A target, with seeds that reach its code.
pub struct FuzzTarget {
    /// Name, also of the folder of its seeds.
    pub name: &'static str,
    /// Takes any bytes, and panics if a property does not hold.
    pub run: fn(&[u8]),
    /// Valid inputs, from the encoders of this build.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// All targets.
pub const TARGETS: [FuzzTarget; 10] = [
    FuzzTarget { name: "configuration", run: config::configuration, seeds: config::configuration_seeds },
    FuzzTarget { name: "entry", run: redis::entry, seeds: redis::entry_seeds },
    FuzzTarget { name: "jwt", run: auth::jwt, seeds: auth::jwt_seeds },
    FuzzTarget { name: "key", run: redis::key, seeds: redis::key_seeds },
    FuzzTarget { name: "message", run: redis::message, seeds: redis::message_seeds },
    FuzzTarget { name: "pattern", run: cache::pattern, seeds: cache::pattern_seeds },
    FuzzTarget { name: "record", run: redis::record, seeds: redis::record_seeds },
    FuzzTarget { name: "reply", run: redis::reply, seeds: redis::reply_seeds },
    FuzzTarget { name: "request", run: grpc::request, seeds: grpc::request_seeds },
    FuzzTarget { name: "token", run: cache::token, seeds: cache::token_seeds },
];

/// Runs the target of this name.
///
/// # Panics
///
/// If no target has the name, or a property does not hold.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::PathBuf;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Mutations of all seeds of a target in one run.
    const MUTATIONS: usize = 2000;

    fn folder(target: &FuzzTarget) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target.name)
    }

    fn files(target: &FuzzTarget) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{}: {error}", target.name));
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().expect("a plain name");
            (name, fs::read(entry.path()).expect("a seed"))
        };
        entries.map(|entry| read(entry.expect("a file"))).collect()
    }

    /// Changes a few bytes: flips, inserts, removes, repeats, or takes those of another seed.
    fn mutate(random: &mut StdRng, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..=bytes.len());
            let to = random.random_range(at..=bytes.len().min(at + 8));
            match random.random_range(0..6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
                1 => bytes.insert(at, random.random()),
                2 => drop(bytes.drain(at..to)),
                3 => bytes.splice(at..to, [[0u8; 8], [255; 8]][random.random_range(0..2)]).for_each(drop),
                4 => {
                    let again = bytes[at..to].to_vec();
                    bytes.splice(at..at, again).for_each(drop);
                }
                _ => {
                    let from = random.random_range(0..=other.len());
                    bytes.splice(at.., other[from..].iter().copied()).for_each(drop);
                }
            }
        }
        bytes
    }

    /// `UPDATE=1` writes them.
    #[test]
    fn the_seeds_are_those_of_this_build() {
        for target in &TARGETS {
            let seeds: BTreeMap<String, Vec<u8>> =
                (target.seeds)().into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
                let _ = fs::remove_dir_all(folder(target));
                fs::create_dir_all(folder(target)).expect("a folder");
                seeds.iter().for_each(|(name, bytes)| fs::write(folder(target).join(name), bytes).expect("written"));
            }
            let same = files(target) == seeds;
            assert!(same, "{}: UPDATE=1 cargo test --lib fuzzing writes the seeds anew", target.name);
        }
    }

    #[test]
    fn every_target_stands_seeds_and_mutations() {
        for target in &TARGETS {
            let seeds: Vec<Vec<u8>> = files(target).into_values().collect();
            seeds.iter().for_each(|seed| (target.run)(seed));
            let mut random = StdRng::seed_from_u64(rand::random());
            for _ in 0..MUTATIONS {
                let [one, other] = [(); 2].map(|()| &seeds[random.random_range(0..seeds.len())]);
                let input = mutate(&mut random, one, other);
                let stood = catch_unwind(|| (target.run)(&input)).is_ok();
                assert!(stood, "{} does not stand {:?}", target.name, String::from_utf8_lossy(&input).escape_debug());
            }
        }
    }

    #[test]
    fn each_target_has_its_program() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
        for FuzzTarget { name, .. } in &TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            let program = root.join(format!("targets/{name}.rs"));
            let text = fs::read_to_string(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
            assert!(text.contains(&format!("run(\"{name}\"")), "{name}");
        }
    }
}
