//! Reads the CRI's interface definition with protox: the generator and the test that compares it with the published
//! interface look at the same descriptors.

use std::path::Path;

use anyhow::{Context, Result};
use prost_types::FileDescriptorSet;

/// The descriptors of `proto/cri/v1/api.proto`, with comments, in the checkout at `root`.
pub fn descriptors(root: &Path) -> Result<FileDescriptorSet> {
    let folder = root.join("proto/cri/v1");
    protox::compile(["api.proto"], [&folder]).with_context(|| format!("compiling {}/api.proto", folder.display()))
}
