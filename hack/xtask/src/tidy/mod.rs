//! The rules of this repository that neither rustfmt nor clippy knows. Each is a pure function from text to violations;
//! this module reads the files and asks each rule.

mod edges;
mod lengths;
mod names;
mod rpcs;
mod source;
mod text;
mod unsafe_code;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use source::Source;

/// A broken rule: where, and what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Relative to the checkout.
    path: String,
    /// From 1; 0 for the file as such.
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Violation { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All violations in the checkout at `root`, by file and line.
pub fn violations(root: &Path) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for path in files(root)? {
        found.extend(names::violations(&path));
        // A file that is not text has no lines to look at.
        let Ok(content) = fs::read_to_string(root.join(&path)) else { continue };
        found.extend(text::violations(&path, &content));
        if path.ends_with(".rs") && !source::is_generated(&content) {
            let source = Source::new(&path, &content);
            found.extend(lengths::violations(&source));
            found.extend(unsafe_code::violations(&source));
            found.extend(source.violations());
        }
    }
    found.extend(edges::violations(&edges::read(root)?, &edges::read_manifests(root)?));
    found.extend(rpcs::violations(&rpcs::read(root)?));
    found.extend(tokio_in_shim(root)?);
    found.sort();
    Ok(found)
}

/// Every file of the repository that git tracks or would track, relative to `root`.
pub fn files(root: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let present = |path: &&str| !path.is_empty() && root.join(PathBuf::from(path)).is_file();
    Ok(listed.split('\0').filter(present).map(str::to_owned).collect())
}

/// Invariant: the shim links no async runtime.
fn tokio_in_shim(root: &Path) -> Result<Vec<Violation>> {
    let arguments = ["tree", "--offline", "--package", "cradle-shim", "--edges", "normal", "--invert", "tokio"];
    let output = Command::new("cargo").args(arguments).current_dir(root).output().context("starting cargo tree")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let absent = errors.contains("nothing to print") || errors.contains("did not match any packages");
    match (output.status.success(), absent, output.stdout.is_empty()) {
        (_, true, true) => Ok(Vec::new()),
        (true, false, false) => {
            let tree = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(vec![Violation::new("crates/shim/Cargo.toml", 0, format!("the shim must not link tokio:\n{tree}"))])
        }
        _ => bail!("cargo tree says nothing that is understood here: {errors}"),
    }
}
