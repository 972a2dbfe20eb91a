//! `cargo xtask`: what the project checks about itself. `cargo xtask help` lists the commands.
//!
//! The rules are in `tidy/`, the order of the checks in `check.rs`; tests are started by the scripts in `tests/`.
// This program runs cargo and scripts; the rule that only `sys` starts programs is about the daemon and the shim.
#![allow(clippy::disallowed_methods)]

mod check;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "cargo xtask COMMAND

  check              format, tidy, scripts, clippy, generated code, dependency audit
  tidy               the rules of this repository alone: edges, lengths, names, unsafe code (a second)
  codegen [--check]  write the code in crates/cri-api from the definitions in proto/, or compare
  test [TIER...]     run tests/run.sh: check, unit, node, conformance, guest; all without an argument
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["check"] => check::run(&root()),
        ["tidy"] => run_tidy(&root()),
        ["codegen"] => codegen(&root(), &[]),
        ["codegen", "--check"] => codegen(&root(), &["--check"]),
        ["test", ref tiers @ ..] => run("tests/run.sh", tiers, &root()),
        [] | ["help" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("no such command: {}\n\n{HELP}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_tidy(root: &Path) -> Result<()> {
    let violations = tidy::violations(root)?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    if violations.is_empty() { Ok(()) } else { bail!("{} violations", violations.len()) }
}

fn codegen(root: &Path, arguments: &[&str]) -> Result<()> {
    run("cargo", &[&["run", "--quiet", "--package", "codegen", "--"], arguments].concat(), root)
}

/// Runs a program in the checkout, its output on ours.
fn run(program: &str, arguments: &[&str], root: &Path) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} {}: {status}", arguments.join(" ")) }
}

/// The checkout: two folders above this crate, as cargo tells it to what it runs. Two checkouts with one target folder
/// have one program, which may have been built in the other.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&here).join("../..");
    root.canonicalize().unwrap_or(root)
}
