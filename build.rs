//! Compiles the contract with protox, so that no protoc is needed.

use std::path::PathBuf;

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
    tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(set)
        .skip_protoc_run()
        .emit_rerun_if_changed(false)
        .compile_protos(&FILES, &["proto"])?;
    Ok(())
}
