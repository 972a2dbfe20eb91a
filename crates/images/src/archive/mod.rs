//! Archives of images: an OCI image layout (image-spec, image-layout.md) or what `docker save` writes, as a tar archive.
//!
//! | File | Holds |
//! |---|---|
//! | `spool` | an archive as it comes → a copy on disk, and where in it each file is |
//! | `contents` | the files by path and by digest |
//! | `images` | which images an archive has, and under which names: `layout` (index.json), `docker` (manifest.json) |
//! | `origin` | a copy as the source of its manifests and blobs |
//! | `write` | images → an archive that both kinds of readers understand |
//!
//! What is in an archive comes in any order, mostly blobs before what names them; hence the copy. Nothing of it is
//! believed: blobs go through the same pipeline as a registry's.

mod contents;
mod docker;
mod error;
mod images;
mod layout;
mod origin;
mod spool;
#[cfg(test)]
mod tests;
mod write;

pub use error::ArchiveError;
pub use images::{ArchiveImage, images};
pub use spool::{Archive, spool};
pub use write::{SavedBlob, SavedImage, WriteError, write};
