//! `cargo xtask check`: everything that must be green before a commit, each step with its time; all steps run, also
//! after a failure.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

/// What became of a step that did not fail.
enum Outcome {
    Passed,
    Skipped(&'static str),
}

type Step = fn(&Path) -> Result<Outcome>;

const STEPS: [(&str, Step); 6] = [
    ("format", format),
    ("tidy", tidy),
    ("scripts", scripts),
    ("clippy", clippy),
    ("codegen", codegen),
    ("audit", audit),
];

/// Runs all steps; the last line counts them.
pub fn run(root: &Path) -> Result<()> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, step) in STEPS {
        let begun = Instant::now();
        let (counter, word, why) = match step(root) {
            Ok(Outcome::Passed) => (&mut passed, "ok", String::new()),
            Ok(Outcome::Skipped(why)) => (&mut skipped, "skipped", why.to_owned()),
            Err(error) => (&mut failed, "FAILED", format!("{error:#}")),
        };
        *counter += 1;
        println!("{word:8} {name:8} {:5.1} s  {why}", begun.elapsed().as_secs_f64());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { bail!("{failed} of {} checks failed", STEPS.len()) }
}

fn format(root: &Path) -> Result<Outcome> {
    crate::run("cargo", &["fmt", "--all", "--check"], root)?;
    Ok(Outcome::Passed)
}

fn clippy(root: &Path) -> Result<Outcome> {
    crate::run("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"], root)?;
    Ok(Outcome::Passed)
}

fn tidy(root: &Path) -> Result<Outcome> {
    crate::run_tidy(root)?;
    Ok(Outcome::Passed)
}

fn codegen(root: &Path) -> Result<Outcome> {
    crate::codegen(root, &["--check"])?;
    Ok(Outcome::Passed)
}

/// shellcheck, with what .shellcheckrc says.
fn scripts(root: &Path) -> Result<Outcome> {
    if !is_installed("shellcheck") {
        return Ok(Outcome::Skipped("shellcheck is not installed"));
    }
    let files = crate::tidy::files(root)?;
    let scripts = files.iter().map(String::as_str).filter(|path| path.ends_with(".sh") || *path == ".ci/run");
    let arguments: Vec<&str> = ["--severity=warning"].into_iter().chain(scripts).collect();
    crate::run("shellcheck", &arguments, root)?;
    Ok(Outcome::Passed)
}

/// Licences, duplicates and sources of the dependencies (deny.toml). Advisories need a database from the internet and are
/// not asked for here.
fn audit(root: &Path) -> Result<Outcome> {
    if !is_installed("cargo-deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    crate::run("cargo-deny", &["--log-level", "error", "check", "licenses", "bans", "sources"], root)?;
    Ok(Outcome::Passed)
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
