//! Files of images, read through their layers without a mount, and a few of them remembered.

use std::collections::HashMap;

use cradle_domain::{Class, Classified, Digest};
use rustix::fs::{CWD, Mode, openat};

use super::Inner;
use super::snapshot::Image;
use crate::limits::{CACHED_FILE_MAX_BYTES, CACHED_FILES_MAX};
use crate::tree::{OPEN_FOLDER, ReadError, Union};

/// Files by image and path; absent ones as well.
#[derive(Default)]
pub struct FileCache {
    files: HashMap<(Digest, String), Option<Vec<u8>>>,
}

/// An image's file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFileError {
    #[error("the image {image} is not here")]
    NoImage { image: Digest },
    #[error("opening a layer of the image {image}")]
    Layer { image: Digest, source: std::io::Error },
    #[error("reading a file of the image {image}")]
    Read { image: Digest, source: ReadError },
}

impl Classified for ReadFileError {
    fn class(&self) -> Class {
        match self {
            ReadFileError::NoImage { .. } => Class::NotFound,
            ReadFileError::Layer { .. } => Class::Corrupt,
            ReadFileError::Read { source, .. } => match source {
                ReadError::NotAFile { .. } | ReadError::TooLarge { .. } => Class::Invalid,
                ReadError::Read { .. } => Class::Corrupt,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ReadFileError::NoImage { .. } | ReadFileError::Layer { .. } => Some("pull the image again".into()),
            ReadFileError::Read { .. } => None,
        }
    }
}

impl FileCache {
    fn keep(&mut self, key: (Digest, String), content: &Option<Vec<u8>>) {
        if content.as_ref().is_some_and(|content| content.len() > CACHED_FILE_MAX_BYTES) {
            return;
        }
        if self.files.len() == CACHED_FILES_MAX {
            self.files.clear();
        }
        self.files.insert(key, content.clone());
    }

    pub fn forget(&mut self, image: &Digest) {
        self.files.retain(|(known, _), _| known != image);
    }
}

impl Inner {
    pub fn read_file(&self, image: &Digest, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, ReadFileError> {
        let key = (image.clone(), path.to_owned());
        let known = self.files().files.get(&key).cloned();
        if let Some(content) = known.filter(|known| known.as_ref().is_none_or(|known| known.len() as u64 <= max_bytes))
        {
            return Ok(content);
        }
        let snapshot = self.catalogue.snapshot();
        let found = snapshot.by_id(image).ok_or_else(|| ReadFileError::NoImage { image: image.clone() })?;
        let union = union_of(found).map_err(|source| ReadFileError::Layer { image: image.clone(), source })?;
        let content =
            union.read(path, max_bytes).map_err(|source| ReadFileError::Read { image: image.clone(), source })?;
        self.files().keep(key, &content);
        Ok(content)
    }
}

/// An image's layers as one tree.
pub fn union_of(image: &Image) -> std::io::Result<Union> {
    let roots = image.stack.iter().map(|layer| openat(CWD, &layer.path, OPEN_FOLDER, Mode::empty()));
    Ok(Union::new(roots.collect::<Result<_, _>>()?))
}
