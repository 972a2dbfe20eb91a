//! What is where in an archive: its files by path and by digest. Links are followed within this table, never on disk.

use std::collections::HashMap;

use cradle_domain::Digest;

use super::ArchiveError;
use crate::limits::{ARCHIVE_ENTRIES_MAX, ARCHIVE_NAMES_MAX_BYTES, LINKS_FOLLOWED_MAX};

/// The files of an archive.
#[derive(Default)]
pub struct Contents {
    entries: HashMap<Vec<u8>, Entry>,
    by_digest: HashMap<Digest, Stretch>,
    names_bytes: usize,
}

/// A file's bytes in the copy of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub offset: u64,
    pub size: u64,
    /// What its bytes have, or what its name says that they have: `blobs/sha256/HEX`.
    pub digest: Digest,
}

enum Entry {
    File(Stretch),
    /// Another path of this archive.
    Link(Vec<u8>),
}

impl Contents {
    /// A file; of several with one name the last one counts, as for tar itself.
    pub fn add_file(&mut self, path: &[u8], file: Stretch) -> Result<(), ArchiveError> {
        self.by_digest.insert(file.digest.clone(), file.clone());
        self.add(path, Entry::File(file))
    }

    /// A symbolic link, whose target is relative to its folder.
    pub fn add_symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &path[..end]);
        let target = if target.starts_with(b"/") { target.to_vec() } else { [folder, b"/", target].concat() };
        self.add(path, Entry::Link(clean(&target)))
    }

    /// Another name of a file.
    pub fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        self.add(path, Entry::Link(clean(target)))
    }

    fn add(&mut self, path: &[u8], entry: Entry) -> Result<(), ArchiveError> {
        let path = clean(path);
        self.names_bytes += path.len() + if let Entry::Link(target) = &entry { target.len() } else { 0 };
        if self.entries.len() >= ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveError::TooManyEntries);
        }
        if self.names_bytes > ARCHIVE_NAMES_MAX_BYTES {
            return Err(ArchiveError::NamesTooLong);
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The file at a path, links followed.
    pub fn file(&self, path: &str) -> Option<&Stretch> {
        let mut path = clean(path.as_bytes());
        for _ in 0..LINKS_FOLLOWED_MAX {
            match self.entries.get(&path)? {
                Entry::File(file) => return Some(file),
                Entry::Link(target) => path.clone_from(target),
            }
        }
        None
    }

    pub fn blob(&self, digest: &Digest) -> Option<&Stretch> {
        self.by_digest.get(digest)
    }
}

/// The digest that a path of an OCI layout states.
pub fn stated_digest(path: &[u8]) -> Option<Digest> {
    let path = clean(path);
    let hex = path.strip_prefix(b"blobs/sha256/")?;
    Digest::parse(&format!("sha256:{}", std::str::from_utf8(hex).ok()?)).ok()
}

/// One way to write a path: no leading `/` or `./`, no `..`. It is looked up here and nowhere else.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
