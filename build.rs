//! Compiles the protobuf contract with protox, so that no protoc is needed, and embeds the revision
//! of the sources.

use std::path::PathBuf;
use std::process::Command;

const FILES: [&str; 2] = ["twintier/v1/cache.proto", "twintier/v1/admin.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::Compiler::new(["proto"])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?
        .encode_file_descriptor_set();
    let set = out.join("twintier.protoset");
    std::fs::write(&set, descriptors)?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::pb::ExactCodec")
        .extern_path(".twintier.v1.BatchGetResponse", "crate::pb::BatchGetResponse")
        .file_descriptor_set_path(set)
        .skip_protoc_run()
        .emit_rerun_if_changed(false)
        .compile_with_config(config, &FILES, &["proto"])?;
    // `cargo run` passes these to the program, too: their names must not have the prefix of settings.
    println!("cargo:rustc-env=BUILD_REVISION={}", revision().unwrap_or_else(|| "unknown".to_owned()));
    let rustc = std::env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo:rustc-env=BUILD_RUSTC={}", rustc.as_deref().and_then(version).unwrap_or("unknown"));
    Ok(())
}

/// Returns the revision of the sources: `TWINTIER_REVISION`, or that of their repository. A debug
/// build does not read the repository, so that it is not rebuilt for every commit.
fn revision() -> Option<String> {
    println!("cargo:rerun-if-env-changed=TWINTIER_REVISION");
    if let Some(revision) = std::env::var("TWINTIER_REVISION").ok().filter(|revision| !revision.is_empty()) {
        return Some(revision);
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if !is_release || output("git", &["rev-parse", "--show-toplevel"])? != here {
        return None;
    }
    // Every commit and every checkout changes this file.
    let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| PathBuf::from(log).exists());
    log.iter().for_each(|log| println!("cargo:rerun-if-changed={log}"));
    output("git", &["rev-parse", "HEAD"])
}

/// Returns the output of a program, if it exists and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Parses a version: `rustc 1.88.0 (6b00bc388 2025-06-23)` is 1.88.0.
fn version(text: &str) -> Option<&str> {
    text.split(' ').nth(1)
}
