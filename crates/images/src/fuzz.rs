//! Fuzz targets: what registries may serve as manifests, configurations and layers, and archives of images.

use std::fs;
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cradle_domain::failure::Chain;
use cradle_domain::{Class, Classified};

use crate::archive::{ArchiveError, ArchiveImage, images, spool};
use crate::limits::{CONFIG_LIST_MAX, LAYERS_MAX, PATH_MAX_BYTES};
use crate::manifest::{Document, LayerDescriptor, Platform, choose, parse_config, parse_document};
use crate::pipeline::digest_of;
use crate::tar::{BLOCK, Reader};
use crate::tree::{Tree, TreeError};

/// What the registry may say that it serves; the first is nothing.
const SERVED: [Option<&str>; 5] = [
    None,
    Some("application/vnd.oci.image.index.v1+json"),
    Some("application/vnd.oci.image.manifest.v1+json"),
    Some("application/vnd.docker.distribution.manifest.list.v2+json"),
    Some("application/vnd.docker.distribution.manifest.v2+json"),
];

fn amd64() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() }
}

/// A manifest or an index, after a byte that chooses what the registry calls it.
pub fn manifest(data: &[u8]) {
    let Some((&served, data)) = data.split_first() else { return };
    let document = match parse_document(data, SERVED[usize::from(served) % SERVED.len()]) {
        Ok(document) => document,
        Err(error) => return check_refusal(&error),
    };
    match document {
        Document::Index(choices) => match choose(&choices, &amd64()) {
            Ok(choice) => assert!(choices.contains(choice)),
            Err(error) => check_refusal(&error),
        },
        Document::Manifest(manifest) => {
            assert!(manifest.layers.len() <= LAYERS_MAX);
            // As the store keeps it.
            let kept = serde_json::to_vec(&manifest.layers).unwrap();
            assert_eq!(serde_json::from_slice::<Vec<LayerDescriptor>>(&kept).unwrap(), manifest.layers);
        }
    }
}

/// An image's configuration, after a byte that says how many layers its manifest has.
pub fn config(data: &[u8]) {
    let Some((&layers, data)) = data.split_first() else { return };
    let platform = amd64();
    match parse_config(data, usize::from(layers), (layers & 1 == 0).then_some(&platform)) {
        Ok((config, diff_ids)) => {
            assert_eq!(diff_ids.len(), usize::from(layers));
            let words = [&config.env, &config.entrypoint, &config.cmd, &config.volumes].into_iter().flatten();
            assert!(words.chain([&config.user, &config.working_dir]).all(|word| !word.contains('\0')));
            assert!(config.env.len() <= CONFIG_LIST_MAX && config.labels.len() <= CONFIG_LIST_MAX);
        }
        Err(error) => check_refusal(&error),
    }
}

/// Most bytes of an archive of images.
const ARCHIVE_MAX_BYTES: u64 = 256 << 10;

/// An archive of images, after a byte that says whether the checksums of its headers are made right. What is found in it is
/// what it has, and where it has it.
pub fn image_archive(data: &[u8]) {
    let Some((&fix, data)) = data.split_first() else { return };
    let mut archive = data.to_vec();
    if fix & 1 == 1 {
        fix_checksums(&mut archive);
    }
    let copy = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let archive = match spool(Cursor::new(&archive), copy.into(), ARCHIVE_MAX_BYTES) {
        Ok(archive) => Arc::new(archive),
        Err(error) => return check_archive_error(&error),
    };
    let length = archive.copy.metadata().unwrap().len();
    assert!(length <= ARCHIVE_MAX_BYTES);
    let found = match images(&archive) {
        Ok(found) => found,
        Err(error) => return check_archive_error(&error),
    };
    assert!(!found.is_empty());
    for ArchiveImage { resolved, .. } in found {
        assert_eq!(digest_of(&resolved.served.bytes), resolved.digest);
        match parse_document(&resolved.served.bytes, resolved.served.media_type.as_deref()) {
            Ok(Document::Manifest(manifest)) => {
                let named = manifest.layers.iter().map(|layer| &layer.digest).chain([&manifest.config.digest]);
                for file in named.filter_map(|digest| archive.contents.blob(digest)) {
                    assert!(file.offset + file.size <= length);
                    assert_eq!(archive.document("", file).unwrap().len() as u64, file.size);
                }
            }
            Ok(Document::Index(_)) => {}
            Err(error) => check_refusal(&error),
        }
    }
}

fn check_archive_error(error: &ArchiveError) {
    assert!(matches!(error.class(), Class::Invalid | Class::Corrupt), "{error}");
    assert!(!Chain(error).to_string().is_empty());
}

fn check_refusal<E: Classified + 'static>(error: &E) {
    assert!(matches!(error.class(), Class::Invalid | Class::NotFound), "{error}");
    assert!(!Chain(error).to_string().is_empty() && error.hint().is_some());
}

thread_local! {
    static GROUND: Ground = Ground::new();
}

/// A layer's archive, after a byte that says whether the checksums of its headers are made right; it grows into a tree,
/// and nothing beside that.
pub fn layer(data: &[u8]) {
    let Some((&fix, data)) = data.split_first() else { return };
    let mut archive = data.to_vec();
    if fix & 1 == 1 {
        fix_checksums(&mut archive);
    }
    let mut reader = Reader::new(Cursor::new(&archive));
    while let Ok(Some(entry)) = reader.next() {
        assert!(entry.path.len() <= PATH_MAX_BYTES);
    }
    GROUND.with(|ground| {
        if let Err(error) = ground.grow(&archive) {
            assert!(!Chain(&error).to_string().is_empty());
            assert_ne!(error.class(), Class::Bug, "{}", Chain(&error));
        }
        ground.clear();
    });
}

/// Walks over the headers as long as they are some.
fn fix_checksums(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<BLOCK>()) {
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = block[124..136].iter().take_while(|digit| (b'0'..b'8').contains(digit));
        let size = digits.fold(0_usize, |size, digit| size * 8 + usize::from(digit - b'0'));
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// A folder for layers, within one that shows whether anything got out.
struct Ground {
    around: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let thread = std::thread::current().id();
        let around = std::env::temp_dir().join(format!("cradle-fuzz-{}-{thread:?}", std::process::id()));
        fs::create_dir_all(around.join("inner/layer")).unwrap();
        Ground { around }
    }

    fn grow(&self, archive: &[u8]) -> Result<(), TreeError> {
        let root: OwnedFd = fs::File::open(self.around.join("inner/layer")).unwrap().into();
        let mut tree = Tree::new(root, 0o022)?;
        tree.grow(&mut Reader::new(Cursor::new(archive)))?;
        let grown = tree.finish()?;
        assert!(grown.dependence.links.iter().all(|link| link.target.len() <= PATH_MAX_BYTES));
        Ok(())
    }

    /// Nothing but the layer is there; the next one finds an empty folder.
    fn clear(&self) {
        let inner = self.around.join("inner");
        let names =
            |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!((names(&self.around), names(&inner)), (vec!["inner".into()], vec!["layer".into()]));
        let folder: OwnedFd = fs::File::open(&inner).unwrap().into();
        crate::tree::remove(std::os::fd::AsFd::as_fd(&folder), b"layer").unwrap();
        fs::create_dir(inner.join("layer")).unwrap();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // It is in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.around);
    }
}

#[cfg(test)]
mod tests;
