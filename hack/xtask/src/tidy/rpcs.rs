//! README.md tells of every RPC whether it is there; the tables of `crates/cri` decide it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Violation;

const PAGE: &str = "README.md";
const PUBLISHED: &str = "proto/cri/v1/interface.txt";
const TABLES: [&str; 2] = ["crates/cri/src/runtime/mod.rs", "crates/cri/src/image/mod.rs"];

/// Names of RPCs.
type Names = BTreeSet<String>;

/// What is said about the RPCs, and where.
#[derive(Default)]
pub struct Rpcs {
    /// All that the interface has.
    pub published: Names,
    /// Those that the code answers with UNIMPLEMENTED.
    pub missing: Names,
    /// Those that the page says to be there, and not to be there.
    pub told_there: Names,
    pub told_missing: Names,
}

pub fn read(root: &Path) -> Result<Rpcs> {
    let file = |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let mut rpcs = Rpcs { published: published(&file(PUBLISHED)?), ..Rpcs::default() };
    for table in TABLES {
        rpcs.missing.extend(missing(&file(table)?));
    }
    (rpcs.told_there, rpcs.told_missing) = told(&file(PAGE)?);
    Ok(rpcs)
}

/// From lines as `rpc runtime.v1.RuntimeService.Version …`.
pub fn published(table: &str) -> Names {
    let names = table.lines().filter_map(|line| line.strip_prefix("rpc ")?.split(' ').next()?.rsplit('.').next());
    names.map(str::to_owned).collect()
}

/// From lines that end as `"Exec";`.
pub fn missing(source: &str) -> Names {
    let names = source.lines().filter_map(|line| line.trim_end().strip_suffix("\";")?.rsplit('"').next());
    names.map(str::to_owned).collect()
}

/// From rows as `| Exec, Attach | answers UNIMPLEMENTED |` and `| Version | yes |`.
pub fn told(page: &str) -> (Names, Names) {
    let (mut there, mut missing) = (Names::new(), Names::new());
    for line in page.lines() {
        let Some((names, what)) = line.trim_matches('|').split_once('|') else { continue };
        let names = names.split(',').map(|name| name.trim().to_owned());
        match what.trim() {
            "yes" => there.extend(names),
            "answers UNIMPLEMENTED" => missing.extend(names),
            _ => {}
        }
    }
    (there, missing)
}

pub fn violations(rpcs: &Rpcs) -> Vec<Violation> {
    let there: Names = rpcs.published.difference(&rpcs.missing).cloned().collect();
    let differences =
        [(&there, &rpcs.told_there, "is there"), (&rpcs.missing, &rpcs.told_missing, "answers UNIMPLEMENTED")];
    let wrong = differences.into_iter().flat_map(|(real, told, what)| {
        let untold = real.difference(told).map(move |name| format!("say that {name} {what}"));
        untold.chain(told.difference(real).map(move |name| format!("{name} does not do what is said: {what}")))
    });
    wrong.map(|message| Violation::new(PAGE, 0, message)).collect()
}
