//! Who may depend on whom: the block in docs/architecture.md and the crates' manifests say the same, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Violation;

const PAGE: &str = "docs/architecture.md";
const OPENING: &str = "```edges";

/// The one crate that is for tests alone.
const TESTS_ONLY: &str = "testkit";

/// The crates of this repository that each crate depends on, by the names of their folders.
pub type Edges = BTreeMap<String, BTreeSet<String>>;

/// The edges that the architecture page allows.
pub fn read(root: &Path) -> Result<Edges> {
    parse(&fs::read_to_string(root.join(PAGE)).with_context(|| format!("reading {PAGE}"))?)
}

pub fn parse(page: &str) -> Result<Edges> {
    let block = page.lines().skip_while(|line| *line != OPENING).skip(1).take_while(|line| !line.starts_with("```"));
    let mut edges = Edges::new();
    for line in block.filter(|line| !line.trim().is_empty()) {
        let (from, to) = line.split_once("->").with_context(|| format!("{PAGE}: no arrow in {line:?}"))?;
        let to = to.split_whitespace().map(str::to_owned).collect();
        if edges.insert(from.trim().to_owned(), to).is_some() {
            bail!("{PAGE}: {} has two lines", from.trim());
        }
    }
    if edges.is_empty() { bail!("{PAGE} has no block that begins with {OPENING}") } else { Ok(edges) }
}

/// The edges that are there.
pub fn read_manifests(root: &Path) -> Result<Edges> {
    let mut edges = Edges::new();
    for entry in fs::read_dir(root.join("crates")).context("reading crates")? {
        let folder = entry.context("reading crates")?.path();
        let path = folder.join("Cargo.toml");
        let Ok(manifest) = fs::read_to_string(&path) else { continue };
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        edges.insert(name, dependencies(&manifest).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(edges)
}

/// The crates of this repository in the tables of a manifest that go into the product.
pub fn dependencies(manifest: &str) -> Result<BTreeSet<String>> {
    let manifest: toml::Table = manifest.parse()?;
    let platforms = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|table| table.values());
    let places = platforms.filter_map(toml::Value::as_table).chain([&manifest]);
    let tables = places.flat_map(|place| ["dependencies", "build-dependencies"].map(|name| place.get(name)));
    let names = tables.flatten().filter_map(toml::Value::as_table).flat_map(|table| table.keys());
    Ok(names.filter_map(|name| name.strip_prefix("cradle-")).map(str::to_owned).collect())
}

/// What differs between the page and the manifests.
pub fn violations(allowed: &Edges, real: &Edges) -> Vec<Violation> {
    let mut found = Vec::new();
    let none = BTreeSet::new();
    let names: BTreeSet<&String> = allowed.keys().chain(real.keys()).collect();
    for name in names {
        let (Some(allowed), real) = (allowed.get(name), real.get(name)) else {
            found.push(Violation::new(PAGE, 0, format!("crates/{name} has no line in the block of edges")));
            continue;
        };
        if real.is_none() {
            found.push(Violation::new(PAGE, 0, format!("{name} has a line in the block of edges, but is no crate")));
        }
        let real = real.unwrap_or(&none);
        let manifest = format!("crates/{name}/Cargo.toml");
        for extra in real.difference(allowed) {
            found.push(Violation::new(&manifest, 0, format!("{name} -> {extra} is not an edge of {PAGE}")));
        }
        for gone in allowed.difference(real) {
            found.push(Violation::new(
                PAGE,
                0,
                format!("{name} -> {gone} is listed, but {manifest} has no such dependency"),
            ));
        }
        if real.contains(TESTS_ONLY) {
            found.push(Violation::new(&manifest, 0, format!("{TESTS_ONLY} is for [dev-dependencies] only")));
        }
    }
    found
}
