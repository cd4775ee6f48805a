//! Compiles the .proto tree without protoc, and keeps the descriptor set for reflection.

use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 4] = [
    "quire/auth/v1/auth_service.proto",
    "quire/document/v1/document_service.proto",
    "quire/payment/v1/payment_service.proto",
    "quire/job/v1/job_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // protox keeps comments, so that grpcurl describe shows them.
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("quire.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(true).compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=quire");
    Ok(())
}
