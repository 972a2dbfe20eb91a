//! Reads the interface definitions with protox: the generator and the test that compares the CRI with the published
//! interface look at the same descriptors.

use std::path::Path;

use anyhow::{Context, Result};
use prost_types::FileDescriptorSet;

/// The descriptors of `proto/cri/v1/api.proto`, with comments, in the checkout at `root`.
pub fn descriptors(root: &Path) -> Result<FileDescriptorSet> {
    compile(&root.join("proto/cri/v1"), "api.proto")
}

/// The descriptors of `proto/cradle/v1/api.proto`, after those of the CRI, which it uses.
pub fn own_descriptors(root: &Path) -> Result<FileDescriptorSet> {
    compile(&root.join("proto"), "cradle/v1/api.proto")
}

fn compile(folder: &Path, file: &str) -> Result<FileDescriptorSet> {
    protox::compile([file], [folder]).with_context(|| format!("compiling {}/{file}", folder.display()))
}
