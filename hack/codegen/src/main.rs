//! Generates the code in `crates/cri-api` from the definitions in `proto`.
//!
//! `codegen` writes the files, `codegen --check` fails if a committed one differs. The results are committed, so that
//! neither this crate nor a protobuf compiler belongs to a normal build; protox, a compiler written in Rust, stands in
//! for `protoc`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// A definition and the code that is generated from it.
struct Interface {
    definition: &'static str,
    package: &'static str,
    generate: fn(&Path, &Path) -> Result<()>,
}

const INTERFACES: [Interface; 2] = [
    Interface { definition: "proto/cri/v1/api.proto", package: "runtime.v1", generate: generate_cri },
    Interface { definition: "proto/cradle/v1/api.proto", package: "cradle.v1", generate: generate_own },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let act = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write,
        ["--check"] => check,
        _ => |_: &Interface| bail!("usage: codegen [--check]"),
    };
    match INTERFACES.iter().try_for_each(act) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("codegen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(interface: &Interface) -> Result<()> {
    let path = root().join(interface.committed());
    fs::write(&path, interface.code()?).with_context(|| format!("writing {}", path.display()))
}

fn check(interface: &Interface) -> Result<()> {
    let (name, definition) = (interface.committed(), interface.definition);
    let path = root().join(&name);
    let committed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    if committed != interface.code()? {
        bail!("{name} is not what {definition} gives: run `cargo xtask codegen` and commit the result");
    }
    Ok(())
}

impl Interface {
    /// Where its code is committed.
    fn committed(&self) -> String {
        format!("crates/cri-api/src/{}.rs", self.package)
    }

    /// Its Rust code, client and server.
    fn code(&self) -> Result<String> {
        let scratch = tempfile::tempdir().context("making a scratch directory")?;
        (self.generate)(&root(), scratch.path()).context("generating Rust code")?;
        let path = scratch.path().join(format!("{}.rs", self.package));
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}

fn generate_cri(root: &Path, out: &Path) -> Result<()> {
    tonic_prost_build::configure()
        .out_dir(out)
        // Labels and annotations move into the domain's ordered maps as they are.
        .btree_map(".")
        // Credentials must not reach a log: cri-api writes this one's `Debug` by hand.
        .skip_debug(["runtime.v1.AuthConfig"])
        .compile_fds(codegen::descriptors(root)?)
        .context("of the CRI")
}

fn generate_own(root: &Path, out: &Path) -> Result<()> {
    tonic_prost_build::configure()
        .out_dir(out)
        .extern_path(".runtime.v1", "crate::v1")
        .compile_fds(codegen::own_descriptors(root)?)
        .context("of our own service")
}

/// The checkout: two folders above this crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
