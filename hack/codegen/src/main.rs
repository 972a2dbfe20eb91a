//! Generates `crates/cri-api/src/runtime.v1.rs` from `proto/cri/v1/api.proto`.
//!
//! `codegen` writes the file, `codegen --check` fails if the committed one differs. The result is committed, so that
//! neither this crate nor a protobuf compiler belongs to a normal build; protox, a compiler written in Rust, stands in
//! for `protoc`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};

const GENERATED: &str = "crates/cri-api/src/runtime.v1.rs";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write(),
        ["--check"] => check(),
        _ => Err(anyhow::anyhow!("usage: codegen [--check]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codegen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    let path = root().join(GENERATED);
    fs::write(&path, generate()?).with_context(|| format!("writing {}", path.display()))
}

fn check() -> Result<()> {
    let path = root().join(GENERATED);
    let committed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    if committed != generate()? {
        bail!("{GENERATED} is not what proto/cri/v1/api.proto gives: run `cargo xtask codegen` and commit the result");
    }
    Ok(())
}

/// The Rust code of the interface, client and server.
fn generate() -> Result<String> {
    let scratch = tempfile::tempdir().context("making a scratch directory")?;
    tonic_prost_build::configure()
        .out_dir(scratch.path())
        // Labels and annotations move into the domain's ordered maps as they are.
        .btree_map(".")
        // Credentials must not reach a log: cri-api writes this one's `Debug` by hand.
        .skip_debug(["runtime.v1.AuthConfig"])
        .compile_fds(codegen::descriptors(&root())?)
        .context("generating Rust code")?;
    let path = scratch.path().join("runtime.v1.rs");
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// The checkout: two folders above this crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
