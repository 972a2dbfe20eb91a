//! The part of protoc's command line that prost-build uses, done by protox: with `PROTOC` set to this program, crates
//! build whose build scripts want `protoc` (tests/k8s-cri). Comments are kept.
//!
//! Usage: protoc [--include_imports] [--include_source_info] -o FILE [-I FOLDER]... PROTO...

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match compile(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (mut folders, mut protos, mut output) = (Vec::new(), Vec::new(), None);
    let (mut with_imports, mut with_comments) = (false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).with_context(|| format!("{argument} wants a path"));
        match argument.as_str() {
            "-o" => output = Some(value()?),
            "-I" => folders.push(value()?),
            "--include_imports" => with_imports = true,
            "--include_source_info" => with_comments = true,
            option if option.starts_with('-') => bail!("{option} is not known to this stand-in for protoc"),
            proto => protos.push(PathBuf::from(proto)),
        }
    }
    let output = output.context("no -o FILE")?;
    let mut compiler = protox::Compiler::new(&folders).context("opening the folders of -I")?;
    compiler.include_imports(with_imports).include_source_info(with_comments);
    compiler.open_files(&protos).context("compiling")?;
    fs::write(&output, compiler.encode_file_descriptor_set()).with_context(|| format!("writing {}", output.display()))
}
