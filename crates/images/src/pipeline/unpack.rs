//! Stage 5: the archive grows into a file tree in a folder of its own.

use std::io::BufRead;

use super::keep::KeptBlob;
use super::stage::Staged;
use super::sync::SyncTicket;
use super::verify::{Digesting, Sum};
use crate::tar::{Reader, TarError};
use crate::tree::{Grown, LayerForm, Tree, TreeError};

/// A layer with its files.
pub struct Unpacked {
    pub staged: Staged,
    pub grown: Grown,
    /// Its blob, where the store keeps blobs.
    pub blob: Option<KeptBlob>,
    /// Tells a failed write-back from before its first file.
    pub since: SyncTicket,
}

/// Unpacks an archive to its very end, so that its sum is of all its bytes.
pub fn unpack<R: BufRead>(
    mut archive: Digesting<R>,
    staged: &Staged,
    form: LayerForm,
    umask: u32,
) -> Result<(Grown, Sum), TreeError> {
    let root = staged.root().try_clone().map_err(|source| TreeError::System {
        act: "opening the root folder of the layer",
        entry: "/".into(),
        source,
    })?;
    let mut tree = Tree::new(root, umask)?.in_form(form);
    tree.grow(&mut Reader::new(&mut archive))?;
    let sum = archive.finish().map_err(|error| TreeError::Tar(TarError::Read(error)))?;
    Ok((tree.finish()?, sum))
}
